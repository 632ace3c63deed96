"""Rows too wide to hold, measured at the server: they come as their key and the sizes of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.budget import MIB
from import_platform.core.rejected import RejectedRow
from import_platform.sources.clauses import total
from import_platform.sources.postgres.catalog import PgColumn, PgTable
from import_platform.sources.postgres.sql import column_reference
from import_platform.sources.postgres.types import expression
from import_platform.sources.too_wide import wide_row

_INLINE_ROW_MAX = 2 * MIB
"""A row without out-of-line values fits a block of 8 KiB, which pglz or lz4 expands to at most 255 times its size."""
_EXPANSION_MAX = 1000
"""Text of a compressed jsonb or array against its stored size: 255 for the compression, up to four for printing."""
_RAW_SIZE_KNOWN = frozenset(("text", "varchar", "bpchar", "bytea"))


@dataclass(frozen=True)
class WidthCheck:
    """Which columns may be wide and how wide a row may be, in bytes of its decoded values."""

    names: tuple[str, ...]
    limit_bytes: int

    def select(self, columns: Sequence[PgColumn], *, hidden: Sequence[str], source: str) -> str:
        """The statement with the check in it; `source` is its FROM, WHERE and ORDER BY.

        OFFSET 0 keeps the two levels apart, so each size is computed once per row and values of wide rows, which pass
        the inner level as references to where they are stored, are never read.
        """
        wide = {
            column.name: _size(column, column_reference(column.name), self.limit_bytes)
            for column in columns
            if column.name in self.names
        }
        inner = [f"{column_reference(column.name)} AS i{number}" for number, column in enumerate(columns)]
        inner += [f"{extra} AS h{number}" for number, extra in enumerate(hidden)]
        inner.append(f"{total([f'coalesce({size}, 0)' for size in wide.values()])} AS w")
        outer = []
        for number, column in enumerate(columns):
            value = expression(column.type, f"i{number}")
            outer.append(
                f"CASE WHEN w <= {self.limit_bytes} THEN {value} END AS c{number}"
                if column.name in wide
                else f"{value} AS c{number}"
            )
        outer += [f"h{number}" for number, _ in enumerate(hidden)]
        sizes = ", ".join(
            f"coalesce({_size(column, f'i{number}', self.limit_bytes)}, 0)::int8"
            for number, column in enumerate(columns)
            if column.name in wide
        )
        outer.append(f"CASE WHEN w > {self.limit_bytes} THEN ARRAY[{sizes}]::text END AS w")
        return f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)}{source} OFFSET 0) AS measured"

    def rows(self, raw: pa.RecordBatch) -> list[int]:
        """Positions of the rows of a batch that were too wide to be fetched."""
        positions: list[int] = pc.indices_nonzero(raw.column(raw.num_columns - 1).is_valid()).to_pylist()
        return positions

    def without(self, raw: pa.RecordBatch, positions: Sequence[int]) -> pa.RecordBatch:
        keep = np.ones(raw.num_rows, dtype=bool)
        keep[list(positions)] = False
        return raw.filter(pa.array(keep))

    def reject(self, raw: pa.RecordBatch, position: int, key: Mapping[str, str | None]) -> RejectedRow:
        text = str(raw.column(raw.num_columns - 1)[position].as_py())
        sizes = dict(zip(self.names, map(int, text.strip("{}").split(",")), strict=True))
        return wide_row(sizes, limit_bytes=self.limit_bytes, key=key)


def width_check(table: PgTable, columns: Sequence[PgColumn], limit_bytes: int | None) -> WidthCheck | None:
    """The check for a read, or None where no row of the table can be over the limit."""
    names = tuple(column.name for column in columns if column.toastable)
    if limit_bytes is None or not names:
        return None
    inline_only = table.kind in ("r", "p", "m") and table.wide_bytes == 0
    return None if inline_only and limit_bytes >= _INLINE_ROW_MAX else WidthCheck(names, limit_bytes)


def _size(column: PgColumn, reference: str, limit_bytes: int) -> str:
    """Decoded bytes of a value: from its header where the server keeps that, else by printing it if it could matter."""
    if column.type.builtin and column.type.name in _RAW_SIZE_KNOWN:
        return f"octet_length({reference})"
    stored = f"pg_column_size({reference})"
    return (
        f"CASE WHEN {stored} > {limit_bytes // _EXPANSION_MAX}"
        f" THEN octet_length({expression(column.type, reference)}::text)"
        f" ELSE {stored} END"
    )
