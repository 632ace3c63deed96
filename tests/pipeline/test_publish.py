"""Tables of the lake in a real PostgreSQL: all of a group or nothing, what stands on a target stays, kills leave nothing."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from import_platform.core.publication import PublishMode, ToPostgres
from import_platform.core.table import SyncMode
from import_platform.errors import ConfigError, Interrupted, TargetRejected, TargetUnavailable
from import_platform.io.lake import Lake
from import_platform.io.postgres_target import TargetTransaction
from import_platform.pipeline.lake_changes import LakeChanges
from import_platform.pipeline.maintain import compact_leaf
from import_platform.pipeline.publish import Publishing, grouped, publish_group
from tests.pipeline.lake_table import in_lake
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import ROOMY, SyncedTable, TinyBudget, replaced, rows, without

TO = ToPostgres("WAREHOUSE")


def publish(table, database, to=TO, **options):
    work = Publishing(table.lake, "s", options.pop("budget", ROOMY), **options)
    return publish_group(work, [(table.source.name, to)], database.dsn)[0]


def matches(table, database, columns="id, created, updated, text"):
    order = sorted(table.source.rows.to_pylist(), key=lambda row: row["id"])
    return database.rows(f"select {columns} from t order by id") == [
        tuple(row[name] for name in columns.split(", ")) for row in order
    ]


@pytest.fixture
def published(synced, postgres):
    table = synced(rows(range(1000)))
    table.sync()
    report = publish(table, postgres)
    assert (report.how, report.rows_inserted, report.since) == ("create", 1000, None)
    return table


def test_a_first_publication_makes_the_table_with_its_key_and_every_row(published, postgres):
    assert matches(published, postgres)
    kinds = postgres.rows("select attname, format_type(atttypid, atttypmod) from pg_attribute"
                          " where attrelid = 't'::regclass and attnum > 0 order by attnum")  # fmt: skip
    assert kinds == [("id", "bigint"), ("created", "timestamp with time zone"),
                     ("updated", "timestamp with time zone"), ("text", "text")]  # fmt: skip
    assert postgres.rows("select count(*) from pg_index where indrelid = 't'::regclass and indisprimary") == [(1,)]


def test_only_changed_rows_are_sent_and_written(published, postgres):
    before = dict(postgres.rows("select id, xmin::text from t"))
    published.sync(replaced(published.source.rows, rows([5, 700, 1000], day=3, text="new")))
    report = publish(published, postgres)
    assert (report.how, report.rows_read, report.rows_inserted, report.rows_updated, report.rows_deleted) == (
        "merge", 3, 1, 2, 0,
    )  # fmt: skip
    assert matches(published, postgres)
    after = dict(postgres.rows("select id, xmin::text from t"))
    assert {key for key in after if after[key] != before.get(key)} == {5, 700, 1000}


def test_nothing_new_writes_nothing(published, postgres):
    report = publish(published, postgres)
    assert (report.how, report.status, report.rows_read) == ("nothing", "unchanged", 0)


def test_a_compaction_changes_no_row_of_the_target(published, postgres):
    for day in range(2, 6):
        published.sync(replaced(published.source.rows, rows(range(day * 10, day * 10 + 3), day=day)))
    publish(published, postgres)
    version = published.version
    compact_leaf(in_lake(published), "2025-01", budget=ROOMY)
    report = publish(published, postgres)
    assert published.version == version or report.rows_read == 0
    assert report.rows_updated == report.rows_inserted == report.rows_deleted == 0


def test_rows_that_went_away_in_the_lake_go_away_in_the_target(synced, postgres):
    table = synced(rows(range(300)), mode=SyncMode.FULL_REFRESH, primary_key=("id",))
    table.sync()
    publish(table, postgres)
    changed = replaced(without(table.source.rows, range(10, 20)), rows([3], day=1, text="b"))
    table.sync(changed)
    report = publish(table, postgres)
    assert (report.how, report.rows_updated, report.rows_deleted) == ("merge", 1, 10)
    assert matches(table, postgres)


def test_hashes_that_outgrow_the_memory_are_left_out_and_the_result_is_the_same(synced, postgres):
    table = synced(rows(range(300)), mode=SyncMode.FULL_REFRESH, primary_key=("id",))
    table.sync()
    publish(table, postgres)
    table.sync(replaced(without(table.source.rows, range(10, 20)), rows([3], day=1, text="b")))
    report = publish(table, postgres, budget=TinyBudget(ROOMY.total_bytes, ROOMY.base_bytes))
    assert (report.rows_read, report.rows_updated, report.rows_deleted) == (290, 1, 10)
    assert matches(table, postgres)


def test_a_swap_replaces_every_row_and_keeps_views_grants_and_indexes(synced, postgres):
    table = synced(rows(range(50)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    to = ToPostgres("WAREHOUSE", mode=PublishMode.SWAP)
    publish(table, postgres, to)
    postgres.execute("create role reader_of_swap", "grant select on t to reader_of_swap",
                     "create view v as select id, text from t", "create index t_text on t (text)")  # fmt: skip
    try:
        table.sync(rows(range(20, 90), text="y"))
        report = publish(table, postgres, to)
        assert (report.how, report.rows_deleted, report.rows_inserted) == ("swap", 50, 70)
        assert postgres.rows("select count(*), min(text) from v") == [(70, "y20")]
        assert postgres.rows("select has_table_privilege('reader_of_swap', 't', 'select')") == [(True,)]
        assert postgres.rows("select count(*) from pg_indexes where indexname = 't_text'") == [(1,)]
    finally:
        postgres.execute("drop owned by reader_of_swap", "drop role reader_of_swap")


def test_a_swap_minds_the_rules_that_stand_on_the_target(synced, postgres):
    """COPY passes rules by, and is refused where row security is forced."""
    table = synced(rows(range(30)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    to = ToPostgres("WAREHOUSE", mode=PublishMode.SWAP)
    publish(table, postgres, to)
    postgres.execute("create table seen (id bigint)",
                     "create rule seen as on insert to t do also insert into seen values (new.id)",
                     "alter table t force row level security", "alter table t enable row level security",
                     "create policy everything on t using (true) with check (true)")  # fmt: skip
    table.sync(rows(range(20, 45)))
    report = publish(table, postgres, to)
    assert (report.how, report.rows_deleted, report.rows_inserted) == ("swap", 30, 25)
    assert matches(table, postgres)
    assert postgres.rows("select count(*), min(id), max(id) from seen") == [(25, 20, 44)]


INT16 = pa.int16()


def all_types(ids, *, small=INT16):
    return pa.table({
        "id": pa.array(ids, pa.int64()),
        "flag": pa.array([None if i % 3 == 0 else i % 2 == 0 for i in ids], pa.bool_()),
        "small": pa.array([None if i % 5 == 0 else -i for i in ids], small),
        "real": pa.array([[math.nan, math.inf, -math.inf, -0.0, None, 0.1][i % 6] for i in ids], pa.float64()),
        "price": pa.array([None if i % 4 == 0 else Decimal(-i) / 100 for i in ids], pa.decimal128(38, 2)),
        "day": pa.array([[date(1, 1, 1), date(9999, 12, 31), None][i % 3] for i in ids], pa.date32()),
        "at": pa.array([[datetime(1, 1, 1, tzinfo=UTC), datetime(2025, 3, 30, 1, 59, 59, 999999, UTC), None][i % 3]
                        for i in ids], pa.timestamp("us", "UTC")),
        "raw": pa.array([[b"\x00\xff\\x", b"", None][i % 3] for i in ids], pa.binary()),
        "tags": pa.array([['["a", null, "b,{}"]', "[]", None][i % 3] for i in ids], pa.string()),
        "said": pa.array([["\\N", "", 'tab\t"quote"\r\n', "naïve 🙂", None][i % 5] for i in ids], pa.string()),
    })  # fmt: skip


def spelled(row):
    """As text, because NaN equals nothing and -0.0 equals 0.0."""
    return [repr(value.astimezone(UTC) if isinstance(value, datetime) else value) for value in row]


def test_every_type_arrives_as_it_is_with_nulls_nan_arrays_and_odd_text(synced, postgres):
    data = all_types(range(1, 61))
    table = synced(data, mode=SyncMode.FULL_REFRESH, primary_key=("id",), partition=None)
    table.sync()
    publish(table, postgres, ToPostgres("WAREHOUSE", types={"tags": "text[]"}))
    found = postgres.rows("select * from t order by id")
    wanted = [tuple(row.values()) for row in data.to_pylist()]
    tags = {'["a", null, "b,{}"]': ["a", None, "b,{}"], "[]": [], None: None}
    wanted = [(*row[:8], tags[row[8]], row[9]) for row in wanted]
    assert [spelled(row) for row in found] == [spelled(row) for row in wanted]
    assert postgres.rows("select format_type(atttypid, atttypmod) from pg_attribute"
                         " where attrelid = 't'::regclass and attname = 'tags'") == [("text[]",)]  # fmt: skip
    table.sync(all_types(range(2, 70)))
    assert publish(table, postgres, ToPostgres("WAREHOUSE", types={"tags": "text[]"})).rows_deleted == 1
    assert len(postgres.rows("select id from t")) == 68


def test_a_new_column_and_a_wider_one_follow_under_a_view_with_its_grants(synced, postgres):
    table = synced(all_types(range(1, 30)), mode=SyncMode.FULL_REFRESH, primary_key=("id",), partition=None)
    table.sync()
    publish(table, postgres)
    postgres.execute("create role reader_of_views", "create view v as select id, small from t",
                     "create view w as select small + 1 as more from v", "grant select (more) on w to reader_of_views",
                     "grant select on v to reader_of_views with grant option")  # fmt: skip
    try:
        wide = all_types(range(1, 30), small=pa.int64()).append_column("extra", pa.array(["e"] * 29))
        wide = wide.set_column(2, "small", pa.array([2**40] * 29, pa.int64()))
        table.sync(wide)
        publish(table, postgres)
        assert postgres.rows("select distinct extra, small from t") == [("e", 2**40)]
        assert postgres.rows("select distinct more from w") == [(2**40 + 1,)]
        assert postgres.rows("select has_table_privilege('reader_of_views', 'v', 'select with grant option'),"
                             " has_column_privilege('reader_of_views', 'w', 'more', 'select')") == [(True, True)]  # fmt: skip
    finally:
        postgres.execute("drop owned by reader_of_views", "drop role reader_of_views")


def second(lake: Lake, data: pa.Table) -> SyncedTable:
    table = SyncedTable(lake, ListSource(data, name="u"))
    table.sync()
    return table


def test_an_error_in_the_second_table_leaves_the_first_as_it_was(published, postgres):
    other = second(published.lake, rows(range(10)))
    group = [("t", TO), ("u", TO)]
    work = Publishing(published.lake, "s", ROOMY)
    publish_group(work, group, postgres.dsn)
    postgres.execute("alter table u add constraint short check (length(text) < 6)")
    published.sync(replaced(published.source.rows, rows([1, 2000], day=3, text="new")))
    other.sync(replaced(other.source.rows, rows([4], day=3, text="secret value ")))
    before = [postgres.rows(f"select * from {name} order by 1") for name in ("t", "u", "import_platform_published")]
    with pytest.raises(TargetRejected, match="constraint") as caught:
        publish_group(work, group, postgres.dsn)
    assert "secret" not in str(caught.value)
    after = [postgres.rows(f"select * from {name} order by 1") for name in ("t", "u", "import_platform_published")]
    assert after == before
    postgres.execute("alter table u drop constraint short")
    reports = publish_group(work, group, postgres.dsn)
    assert [(report.rows_updated, report.rows_inserted) for report in reports] == [(1, 1), (1, 0)]


def test_a_stop_leaves_the_target_as_it_was(published, postgres):
    published.sync(replaced(published.source.rows, rows([1], day=3, text="new")))
    with pytest.raises(Interrupted):
        publish(published, postgres, stop=lambda: True)
    assert postgres.rows("select text from t where id = 1") == [("x1",)]


def test_readers_see_all_of_the_old_or_all_of_the_new_and_never_wait(synced, postgres, monkeypatch):
    """They read behind every statement of the publishing transaction."""
    table = synced(rows(range(20_000), text="0-"), mode=SyncMode.FULL_REFRESH)
    table.sync()
    to = ToPostgres("WAREHOUSE", mode=PublishMode.SWAP)
    publish(table, postgres, to)
    changes = []

    def then_read(call):
        def called(self, *args, **options):
            result = call(self, *args, **options)
            changes.append((call.__name__, contents(reader)))
            return result

        return called

    for name in ("execute", "copy", "commit"):
        monkeypatch.setattr(TargetTransaction, name, then_read(getattr(TargetTransaction, name)))
    with psycopg.connect(postgres.dsn) as old, psycopg.connect(postgres.dsn, autocommit=True) as reader:
        old.execute("set transaction isolation level repeatable read")
        old.execute("select 1")
        reader.execute("set lock_timeout = '10s'")  # whoever has to wait for a lock fails
        for turn in (1, 2):
            table.sync(rows(range(20_000), text=f"{turn}-"))
            changes.clear()
            publish(table, postgres, to)
            assert {"execute", "copy"} <= {name for name, _ in changes}
            *during, after = changes
            assert [seen for _, seen in during] == [whole(turn - 1)] * len(during)
            assert after == ("commit", whole(turn))
        assert contents(old) == whole(0)


def contents(connection):
    return connection.execute("select left(text, 1), count(*) from t group by 1").fetchall()


def whole(turn):
    return [(str(turn), 20_000)]


PUBLISH = """
import sys
from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.publication import ToPostgres
from import_platform.io.lake import Lake
from import_platform.io.published_table import PublishedTable
from import_platform.pipeline.publish import Publishing, publish_group
import os, time
def record(self, published):
    print("rows are there", flush=True)
    time.sleep(600)
PublishedTable.record = record
publish_group(Publishing(Lake(sys.argv[1]), "s", MemoryBudget(GIB, 200 * MIB)), [("t", ToPostgres("W"))], os.environ["W"])
"""


def test_a_kill_in_the_middle_leaves_nothing_and_the_next_run_does_it_all(published, postgres):
    published.sync(replaced(published.source.rows, rows([1, 2000], day=3, text="new")))
    env = os.environ | {"W": postgres.dsn}
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISH, published.lake.uri], stdout=subprocess.PIPE, env=env
    ) as child:
        assert child.stdout.readline() == b"rows are there\n"
        child.send_signal(signal.SIGKILL)
    assert postgres.rows("select text from t where id in (1, 2000)") == [("x1",)]
    report = publish(published, postgres)
    assert (report.rows_updated, report.rows_inserted) == (1, 1)
    assert matches(published, postgres)
    left = postgres.rows("select relname from pg_class where relname like 'import_platform%' and relkind = 'r'")
    assert left == [("import_platform_published",)]


def test_a_version_that_is_gone_is_published_whole(published, postgres, monkeypatch):
    published.sync(replaced(published.source.rows, rows([1], day=3, text="new")))
    postgres.execute("delete from t where id = 500")  # by hand: a merge would not notice
    monkeypatch.setattr(LakeChanges, "since", lambda *_: None)
    report = publish(published, postgres)
    assert (report.how, report.since, report.rows_inserted) == ("swap", None, 1000)
    assert matches(published, postgres)


def test_rows_that_a_foreign_key_points_to_are_never_deleted_and_put_back(published, postgres, monkeypatch):
    postgres.execute("create table child (t_id bigint references t on delete cascade)",
                     "insert into child select id from t where id < 5")  # fmt: skip
    published.sync(replaced(published.source.rows, rows([1], day=3, text="new")))
    monkeypatch.setattr(LakeChanges, "since", lambda *_: None)
    report = publish(published, postgres)
    assert (report.how, report.rows_updated, report.rows_inserted, report.rows_deleted) == ("merge", 1, 0, 0)
    assert postgres.rows("select count(*) from child") == [(5,)]


def test_a_table_of_somebody_else_is_refused(synced, postgres):
    table = synced(rows(range(5)))
    table.sync()
    postgres.execute("create table t (id bigint, note text)", "insert into t values (1, 'theirs')")
    with pytest.raises(ConfigError, match="not published from here"):
        publish(table, postgres)
    assert postgres.rows("select * from t") == [(1, "theirs")]


def test_a_target_of_another_shape_keeps_its_own_columns_and_types(synced, postgres):
    table = synced(rows(range(5)))
    table.sync()
    postgres.execute("create table t (id numeric primary key, note text default 'mine', text varchar(10))")
    publish(table, postgres)
    assert postgres.rows("select id, note, text from t where id = 3") == [(3, "mine", "x3")]
    table.sync(replaced(table.source.rows, rows([3], day=2, text="y")))
    assert publish(table, postgres).rows_updated == 1
    assert postgres.rows("select id, note, text from t where id = 3") == [(3, "mine", "y3")]


def test_a_text_with_nul_is_told_without_its_value(synced, postgres):
    table = synced(pa.table({"id": [1], "text": ["hidden\0value"]}), mode=SyncMode.FULL_REFRESH, partition=None)
    table.sync()
    with pytest.raises(TargetRejected, match="NUL") as caught:
        publish(table, postgres)
    assert "hidden" not in str(caught.value)
    assert postgres.rows("select to_regclass('t')") == [(None,)]


@pytest.mark.parametrize(
    "dsn", ["postgresql://me:sesame@127.0.0.1:1/x", "sesame", "host=127.0.0.1 port=1 password=sesame"]
)
def test_errors_of_the_connection_never_show_the_password(synced, dsn):
    table = synced(rows(range(5)))
    table.sync()
    with pytest.raises((TargetUnavailable, ConfigError, TargetRejected)) as caught:
        publish_group(Publishing(table.lake, "s", ROOMY), [("t", TO)], dsn)
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(caught.value.facts)


def test_two_databases_in_one_group_and_two_tables_on_one_target_are_refused():
    with pytest.raises(ConfigError, match="different databases"):
        grouped([("a", ToPostgres("A", group="g")), ("b", ToPostgres("B", group="g"))])
    with pytest.raises(ConfigError, match="one target"):
        grouped([("a", ToPostgres("A")), ("b", ToPostgres("A", table="a"))])
    assert [[name for name, _ in group] for group in grouped([
        ("a", ToPostgres("A", group="g")), ("b", ToPostgres("A")), ("c", ToPostgres("A", group="g")),
    ])] == [["a", "c"], ["b"]]  # fmt: skip


def test_a_group_that_fails_says_by_which_table(synced, postgres):
    tables = [synced(rows(range(3)), name=name) for name in ("a", "b")]
    for table in tables:
        table.sync()
    declared = [("a", ToPostgres("WAREHOUSE")), ("b", ToPostgres("WAREHOUSE", types={"id": "integr"}))]
    with pytest.raises(TargetRejected, match=r"table 's/b', target 'public\.b'.*integr"):
        publish_group(Publishing(tables[0].lake, "s", ROOMY), declared, postgres.dsn)
    assert postgres.rows("select count(*) from pg_class where relname in ('a', 'b')") == [(0,)]
