"""Names that come from a source are names everywhere: they end no quote, begin no statement and leave no folder."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.io.query import LakeSql
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.protocol import CursorWindow, ReadRequest
from import_platform.sources.registry import open_source

NASTY = [
    'x"; drop table keep; --',
    "x'; drop table keep; --",
    "x`; drop table keep; -- ",
    "../../../outside",
    "..",
    "a/b",
    "%s %(id)s %%",
    "{id} ${id} $1 :id ?",
    "back\\slash\\'",
    "/* keep */",
    "select",
    "tab\tline\nend",
    "naïve ☃",
    "^pattern$",
    "*",
]
names = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from("ab1'\"`;\\-/*%${}?:()[], .=^\n\té☃"), min_size=1, max_size=16),
)
FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def quoted(name, mark='"'):
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def statements(table, column, mark='"'):
    """A table whose every name is odd, with two rows, beside one that must not be touched."""
    named, odd = quoted(table, mark), quoted(column, mark)
    return [
        "create table keep (id integer primary key)",
        "insert into keep values (1), (2), (3)",
        f"create table {named} (id integer primary key, {odd} integer not null)",
        f"insert into {named} values (1, 10), (2, 20)",
    ]


@contextmanager
def opened(connection):
    source = open_source("shop", connection)
    try:
        yield source
    finally:
        source.close()


def check_reads(connection, table, column):
    """Every question that a sync asks gets the answer of the table that is meant."""
    with opened(connection) as source:
        infos = {info.name: info for info in source.discover()}
        assert set(infos) == {"keep", table}
        (info,) = source.discover([infos[table].name_in_lake])
        assert [c.name for c in info.columns] == ["id", column]
        ceiling = source.ceiling(info, column)
        assert ceiling is not None
        window = CursorWindow(column, after=None, upto=ceiling.value)
        for request in (
            ReadRequest(info, ("id", column), ("id",)),
            ReadRequest(info, ("id", column), ("id",), window=window),
            ReadRequest(info, ("id", column), (column,), page_bytes=1),
        ):
            rows = [row for page in source.read(request) for row in page.batch.to_pylist()]
            assert sorted((row["id"], row[column]) for row in rows) == [(1, 10), (2, 20)]
        assert source.row_count(info, timeout_seconds=60) == 2
        assert source.row_count(infos["keep"], timeout_seconds=60) == 3


@given(table=names, column=names)
@example(table='x"; drop table keep; --', column="x'; drop table keep; --")
@FEW
def test_sqlite(table, column):
    assume(table.lower() != "keep" and column.lower() != "id")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements(table, column):
                connection.execute(statement)
        check_reads({"kind": "sqlite", "path": str(path)}, table, column)
        assert [file.name for file in Path(folder).rglob("*")] == ["shop.db"]


@given(table=names, column=names)
@example(table='x"; drop table keep; --', column="x'; drop table keep; --")
@FEW
def test_duckdb(table, column):
    assume(table.lower() != "keep" and column.lower() != "id")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.db"
        with duckdb.connect(str(path)) as connection:
            for statement in statements(table, column):
                connection.execute(statement)
        check_reads({"kind": "duckdb", "path": str(path), "schemas": ["main"]}, table, column)


@given(table=names, column=names)
@example(table='x"; drop table keep; --', column="x'; drop table keep; --")
@FEW
@pytest.mark.slow
def test_postgres(postgres, table, column):
    assume(table != "keep" and column != "id")
    schema = "public"
    postgres.execute(f"drop schema {schema} cascade", f"create schema {schema}", *statements(table, column))
    check_reads({"kind": "postgres", "dsn": postgres.dsn, "schemas": [schema]}, table, column)
    assert postgres.rows("select count(*) from keep") == [(3,)]


@given(table=names, column=names)
@example(table="x`; drop table keep; --x", column="x'; drop table keep; --x")
@FEW
@pytest.mark.slow
def test_mysql(mariadb, table, column):
    assume(table.lower() != "keep" and column.lower() != "id")
    assume(not table.endswith((" ", "\n", "\t")) and not column.endswith((" ", "\n", "\t")))  # the server refuses them
    mariadb.execute(f"drop database {mariadb.name}", f"create database {mariadb.name} character set utf8mb4")
    with mariadb.connect() as connection, connection.cursor() as cursor:
        for statement in statements(table, column, "`"):
            cursor.execute(statement)
    check_reads({"kind": "mysql", "dsn": mariadb.dsn, "schemas": [mariadb.name]}, table, column)


@given(table=names, column=names)
@example(table="../../../outside", column="..")
@settings(FEW, max_examples=6)
@pytest.mark.slow
def test_a_sync_stays_in_the_lakes_folder_and_a_query_finds_its_table(table, column):
    assume(table.lower() != "keep" and column.lower() != "id")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with closing(sqlite3.connect(root / "shop.db")) as connection, connection:
            for statement in statements(table, column):
                connection.execute(statement)
        lake = Lake(str(root / "deep" / "er" / "lake"))
        with opened({"kind": "sqlite", "path": str(root / "shop.db")}) as source:
            (name,) = {info.name_in_lake for info in source.discover()} - {"keep"}
            declared = DeclaredTable(name, sync=SyncMode.INCREMENTAL, cursor=column, primary_key=("id",))
            context = TableContext("shop", declared, source, lake, MemoryBudget(2 * GIB, 2 * GIB - 312 * MIB))
            sync_table(context)
        outside = {path.relative_to(root).parts[0] for path in root.rglob("*")}
        assert outside == {"deep", "shop.db"}
        assert {path.name for path in (root / "deep" / "er").iterdir()} == {"lake"}
        assert lake.tables() == [("shop", name)]
        check_query(lake, name, column)


def check_query(lake, table, column):
    everything = f"select id, {quoted(column)} from shop.{quoted(table)} order by id"
    filtered = f"select id, t.{quoted(column)} from shop.{quoted(table)} t where t.{quoted(column)} > 0 order by id"
    # DuckDB's delta extension 1.5.5 takes such a name in a condition for a path into nested values.
    for sql in [everything] if set(column) & set(".`") else [everything, filtered]:
        with LakeSql(lake.store, memory_bytes=256 * MIB, threads=1, scratch=Path(lake.uri) / "_scratch") as asked:
            assert list(asked.run(sql).rows) == [(1, 10), (2, 20)]


@given(source=names, table=names)
@settings(max_examples=200, deadline=None)
def test_paths_of_a_table_have_two_parts_that_lead_nowhere_else(tmp_path_factory, source, table):
    root = tmp_path_factory.getbasetemp() / "lake-of-names"
    lake = Lake(str(root))
    for path, depth in ((lake.table_path(source, table), 2), (lake.staging_path(source, table), 3)):
        local = lake.store.local_path(path)
        assert local.resolve() == local, "nothing in it points upwards"
        assert len(local.relative_to(root.resolve()).parts) == depth
        assert not set(path) & set("\n\t\\'\"*?%= ")
    assert not lake.table_path(source, table).startswith(("_", "."))


@pytest.mark.parametrize("table", ["x') union all select 1 --", "a'b", 'a"b', "$$", "{}"])
def test_a_query_that_names_a_missing_table_oddly_is_answered_with_a_sentence(tmp_path, table):
    lake = Lake(str(tmp_path))
    lake.store.put("shop/orders/_delta_log/x", b"")
    with (
        LakeSql(lake.store, memory_bytes=256 * MIB, threads=1, scratch=tmp_path / "_scratch") as asked,
        pytest.raises(ConfigError),
    ):
        asked.run(f"select * from shop.{quoted(table)}")
