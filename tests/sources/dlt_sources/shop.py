"""A dlt source as people write them, and one of dlt's own verified sources that needs no account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dlt
from dlt.sources.filesystem import filesystem, read_csv

START = datetime(2025, 1, 1, tzinfo=UTC)
ASKED: list[Any] = []
ROWS: list[dict[str, Any]] = []
PAID: list[int] = [100]
PER_PAGE = 10


def fill(count: int) -> None:
    ROWS[:] = [
        {"id": n, "name": f"c{n}", "balance": Decimal(n) / 4, "updated_at": START + timedelta(minutes=n), "tags": ["a"]}
        for n in range(count)
    ]
    ASKED.clear()


@dlt.source
def shop() -> Any:
    @dlt.resource(primary_key="id")
    def customers(
        updated_at: Any = dlt.sources.incremental("updated_at", initial_value=START, row_order="asc"),  # noqa: B008  dlt reads it
    ) -> Iterator[list[dict[str, Any]]]:
        rows = sorted((r for r in ROWS if r["updated_at"] >= updated_at.last_value), key=lambda r: r["updated_at"])
        ASKED.append(updated_at.last_value)
        for start in range(0, len(rows), PER_PAGE):
            yield rows[start : start + PER_PAGE]

    @dlt.resource
    def labels() -> Iterator[dict[str, Any]]:
        yield from ({"label": f"l{n}", "rank": n} for n in range(25))

    @dlt.resource(primary_key="id")
    def broken() -> Iterator[Any]:
        yield {"id": 1}
        raise RuntimeError("password is hunter2")

    @dlt.resource(primary_key="id")
    def payments(
        id: Any = dlt.sources.incremental("id", initial_value=0, row_order="asc"),  # noqa: B008  dlt's way
    ) -> Iterator[list[dict[str, Any]]]:
        rows = [{"id": n, "amount": n * 5} for n in range(id.last_value, PAID[0])]
        ASKED.append(id.last_value)
        for start in range(0, len(rows), PER_PAGE):
            yield rows[start : start + PER_PAGE]

    return customers, labels, broken, payments


def files(folder: str) -> Any:
    """dlt's verified source `filesystem`, with its reader for CSV."""
    return (filesystem(bucket_url=folder, file_glob="*.csv") | read_csv()).with_name("people")
