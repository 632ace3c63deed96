"""What a connector says of a server and its tables, and of names that are none or hostile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from import_platform.core.table import (
    Granularity,
    TimePartition,
)
from import_platform.errors import ImportPlatformError
from import_platform.sources.protocol import CursorWindow
from tests.sources.contract.world import (
    EVENTS,
    HOSTILE,
    START,
    World,
    assert_resumable,
    info_of,
    request,
    rows_of,
    some_rows,
)


class Discovery:
    def test_check_names_the_server(self, world: World) -> None:
        assert any(character.isdigit() for character in world.open().check())

    def test_its_repr_shows_no_password(self, world: World) -> None:
        assert "secret" not in repr(world.open())

    def test_discovery_gives_names_types_and_keys(self, world: World) -> None:
        world.make("b", EVENTS, some_rows(5), key=["id"])
        world.make("a", (("x", "real"), ("y", "bytes"), ("z", "date")))
        first, second = world.open().discover()
        assert [first.name_in_lake, second.name_in_lake] == ["a", "b"]
        assert [str(c.type) for c in first.columns] == ["double", "binary", "date32[day]"]
        assert [str(c.type) for c in second.columns] == ["int64", "string", "timestamp[us, tz=UTC]"]
        assert (first.primary_key, second.primary_key) == ((), ("id",))
        assert second.row_estimate == 5

    def test_discovery_leaves_out_what_is_not_there(self, world: World) -> None:
        world.make("a", EVENTS)
        assert [info.name for info in world.open().discover(["nope", "a"])] == ["a"]

    def test_an_empty_table_has_no_rows_and_no_ceiling(self, world: World) -> None:
        world.make("t", EVENTS, key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert rows_of(source.read(request(info))) == []
        assert rows_of(source.read(request(info, primary_key=()))) == []
        assert source.ceiling(info, "at") is None
        assert source.row_count(info, timeout_seconds=60) == 0
        assert source.base_keys(info, TimePartition("at", Granularity.DAY), limit=9, timeout_seconds=9) == []

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_hostile_name_is_only_a_name(self, world: World, name: str) -> None:
        world.make(
            name,
            ((name, "text"), ("id of " + name, "int"), ("at", "time")),
            [(v, n, START) for n, v in enumerate(HOSTILE)],
            key=[name],
        )
        source = world.open()
        info = info_of(source, name)
        assert [c.name for c in info.columns] == [name, "id of " + name, "at"]
        assert {row[0] for row in rows_of(source.read(request(info)))} == set(HOSTILE)
        window = CursorWindow("id of " + name, "3", None)
        assert len(rows_of(source.read(request(info, window=window)))) == len(HOSTILE) - 3
        assert_resumable(source, request(info), rows=len(HOSTILE))
        assert_resumable(source, request(info, primary_key=()), rows=len(HOSTILE))

    def test_an_unknown_table_or_column_is_a_sentence(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(1), key=["id"])
        source = world.open()
        info = info_of(source, "t")
        for call in (
            lambda: list(source.read(request(replace(info, name="gone")))),
            lambda: source.ceiling(replace(info, name="gone"), "at"),
            lambda: source.row_count(replace(info, name="gone"), timeout_seconds=60),
            lambda: source.ceiling(info, "gone"),
            lambda: list(source.read(request(info, columns=("id", "gone")))),
        ):
            with pytest.raises(ImportPlatformError) as caught:
                call()
            assert caught.value.remedy
            assert "gone" in str(caught.value)
