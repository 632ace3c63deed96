"""Whether a table of the lake equals its source: every row and every column, read by two drivers the import never uses
this way (a plain ordered SELECT at the source, DuckDB's delta_scan in the lake), in step and in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

import polars as pl
import pyarrow as pa

_LARGE_TYPES = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}


@dataclass
class Comparison:
    """What a comparison found. `differing` counts, per column, the rows whose values are not the same."""

    table: str
    rows_equal: int = 0
    rows_missing: int = 0
    rows_surplus: int = 0
    rows_differing: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        return not (self.rows_missing or self.rows_surplus or self.rows_differing or self.columns)

    def sentence(self) -> str:
        """One line for a person: how much is equal, and what is not."""
        if self.is_equal:
            return f"{self.rows_equal:,} rows equal"
        parts = [f"{self.rows_equal:,} rows equal"]
        parts += [f"{self.rows_missing:,} missing in the lake"] if self.rows_missing else []
        parts += [f"{self.rows_surplus:,} in the lake only"] if self.rows_surplus else []
        if self.rows_differing:
            columns = ", ".join(f"{name} {count:,}" for name, count in self.differing.items())
            parts.append(f"{self.rows_differing:,} with other values ({columns})")
        parts += [f"columns or types differ: {', '.join(self.columns)}"] if self.columns else []
        return ", ".join(parts)


def compare(
    table: str, source: pa.RecordBatchReader, lake: pa.RecordBatchReader, *, key: tuple[str, ...]
) -> Comparison:
    """Both sides must come ordered by `key`, texts by code point. Holds about two batches of each side.

    Columns that only one side has, or whose types differ, are named and nothing further is compared.
    """
    found = Comparison(table, columns=_differing_columns(source.schema, lake.schema))
    if found.columns:
        return found
    columns = source.schema.names
    rest = _Ahead(_frames(lake, columns), key)
    for expected in _frames(source, columns):
        _compare_window(found, expected, rest.take_upto(expected), key)
    found.rows_surplus += rest.drain()
    return found


def _differing_columns(source: pa.Schema, lake: pa.Schema) -> tuple[str, ...]:
    def types(schema: pa.Schema) -> dict[str, pa.DataType]:
        return {f.name: _LARGE_TYPES.get(f.type, f.type) for f in schema}

    left, right = types(source), types(lake)
    names = [*left, *(name for name in right if name not in left)]
    return tuple(
        f"{name} {left.get(name, 'absent')} / {right.get(name, 'absent')}"
        for name in names
        if left.get(name) != right.get(name)
    )


def _frames(reader: pa.RecordBatchReader, columns: list[str]) -> Iterator[pl.DataFrame]:
    for batch in reader:
        if batch.num_rows:
            yield pl.DataFrame(pa.Table.from_batches([batch])).select(*columns)


class _Ahead:
    """Ordered frames, handed out up to a key; what was read beyond it is kept for the next call."""

    def __init__(self, frames: Iterator[pl.DataFrame], key: tuple[str, ...]) -> None:
        self._frames = frames
        self._key = key
        self._held: pl.DataFrame | None = next(frames, None)

    def take_upto(self, expected: pl.DataFrame) -> pl.DataFrame:
        """All rows whose key is not after the last one of `expected`."""
        last = expected.select(*self._key).row(-1)
        taken = [expected.clear()]
        while self._held is not None:
            beyond = self._held.select(_is_after(self._key, last)).to_series()
            taken.append(self._held.filter(~beyond))
            if beyond.any():
                self._held = self._held.filter(beyond)
                break
            self._held = next(self._frames, None)
        return pl.concat(taken)

    def drain(self) -> int:
        """How many rows are left."""
        held = 0 if self._held is None else self._held.height
        return held + sum(frame.height for frame in self._frames)


def _is_after(key: tuple[str, ...], last: tuple[object, ...]) -> pl.Expr:
    """key > last in the order of tuples."""
    name, value = key[0], pl.lit(last[0])
    if len(key) == 1:
        return pl.col(name) > value
    return (pl.col(name) > value) | ((pl.col(name) == value) & _is_after(key[1:], last[1:]))


def _compare_window(found: Comparison, expected: pl.DataFrame, actual: pl.DataFrame, key: tuple[str, ...]) -> None:
    if expected.equals(actual):
        found.rows_equal += expected.height
        return
    distinct = actual.unique(subset=list(key), keep="first", maintain_order=True)
    found.rows_missing += expected.join(distinct, on=list(key), how="anti").height
    found.rows_surplus += actual.height - distinct.height + distinct.join(expected, on=list(key), how="anti").height
    both = expected.join(distinct, on=list(key), how="inner", suffix="__lake")
    others = [name for name in expected.columns if name not in key]
    flags = both.select(*(pl.col(name).ne_missing(pl.col(f"{name}__lake")).alias(name) for name in others))
    for name in others:
        if count := int(flags[name].sum()):
            found.differing[name] = found.differing.get(name, 0) + count
    differing = int(reduce(or_, (flags[name] for name in others)).sum()) if others else 0
    found.rows_differing += differing
    found.rows_equal += both.height - differing
