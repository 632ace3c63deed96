"""`import-platform query`: what it sees, and what it refuses."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from import_platform.errors import ConfigError, ImportPlatformError, MemoryBudgetExceeded
from import_platform.io.lake import Lake
from import_platform.io.query import LakeSql
from tests.s3_server import s3_server

NOON = datetime(2025, 1, 13, 12, 30, 0, 123456, tzinfo=UTC)
ORDERS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "seen": pa.array([NOON, NOON, None], pa.timestamp("us", "UTC")),
        "day": pa.array([date(2025, 1, 13), None, None], pa.date32()),
        "price": pa.array(
            [Decimal("12345678901234567890123456789012345.678"), None, Decimal("0.1")], pa.decimal128(38, 3)
        ),
        "_partition": ["2025-01", "2025-01", "null"],
    }
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    write_deltalake(root / "lake/shop/orders", ORDERS, partition_by=["_partition"])
    write_deltalake(root / "lake/shop/items", pa.table({"id": [1], "_partition": ["all"]}), partition_by=["_partition"])
    write_deltalake(root / "outside", pa.table({"secret": [1]}))
    return root


@pytest.fixture
def lake(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "copy")) / "lake"


def answer(lake: Path | Lake, sql: str, *, memory_bytes: int = 256 << 20) -> list[tuple[Any, ...]]:
    opened = lake if isinstance(lake, Lake) else Lake(str(lake))
    scratch = Path(opened.uri).parent / "scratch" if opened.store.is_local else Path(tempfile.gettempdir())
    with LakeSql(opened.store, memory_bytes=memory_bytes, threads=2, scratch=scratch) as lake_sql:
        return list(lake_sql.run(sql).rows)


def test_rows_and_types_are_those_of_the_table(lake: Path) -> None:
    rows = answer(lake, "SELECT id, seen, day, price, _partition FROM shop.orders ORDER BY id")
    assert rows[0] == (1, NOON, date(2025, 1, 13), Decimal("12345678901234567890123456789012345.678"), "2025-01")
    assert rows[2] == (3, None, None, Decimal("0.100"), "null")
    described = {row[0]: row[1] for row in answer(lake, "DESCRIBE shop.orders")}
    assert described == {
        "id": "BIGINT",
        "seen": "TIMESTAMP WITH TIME ZONE",
        "day": "DATE",
        "price": "DECIMAL(38,3)",
        "_partition": "VARCHAR",
    }


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("select count(*) from shop.orders where _partition = '2025-01'", (2,)),
        ("WITH o AS (SELECT * FROM SHOP.Orders) SELECT max(o.id) FROM o JOIN shop.items USING (id)", (1,)),
        ("from shop.orders select id order by id", (1,)),
        ("select (select max(id) from shop.orders) + 1", (4,)),
        ("show all tables", ("memory", "shop", "items", ["id", "_partition"], ["BIGINT", "VARCHAR"], False)),
        ("select table_name from information_schema.tables order by 1", ("items",)),
        ("select * from range(3)", (0,)),
        ("pivot shop.items on id in (1) using count(*)", ("all", 1)),
    ],
)
def test_reading_statements_answer(lake: Path, sql: str, first: tuple[Any, ...]) -> None:
    assert answer(lake, sql)[0] == first


@pytest.mark.parametrize(
    "sql",
    [
        "explain select * from shop.orders",
        "EXPLAIN ANALYZE select 1",
        "summarize shop.orders",
        "explain (format json) select 1",
    ],
)
def test_explain_and_summarize_answer(lake: Path, sql: str) -> None:
    assert answer(lake, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "create table x (a int)",
        "drop table shop.orders",
        "insert into shop.orders values (1)",
        "delete from shop.orders",
        "update shop.orders set id = 1",
        "copy (select 1) to '{lake}/x.csv'",
        "copy shop.orders to '/tmp/x.csv'",
        "explain analyze copy (select 1) to '{lake}/x.csv'",
        "explain /* */ analyze copy (select 1) to '{lake}/x.csv'",
        "attach '{lake}/x.db'",
        "attach '/tmp/x.db'",
        "install postgres",
        "load httpfs",
        "set memory_limit = '1GB'",
        "pragma memory_limit = '1GB'",
        "call pragma_version()",
        "export database '/tmp/x'",
        "use shop",
        "begin",
        "checkpoint",
        "select 1; select 2",
        "select 1; drop view shop.orders",
        "",
        "-- nothing",
        "select from where",
        "create secret s (type s3)",
        "prepare p as select 1",
        "vacuum",
        "create macro m() as table (select 1)",
    ],
)
def test_whatever_does_not_read_is_refused(lake: Path, sql: str) -> None:
    before = sorted(lake.rglob("*"))
    with pytest.raises(ConfigError):
        answer(lake, sql.format(lake=lake))
    assert sorted(lake.rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/etc/*')",
        "select content from read_text('/etc/passwd')",
        "select * from '{lake}/../outside/x.parquet'",
        "select * from delta_scan('{lake}/../outside')",
        "describe select * from delta_scan('{lake}/../outside')",
        "select * from delta_scan('http://127.0.0.1:1/x')",
        "select * from 'https://127.0.0.1:1/x.csv'",
        "select * from query('select * from delta' || '_scan(''{lake}/../outside'')')",
        "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "select * from read_duckdb('/tmp/x.db')",
        "select * from range(2) t, lateral (select * from read_blob('/etc/passwd'))",
        "explain from read_text('/etc/passwd')",
        "with a as (from parquet_metadata('{lake}/../outside/x')) from a",
        "select * from sniff_csv('/etc/passwd')",
        "select getenv('HOME')",
        "select * from duckdb_secrets()",
    ],
)
def test_files_and_network_are_out_of_reach(lake: Path, sql: str) -> None:
    with pytest.raises(ConfigError):
        answer(lake, sql.format(lake=lake))


def test_no_python_variable_is_visible_as_a_table(lake: Path) -> None:
    orders = ORDERS  # DuckDB would find this one by name
    with pytest.raises(ConfigError, match="not there"):
        answer(lake, "select * from orders")
    assert orders.num_rows == 3


def test_an_unknown_table_is_answered_with_those_that_exist(lake: Path) -> None:
    with pytest.raises(ConfigError, match=r"shop\.items, shop\.orders"):
        answer(lake, "select * from shop.oders")


def test_an_empty_lake_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="import-platform sync"):
        answer(tmp_path / "lake", "select * from shop.orders")


def test_odd_names_and_the_ops_tables_are_found(lake: Path) -> None:
    opened = Lake(str(lake))
    rows = pa.table({"id": [1], "_partition": ["all"]})
    write_deltalake(opened.table_uri("shop", "Größe & so"), rows, partition_by=["_partition"])
    write_deltalake(f"{opened.uri}/_ops/runs", pa.table({"run": ["a"]}))
    assert answer(opened, 'select id, _partition from shop."Größe & so"') == [(1, "all")]
    assert answer(opened, "from _ops.runs") == [("a",)]


def test_a_table_sees_every_commit_up_to_now(lake: Path) -> None:
    write_deltalake(lake / "shop/items", pa.table({"id": [2], "_partition": ["all"]}), mode="append")
    assert answer(lake, "select id from shop.items order by id") == [(1,), (2,)]


def test_a_large_sort_spills_to_scratch_and_leaves_nothing(lake: Path) -> None:
    spilled = answer(
        lake,
        "select count(*) from (select range r, hash(range) h, repeat('x', 100) t from range(1000000) "
        "order by h offset 1)",
        memory_bytes=64 << 20,
    )
    assert spilled == [(999_999,)]
    assert list((lake.parent / "scratch").iterdir()) == []


def test_a_query_over_its_memory_says_so(lake: Path) -> None:
    with pytest.raises(MemoryBudgetExceeded, match="IMPORT_PLATFORM_MEMORY"):
        answer(lake, "select list(repeat('x', 1000) || r) from range(1000000) t(r)", memory_bytes=64 << 20)


def test_a_billion_rows_are_streamed(lake: Path) -> None:
    with LakeSql(Lake(str(lake)).store, memory_bytes=64 << 20, threads=1, scratch=lake.parent / "scratch") as lake_sql:
        assert next(lake_sql.run("select range from range(1000000000)").rows) == (0,)


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    with s3_server() as environ:
        yield environ["AWS_ENDPOINT_URL"]


def test_a_lake_on_s3_reads_the_same_and_shows_no_secret(object_store: str) -> None:
    import boto3

    env = {
        "AWS_ENDPOINT_URL": object_store,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "canary'secret",
        "AWS_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=object_store,
        aws_access_key_id="k",
        aws_secret_access_key="canary'secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="query-lake")
    lake = Lake("s3://query-lake/prefix", env=env)
    write_deltalake(
        "s3://query-lake/prefix/shop/orders",
        ORDERS,
        partition_by=["_partition"],
        storage_options=lake.store.storage_options,
    )
    assert answer(lake, "select id, seen from shop.orders order by id limit 1") == [(1, NOON)]
    for sql in (
        "copy (select 1) to 's3://query-lake/prefix/x.csv'",
        "select * from 's3://query-lake/x.parquet'",
        "select * from duckdb_settings() where value like '%canary%'",
        "from which_secret('s3://query-lake', 's3')",
    ):
        try:
            shown = json.dumps(answer(lake, sql), default=str)
        except ImportPlatformError as error:
            shown = str(error)
        assert "canary" not in shown.replace(sql, "")
    assert [entry.path for entry in lake.store.entries("") if entry.path.endswith(".csv")] == []


def test_the_extensions_are_those_of_the_installed_duckdb() -> None:
    assert duckdb.__version__ == "1.5.5"
