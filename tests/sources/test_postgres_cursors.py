"""What a sync from PostgreSQL to the lake must not lose: by row version, with a lookback, by uuid7, over late commits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.report import Status, SyncReport
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.postgres import PostgresSource
from tests.conftest import Database

BUDGET = MemoryBudget(1024 * MIB, 300 * MIB)


class Synced:
    def __init__(self, database: Database, lake: Path, **declared: Any) -> None:
        self.database = database
        self._lake = lake
        self._source = PostgresSource({"dsn": database.dsn})
        self._declared = DeclaredTable("t", **{"sync": SyncMode.INCREMENTAL, "primary_key": ("id",), **declared})

    def sync(self, *, full_refresh: bool = False) -> SyncReport:
        context = TableContext("s", self._declared, self._source, Lake(str(self._lake)), BUDGET)
        return sync_table(context, full_refresh=full_refresh)

    def assert_equal(self) -> None:
        lake = pl.read_delta(str(self._lake / "s" / "t")).select("id", "word").sort("id").rows()
        assert lake == self.database.rows("SELECT id, word FROM t ORDER BY id")


@pytest.fixture
def synced(postgres: Database, tmp_path: Path) -> Callable[..., Synced]:
    return lambda **declared: Synced(postgres, tmp_path / "lake", **declared)


def test_a_table_without_a_column_of_changes_is_followed_by_its_row_versions(
    postgres: Database, synced: Callable[..., Synced]
) -> None:
    postgres.execute(
        "CREATE TABLE t (id int PRIMARY KEY, word text)", "INSERT INTO t SELECT i, 'a' FROM generate_series(1, 500) i"
    )
    table = synced(cursor="xmin")
    assert table.sync().rows_inserted == 500
    postgres.execute("UPDATE t SET word = 'b' WHERE id % 100 = 0", "INSERT INTO t VALUES (501, 'new')")
    second = table.sync()
    assert (second.rows_updated, second.rows_inserted, second.rows_read) == (5, 1, 6)
    table.assert_equal()
    assert table.sync().rows_read == 0


def test_row_versions_lose_no_transaction_that_commits_late(postgres: Database, synced: Callable[..., Synced]) -> None:
    postgres.execute("CREATE TABLE t (id int PRIMARY KEY, word text)", "INSERT INTO t VALUES (1, 'a')")
    table = synced(cursor="xmin")
    table.sync()
    with psycopg.connect(postgres.dsn) as late:
        late.execute("INSERT INTO t VALUES (2, 'late')")
        with late.transaction():
            late.execute("UPDATE t SET word = 'in a savepoint' WHERE id = 1")
        postgres.execute("INSERT INTO t VALUES (3, 'early')")
        table.sync()
        late.commit()
    table.sync()
    table.assert_equal()


def test_row_versions_go_with_a_condition_and_without_a_column_in_other_syncs(
    postgres: Database, synced: Callable[..., Synced]
) -> None:
    postgres.execute("CREATE TABLE t (id int PRIMARY KEY, word text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    table = synced(cursor="xmin", where="id > 1")
    assert table.sync().rows_inserted == 1
    (info,) = PostgresSource({"dsn": postgres.dsn}).discover(["t"])
    assert [column.name for column in info.columns] == ["id", "word"]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_a_lookback_brings_rows_that_were_stamped_behind_the_cursor(
    postgres: Database, synced: Callable[..., Synced], kind: str
) -> None:
    """Clocks of several writers differ, and a restore or a replica brings rows with old stamps."""
    postgres.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, word text, at {kind})",
        "INSERT INTO t SELECT i, 'a', now() - interval '1 day' FROM generate_series(1, 50) i",
    )
    blind, seeing = synced(cursor="at"), synced(cursor="at", lookback="2h")
    blind.sync()
    postgres.execute("INSERT INTO t VALUES (51, 'skewed', now() - interval '25 hours')")
    assert blind.sync().rows_inserted == 0
    assert seeing.sync().rows_inserted == 1
    seeing.assert_equal()


def test_a_lookback_rewrites_only_what_has_changed(postgres: Database, synced: Callable[..., Synced]) -> None:
    postgres.execute(
        "CREATE TABLE t (id int PRIMARY KEY, word text, at timestamptz)",
        "INSERT INTO t SELECT i, 'a', now() - i * interval '1 minute' FROM generate_series(10, 500) i",
    )
    table = synced(cursor="at", lookback="2h")
    table.sync()
    idle = table.sync()
    assert (idle.status, idle.rows_read > 100, idle.files_added) == (Status.UNCHANGED, True, 0)
    postgres.execute("UPDATE t SET word = 'changed' WHERE id = 60", "DELETE FROM t WHERE id = 70")
    postgres.execute("INSERT INTO t VALUES (70, 'again', now() - interval '70 minutes')")
    assert (table.sync().rows_updated, table.sync().status) == (2, Status.UNCHANGED)
    table.assert_equal()


def test_a_lookback_is_refused_where_it_cannot_work(postgres: Database, synced: Callable[..., Synced]) -> None:
    postgres.execute("CREATE TABLE t (id int PRIMARY KEY, word text, at timestamptz)")
    with pytest.raises(ConfigError, match="lookback"):
        synced(cursor="id", lookback="2h").sync()
    with pytest.raises(ConfigError, match="append cannot look back"):
        synced(cursor="at", lookback="2h", sync=SyncMode.APPEND, primary_key=()).sync()


def test_a_uuid7_orders_what_comes_and_null_cursors_come_first(
    postgres: Database, synced: Callable[..., Synced]
) -> None:
    postgres.execute(
        "CREATE TABLE t (id int PRIMARY KEY, word text, event uuid)",
        "INSERT INTO t SELECT i, 'a', CASE WHEN i % 10 > 0 THEN uuidv7() END FROM generate_series(1, 100) i",
    )
    table = synced(cursor="event")
    assert table.sync().rows_inserted == 100
    postgres.execute("INSERT INTO t SELECT i, 'b', uuidv7() FROM generate_series(101, 150) i")
    second = table.sync()
    assert (second.rows_inserted, second.rows_read < 60) == (50, True)
    table.assert_equal()


def test_a_row_updated_while_the_first_load_runs_is_not_lost(postgres: Database, synced: Callable[..., Synced]) -> None:
    postgres.execute(
        "CREATE TABLE t (id int PRIMARY KEY, word text, at timestamptz DEFAULT clock_timestamp())",
        "INSERT INTO t SELECT i, repeat('x', 2000) FROM generate_series(1, 20000) i",
        "ANALYZE t",
    )
    table = synced(cursor="at")
    read, source = PostgresSource.read, table._source
    changed: list[bool] = []

    def meanwhile(request: Any) -> Any:
        for page in read(source, request):
            if not changed:
                changed.append(True)
                postgres.execute("UPDATE t SET word = 'changed', at = clock_timestamp() WHERE id IN (1, 20000)")
            yield page

    source.read = meanwhile
    table.sync()
    del source.read
    table.sync()
    table.assert_equal()
