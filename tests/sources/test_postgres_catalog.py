"""What discovery says of PostgreSQL tables of every kind."""

from __future__ import annotations

import pytest

from import_platform.core.choose import resolve
from import_platform.core.table import DeclaredTable, Granularity, SyncMode, TimePartition
from import_platform.errors import ConfigError
from import_platform.sources.postgres import PostgresSource
from tests.conftest import Database
from tests.sources.contract import info_of, request, rows_of


def open_source(database: Database, *schemas: str) -> PostgresSource:
    return PostgresSource({"dsn": database.dsn, "schemas": list(schemas) or ["public"]})


@pytest.mark.parametrize(
    ("ddl", "key"),
    [
        ("a int, b int, PRIMARY KEY (b, a)", ("b", "a")),
        ("a int NOT NULL UNIQUE, b int", ("a",)),
        ("a int UNIQUE, b int", ()),
        ("a int NOT NULL, b int NOT NULL, c int NOT NULL UNIQUE, UNIQUE (a, b)", ("c",)),
        ("a int NOT NULL, b int, UNIQUE (a) INCLUDE (b)", ("a",)),
        ("a int NOT NULL UNIQUE DEFERRABLE, b int", ()),
        ("a int, b int", ()),
    ],
)
def test_the_key_is_the_primary_key_or_the_narrowest_never_null_unique_index(
    postgres: Database, ddl: str, key: tuple[str, ...]
) -> None:
    postgres.execute(f"CREATE TABLE t ({ddl})")
    assert info_of(open_source(postgres), "t").primary_key == key


def test_indexes_over_expressions_or_part_of_the_rows_are_no_key(postgres: Database) -> None:
    postgres.execute(
        "CREATE TABLE t (a text NOT NULL, b int NOT NULL)",
        "CREATE UNIQUE INDEX ON t (lower(a))",
        "CREATE UNIQUE INDEX ON t (b) WHERE b > 0",
    )
    assert info_of(open_source(postgres), "t").primary_key == ()


def test_dropped_and_generated_columns_and_domains_over_never_null(postgres: Database) -> None:
    postgres.execute(
        "CREATE DOMAIN must AS int NOT NULL",
        "CREATE TABLE t (a must, gone int, b int GENERATED ALWAYS AS (a + 1) STORED)",
        "ALTER TABLE t DROP COLUMN gone",
        "INSERT INTO t VALUES (1)",
    )
    source = open_source(postgres)
    info = info_of(source, "t")
    assert [(c.name, c.source_type, c.nullable) for c in info.columns] == [
        ("a", "integer", False),
        ("b", "integer", True),
    ]
    assert rows_of(source.read(request(info))) == [(1, 2)]


def test_tables_of_other_schemas_carry_the_schema_in_their_name(postgres: Database) -> None:
    postgres.execute("CREATE SCHEMA sales", "CREATE TABLE sales.t (a int)", "CREATE TABLE t (b int)")
    source = open_source(postgres, "sales", "public")
    assert [info.name_in_lake for info in source.discover()] == ["sales__t", "t"]
    assert info_of(source, "sales__t").columns[0].name == "a"
    assert [info.name_in_lake for info in open_source(postgres, "sales").discover()] == ["t"]


def test_two_tables_of_one_name_in_the_lake_are_refused(postgres: Database) -> None:
    postgres.execute("CREATE SCHEMA sales", "CREATE TABLE sales.t (a int)", "CREATE TABLE sales__t (b int)")
    with pytest.raises(ConfigError, match="sales__t"):
        open_source(postgres, "public", "sales").discover()


def test_views_are_found_by_name_only(postgres: Database) -> None:
    postgres.execute(
        "CREATE TABLE t (a int)",
        "INSERT INTO t SELECT generate_series(1, 500)",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE MATERIALIZED VIEW m AS SELECT a FROM t",
    )
    source = open_source(postgres)
    assert [info.name for info in source.discover()] == ["m", "t"]
    pages = list(source.read(request(info_of(source, "v"))))
    assert len(rows_of(pages)) == 500
    assert [page.token is None for page in pages] == [True] * (len(pages) - 1) + [False]
    assert list(source.read(request(info_of(source, "v"), after=pages[-1].token))) == []
    assert len(rows_of(source.read(request(info_of(source, "v"), primary_key=("a",))))) == 500


@pytest.mark.parametrize("key", ["", ", PRIMARY KEY (id, day)"])
def test_a_partitioned_table_is_one_table(postgres: Database, key: str) -> None:
    postgres.execute(
        f"CREATE TABLE t (id int, day date{key}) PARTITION BY RANGE (day)",
        "CREATE TABLE t_old PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2024-01-01')",
        "CREATE TABLE t_new (day date NOT NULL, extra_order int, id int NOT NULL)",
        "ALTER TABLE t_new DROP COLUMN extra_order",
        "ALTER TABLE t ATTACH PARTITION t_new FOR VALUES FROM ('2024-01-01') TO ('2030-01-01')",
        "INSERT INTO t SELECT n, date '2022-01-01' + n FROM generate_series(1, 1500) n",
    )
    source = open_source(postgres)
    (info,) = source.discover()
    assert (info.row_estimate, info.column("day").minimum) == (1500, "2022-01-02")  # type: ignore[union-attr]
    pages = list(source.read(request(info, page_bytes=2000)))
    assert sorted(row[0] for row in rows_of(pages)) == list(range(1, 1501))
    for page in pages[:: max(len(pages) // 5, 1)]:
        rest = rows_of(source.read(request(info, after=page.token)))
        done = rows_of(pages[: pages.index(page) + 1])
        assert sorted(row[0] for row in (*done, *rest)) == list(range(1, 1501))


def test_children_of_an_inherited_table_are_read_through_it_once(postgres: Database) -> None:
    postgres.execute(
        "CREATE TABLE parent (a int)",
        "CREATE TABLE child (b int) INHERITS (parent)",
        "INSERT INTO parent SELECT generate_series(1, 50)",
        "INSERT INTO child SELECT generate_series(51, 90), 0",
    )
    source = open_source(postgres)
    pages = list(source.read(request(info_of(source, "parent"))))
    assert sorted(row[0] for row in rows_of(pages)) == list(range(1, 91))
    assert len(rows_of(source.read(request(info_of(source, "child"))))) == 40


def test_a_table_never_analyzed_is_counted_or_sampled(postgres: Database) -> None:
    postgres.execute(
        "CREATE TABLE small (id int PRIMARY KEY, at timestamptz)",
        "INSERT INTO small SELECT n, '2024-01-01Z' FROM generate_series(1, 77) n",
        "CREATE TABLE large WITH (autovacuum_enabled = off) AS SELECT n AS id, repeat('x', 100) AS filler,"
        " timestamp '2020-01-01' + n * interval '1 minute' AS created_at FROM generate_series(1, 60000) n",
    )
    large, small = open_source(postgres).discover()
    assert (small.row_estimate, small.columns[0].minimum, small.columns[0].maximum) == (77, "1", "77")
    assert small.columns[1].minimum == "2024-01-01T00:00:00.000000Z"
    assert 40_000 < large.row_estimate < 80_000
    at = large.column("created_at")
    assert at is not None
    assert at.minimum is not None
    assert at.minimum.startswith("2020-01")


def test_an_analyzed_table_gives_its_range_from_the_statistics(postgres: Database) -> None:
    postgres.execute(
        "CREATE TABLE t (id int PRIMARY KEY, created_at timestamp NOT NULL, updated_at timestamptz NOT NULL)",
        "INSERT INTO t SELECT n, timestamp '2020-01-01' + n * interval '1 h', now() FROM generate_series(1, 20000) n",
        "ANALYZE t",
    )
    info = info_of(open_source(postgres), "t")
    created = info.column("created_at")
    assert created is not None
    assert (created.minimum or "") < "2020-02"
    assert (created.maximum or "") > "2022-01"
    spec = resolve("shop", DeclaredTable("t"), info)
    assert (spec.sync, spec.cursor, spec.partition) == (
        SyncMode.INCREMENTAL,
        "updated_at",
        TimePartition("created_at", Granularity.YEAR),
    )


def test_a_locked_table_stays_unknown_and_holds_nothing_up(postgres: Database) -> None:
    import psycopg

    postgres.execute(
        "CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)"
    )
    with psycopg.connect(postgres.dsn) as blocker:
        blocker.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
        assert [info.name for info in open_source(postgres).discover()] == ["a", "b"]


def test_a_column_that_changed_its_type_since_discovery_is_said(postgres: Database) -> None:
    from import_platform.errors import SourceRejected

    postgres.execute("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    source = open_source(postgres)
    info = info_of(source, "t")
    postgres.execute("ALTER TABLE t ALTER v TYPE text")
    with pytest.raises(SourceRejected, match="changed its type"):
        list(source.read(request(info)))
