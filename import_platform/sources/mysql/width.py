"""Rows too wide to hold, measured at the server: they come as their key and the sizes of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from import_platform.core.rejected import RejectedRow
from import_platform.sources.clauses import total
from import_platform.sources.mysql.catalog import MyColumn
from import_platform.sources.mysql.sql import column_reference
from import_platform.sources.mysql.types import expression
from import_platform.sources.too_wide import wide_row

_INLINE_COLUMNS_MAX = 150
"""The check is repeated in each wide column, because MySQL would write a derived table to disk; past this many
columns the statement would have a million characters, and the wide rows are looked for in a statement of their own."""


@dataclass(frozen=True)
class WidthCheck:
    """Which columns may be wide and how wide a row may be, in bytes of its decoded values."""

    names: tuple[str, ...]
    limit_bytes: int

    @property
    def is_inline(self) -> bool:
        return len(self.names) <= _INLINE_COLUMNS_MAX

    @property
    def row_bytes(self) -> str:
        return total([_size(name) for name in self.names])

    def outputs(self, columns: Sequence[MyColumn]) -> list[str]:
        """The columns, NULL in rows that are too wide, and last the sizes of such a row; values of it stay where they
        are stored."""
        row_bytes = self.row_bytes
        values = [
            f"IF({row_bytes} <= {self.limit_bytes}, {value}, NULL)" if column.name in self.names else value
            for column in columns
            for value in [expression(column.type, column_reference(column.name))]
        ]
        return [*values, f"IF({row_bytes} > {self.limit_bytes}, {self.sizes}, NULL)"]

    @property
    def sizes(self) -> str:
        return f"CONCAT_WS(',', {', '.join(_size(name) for name in self.names)})"

    def reject(self, sizes: bytes, key: Mapping[str, str | None]) -> RejectedRow:
        found = dict(zip(self.names, map(int, sizes.split(b",")), strict=True))
        return wide_row(found, limit_bytes=self.limit_bytes, key=key)


def width_check(columns: Sequence[MyColumn], limit_bytes: int | None) -> WidthCheck | None:
    """The check for a read, or None where no row of the table can be over the limit."""
    if limit_bytes is None or sum(_widest(column) for column in columns) <= limit_bytes:
        return None
    return WidthCheck(tuple(column.name for column in columns if column.type.bytes_max > _NARROW), limit_bytes)


_NARROW = 1 << 16


def _widest(column: MyColumn) -> int:
    return max(column.type.bytes_max, 16) * (3 if column.type.charset else 1)  # latin1 may grow on its way to UTF-8


def _size(name: str) -> str:
    return f"COALESCE(OCTET_LENGTH({column_reference(name)}), 0)"
