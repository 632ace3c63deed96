"""Lists that are read by growing ids: `since_id`, where the last row of a page says what to ask for next."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from import_platform.core.cursor import CursorValue, decode, encode
from import_platform.errors import ConfigError, SourceRejected
from import_platform.sources.json.typing import Row
from import_platform.sources.protocol import Token
from import_platform.sources.rest.declaration import Endpoint, Incremental, Resource

EDGE_ROWS_MAX = 1000
_PAGE_SIZE = re.compile(r"limit|size|count|per_?page", re.IGNORECASE)


def is_open_ended(incremental: Incremental | None, cursor: str, dtype: pa.DataType) -> bool:
    """Whether the rows themselves tell how far they go: ids that grow, the least first; no clock compares with them."""
    if incremental is None or incremental.column != cursor or incremental.row_order != "asc":
        return False
    if pa.types.is_string(dtype) and incremental.lag:
        raise ConfigError(
            "lag counts ids back, and ids of text cannot be counted", column=cursor, remedy="Leave lag out."
        )
    return bool(pa.types.is_integer(dtype) or pa.types.is_decimal(dtype) or pa.types.is_string(dtype))


class Order:
    """Sees to it that rows which are said to come by growing ids do. Mutable: it remembers the greatest one."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._reached: CursorValue | None = None

    def begin_again(self) -> None:
        self._reached = None

    def check(self, batch: pa.RecordBatch) -> None:
        """Raises SourceRejected: a row would be taken for one that is in the lake already."""
        incremental = self._resource.endpoint.incremental
        column = incremental.column if incremental is not None else ""
        if column not in batch.schema.names or not is_open_ended(incremental, column, batch.schema.field(column).type):
            return
        dtype = batch.schema.field(column).type
        values = [value for value in batch.column(column).to_pylist() if value is not None]
        before = [decode(self._reached, dtype)] if self._reached is not None else []
        if any(a > b for a, b in zip([*before, *values], [*before, *values][1:], strict=False)):
            raise SourceRejected(
                "the rows do not come in the order of their cursor",
                table=self._resource.name,
                column=column,
                remedy="If the ids are numbers in quotes, declare the column bigint; else leave row_order out.",
            )
        if values:
            self._reached = encode(values[-1], dtype)


class Edge:
    """The rows at the last id of a page, for an API whose next page begins with them again.

    Only where the parameter of the next page is that of the cursor. Mutable: it moves from page to page.
    """

    def __init__(self, endpoint: Endpoint, after: Token | None) -> None:
        self._incremental = endpoint.incremental
        self._hashes: list[str] = list((after or {}).get("edge", ()))
        said = [int(v) for name, v in endpoint.params.items() if _PAGE_SIZE.search(name) and str(v).isdigit()]
        self._full_rows = max([2, *said, int((after or {}).get("rows", 0))])

    @property
    def token(self) -> dict[str, Any]:
        return {"edge": self._hashes, "rows": self._full_rows} if self._hashes else {}

    def without_repeated(self, rows: Sequence[Row], following: Mapping[str, Any] | None) -> list[Row]:
        """The rows of an answer but for those that ended the one before it."""
        self._full_rows = max(self._full_rows, len(rows))
        fresh = [row for row in rows if not self._hashes or _hash(row) not in self._hashes] if rows else []
        if not self._pages_by_cursor(following):
            self._hashes = []
        elif rows:
            last = self._value(rows[-1])
            at = [row for row in reversed(rows) if self._value(row) == last]
            self._hashes = [_hash(row) for row in at] if len(at) <= EDGE_ROWS_MAX else []
        return fresh

    def is_end(self, rows: Sequence[Row], following: Mapping[str, Any] | None) -> bool:
        """True where the same id is to be asked from again because the list ends there: a page that is not full."""
        same = {str(self._value(row)) for row in rows}
        return self._pages_by_cursor(following) and len(same) == 1 and len(rows) < self._full_rows

    def _pages_by_cursor(self, following: Mapping[str, Any] | None) -> bool:
        said = self._incremental
        if said is None or following is None:
            return False
        return not following or said.start_param in following.get("params", {})  # nothing: as the first was asked

    def _value(self, row: Any) -> Any:
        for name in self._incremental.column.split(".") if self._incremental is not None else ():
            row = row.get(name) if isinstance(row, Mapping) else None
        return row


def _hash(row: Row) -> str:
    return hashlib.blake2b(
        json.dumps(row, sort_keys=True, default=str).encode("utf-8", "backslashreplace"), digest_size=8
    ).hexdigest()
