"""Which columns of a table are read, under which names they are stored, and what is made unreadable on the way."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl
import polars_hash as plh
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.lattice import widened
from import_platform.core.rejected import UNPARSED, RejectedRow
from import_platform.core.table import ColumnChoice, Mask, TableInfo, TableSpec
from import_platform.core.wording import nearest
from import_platform.errors import ConfigError

REDACTED = "[redacted]"
"""What stands in a redacted text; redacted values of other types are null."""

_PATTERN = frozenset("*?[")


def narrowed(info: TableInfo, choice: ColumnChoice, *, kept: Iterable[str]) -> TableInfo:
    """The table with the chosen columns only, in the source's order; `kept` ones stay whatever was chosen.

    Raises:
        ConfigError: a name that is no pattern names no column: a misspelt one must not let the real one through.
    """
    if choice == ColumnChoice():
        return info
    names = [column.name for column in info.columns]
    included = set(names) if choice.include is None else _matching(info, choice.include, role="included")
    excluded = _matching(info, choice.exclude, role="excluded")
    for name in choice.mask:
        _matching(info, [name], role="masked")
    stay = (included - excluded) | set(kept)
    return replace(info, columns=tuple(column for column in info.columns if column.name in stay))


def check_masks(choice: ColumnChoice, *, kept: Collection[str], table: str) -> None:
    """Raises ConfigError when a column that identifies, orders or places rows is to be masked."""
    for name in choice.mask:
        if name in kept:
            raise ConfigError(
                "a column that identifies, orders or places rows cannot be masked",
                table=table,
                column=name,
                remedy="Mask another column, or choose another key, cursor or partition.",
            )


def _matching(info: TableInfo, patterns: Sequence[str], *, role: str) -> set[str]:
    names = [column.name for column in info.columns]
    found: set[str] = set()
    for pattern in patterns:
        if pattern in names:
            found.add(pattern)
        elif _PATTERN & set(pattern):
            found.update(name for name in names if fnmatch.fnmatchcase(name, pattern))
        else:
            remedy = nearest(pattern, names, none="The table has", most=1, shown=30)
            raise ConfigError(
                f"the {role} column does not exist", table=info.name_in_lake, column=pattern, remedy=remedy
            )
    return found


def stored_names(info: TableInfo, *, kept: Collection[str], in_lake: Collection[str] = ()) -> dict[str, str]:
    """source name -> name in the lake of the columns that must be renamed, because another differs by case only.

    Columns that identify, order or place rows keep their names, then those that the lake has, then the first in the
    order of code points; the others get `__2`, `__3`, ...: the same names again in every sync.

    Raises:
        ConfigError: two columns that must keep their names differ by case only.
    """
    folded = Counter(column.name.lower() for column in info.columns)
    clashing = [column.name for column in info.columns if folded[column.name.lower()] > 1]
    taken = {column.name.lower() for column in info.columns if column.name not in clashing}
    renamed: dict[str, str] = {}
    for name in sorted(clashing, key=lambda name: (name not in kept, name not in in_lake, name)):
        if name.lower() not in taken:
            taken.add(name.lower())
            continue
        if name in kept:
            raise ConfigError(
                "two columns that identify, order or place rows differ only by case, which Delta tables cannot hold",
                table=info.name_in_lake,
                column=name,
                remedy="Rename one at the source, or import a view that does.",
            )
        number = 2
        while f"{name}__{number}".lower() in taken | set(folded):
            number += 1
        renamed[name] = f"{name}__{number}"
        taken.add(renamed[name].lower())
    return renamed


def read_schema(spec: TableSpec) -> pa.Schema:
    """What rows of this table are after renaming and masking, in the source's types but for masked columns."""
    fields = []
    for column in spec.info.columns:
        mask = spec.choice.mask.get(column.name)
        dtype = pa.string() if mask is Mask.HASH else column.type
        fields.append(pa.field(spec.renamed.get(column.name, column.name), dtype, column.nullable))
    return pa.schema(fields)


def masked(batch: pa.RecordBatch, spec: TableSpec) -> pa.RecordBatch:
    """The rows with masked values made unreadable and columns under their names in the lake."""
    if not spec.choice.mask and not spec.renamed:
        return batch
    arrays, names = [], []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        mask = spec.choice.mask.get(name)
        arrays.append(_MASKS[mask](array) if mask is not None else array)
        names.append(spec.renamed.get(name, name))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def masked_rejected(rows: Sequence[RejectedRow], spec: TableSpec) -> tuple[RejectedRow, ...]:
    """Rejected rows of a connector, which carry the values as they came, with the same names and masks."""
    rows = [_without_text(row, spec) for row in rows]
    if not spec.choice.mask and not spec.renamed:
        return tuple(rows)
    return tuple(
        replace(
            row,
            column=spec.renamed.get(row.column, row.column),
            row=None if row.row is None else json.dumps(_masked_texts(json.loads(row.row), spec), ensure_ascii=False),
        )
        for row in rows
    )


def _without_text(row: RejectedRow, spec: TableSpec) -> RejectedRow:
    """A row that could not be taken apart shows all of itself, also what was not asked for."""
    choice = spec.choice
    chosen = bool(choice.mask or choice.include or choice.exclude)
    said = json.loads(row.row) if chosen and row.row is not None else {}
    return replace(row, row=None) if UNPARSED in said else row


def _masked_texts(row: Mapping[str, str | None], spec: TableSpec) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, text in row.items():
        mask = spec.choice.mask.get(name)
        value = text if mask is None or text is None else _MASKS[mask](pa.array([text])).to_pylist()[0]
        column = spec.info.column(name)
        is_text = column is not None and _is_text(column.type)
        found[spec.renamed.get(name, name)] = None if mask is Mask.REDACT and not is_text else value
    return found


def _hashed(array: pa.Array) -> pa.Array:
    """SHA-256 of the value's canonical text, in hex: equal values stay equal, for joins. Few possible values can be
    guessed from it; those are better redacted."""
    texts = pl.DataFrame({"v": pl.from_arrow(widened(array, pa.string()))})
    return texts.select(plh.col("v").chash.sha2_256()).to_series().to_arrow().cast(pa.string())


def _redacted(array: pa.Array) -> pa.Array:
    if not _is_text(array.type):
        return pa.nulls(len(array), array.type)
    return pc.if_else(array.is_valid(), pa.scalar(REDACTED, array.type), pa.scalar(None, array.type))


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


_MASKS: Mapping[Mask, Callable[[pa.Array], pa.Array]] = {Mask.HASH: _hashed, Mask.REDACT: _redacted}
