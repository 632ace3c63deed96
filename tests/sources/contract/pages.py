"""Pages in order, in the promised types, that a read may go on from."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.sources.contract.world import (
    EVENTS,
    HOSTILE,
    START,
    Columns,
    World,
    assert_resumable,
    info_of,
    request,
    rows_of,
    some_rows,
)


class Pages:
    def test_pages_come_in_key_order_with_a_token_each(self, world: World) -> None:
        rows = some_rows(100)
        world.make("t", EVENTS, reversed(rows), key=["id"])
        source = world.open()
        pages = list(source.read(request(info_of(source, "t"))))
        assert len(pages) > 5
        assert rows_of(pages) == rows
        assert all(page.token is not None for page in pages)

    def test_every_page_has_the_schema_that_discovery_promised(self, world: World) -> None:
        world.make("t", EVENTS, [*some_rows(30), (30, None, None)], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert {page.batch.schema == info.arrow_schema for page in source.read(request(info))} == {True}

    def test_only_the_asked_columns_come_and_in_their_order(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(3), key=["id"])
        source = world.open()
        pages = list(source.read(request(info_of(source, "t"), columns=("at", "label"))))
        assert pages[0].batch.schema.names == ["at", "label"]
        assert [row[1] for row in rows_of(pages)] == ["row 0", "row 1", "row 2"]

    @pytest.mark.parametrize(
        ("columns", "rows"),
        [
            pytest.param((("k", "int"),), [(n * 7 - 60,) for n in range(40)], id="integer"),
            pytest.param((("k", "text"),), [(f"{text}{n}",) for n in range(3) for text in HOSTILE], id="hostile text"),
            pytest.param((("k", "date"),), [(date(2023, 12, 1) + timedelta(days=n),) for n in range(60)], id="date"),
            pytest.param((("k", "time"),), [(START + timedelta(microseconds=n),) for n in range(60)], id="timestamp"),
            pytest.param((("k", "bytes"),), [(bytes([n, 0, 39, 92]),) for n in range(60)], id="bytes"),
            pytest.param((("k", "real"),), [(n / 3,) for n in range(60)], id="real"),
            pytest.param((("k", "text"), ("m", "int")), [(f"'{n % 3}", n) for n in range(60)], id="composite"),
        ],
    )
    def test_a_read_goes_on_from_any_token(self, world: World, columns: Columns, rows: list[Any]) -> None:
        world.make(
            "t", [*columns, ("filler", "text")], [(*row, "x" * 20) for row in rows], key=[name for name, _ in columns]
        )
        source = world.open()
        assert_resumable(source, request(info_of(source, "t")), rows=len(rows))

    def test_a_keyless_read_goes_on_from_any_token(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(100))
        source = world.open()
        pages = assert_resumable(source, request(info_of(source, "t")), rows=100)
        assert all(page.token is not None for page in pages)

    def test_null_and_repeated_values_of_a_declared_key_are_read_once_each(self, world: World) -> None:
        rows = [(None if n % 5 == 0 else n // 9, f"row {n}", None) for n in range(100)]
        world.make("t", EVENTS, rows)
        source = world.open()
        pages = assert_resumable(source, request(info_of(source, "t"), primary_key=("id",)), rows=100)
        assert sorted(row[1] for row in rows_of(pages)) == sorted(row[1] for row in rows)

    def test_a_null_in_one_column_of_a_declared_key_loses_no_row(self, world: World) -> None:
        rows = [(n, None if n % 4 == 0 else f"row {n}", START) for n in range(60)]
        world.make("t", EVENTS, rows)
        source = world.open()
        assert_resumable(source, request(info_of(source, "t"), primary_key=("label", "id")), rows=60)
