"""Wherever a lake lies, all that reads and writes it takes its address for the same place, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from import_platform.core.rejected import RejectedRow
from import_platform.errors import ConfigError, StoreUnavailable
from import_platform.io.lake import Lake
from import_platform.io.ledger import (
    RejectedId,
    count_rejected,
    forget_rejected,
    latest_rejected,
    open_rejected,
    record_rejected,
)
from import_platform.io.query import LakeSql
from import_platform.io.run_ledger import runs_table
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable, replaced, rows
from tests.s3_server import new_bucket


def check(lake: Lake, scratch: Path) -> None:
    table = SyncedTable(lake, ListSource(rows(range(30))))
    assert table.sync().rows_inserted == 30
    again = table.sync(replaced(table.source.rows, rows(range(10), day=1)))
    assert again.rows_updated == 10
    kept = DeltaTable(table.uri, storage_options=lake.store.storage_options).to_pyarrow_table()
    assert sorted(kept["id"].to_pylist()) == list(range(30))
    for attempt in ("a1", "a2"):
        record_rejected(lake, "s", "t", attempt, [(1, [RejectedRow({"id": "1"}, "n", "does not fit", None)])])
    assert latest_rejected(lake, "s", "t", limit=9)["attempt"].to_list() == ["a2", "a1"]
    assert sum(batch.num_rows for batch in open_rejected(lake, "s", None)) == 2
    forget_rejected(lake, "s", "t", [RejectedId("a1", 1, 0), RejectedId("a2", 1, 0)])
    assert count_rejected(lake, "s", "t") == 0
    with LakeSql(lake.store, memory_bytes=256 << 20, threads=1, scratch=scratch) as query:
        assert list(query.run("SELECT count(*), max(id) FROM s.t").rows) == [(30, 29)]


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "ü", "a=b", "a+b", "a&b", "a{b", "a*b", "a'b", "a:b", "~a"])
def test_a_lake_on_disk_may_have_any_name(name: str, tmp_path: Path) -> None:
    check(Lake(str(tmp_path / name)), tmp_path / "scratch")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "scratch"])


@pytest.mark.parametrize("name", ["a%20b", "a%b", "100%", "a\\b", "a[b", "a]b", "a^b", "a|b", "a\tb", "a\x7fb"])
def test_a_path_that_deltalake_and_duckdb_misread_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a character that Delta's libraries misread") as error:
        Lake(str(tmp_path / name))
    assert "Set IMPORT_PLATFORM_LAKE to a path without" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "/a b/c", "/ü", "/a=b", "/a+b", "/a&b", "/a:b", "/a'b"])
def test_a_lake_on_s3_may_have_such_a_prefix(prefix: str, s3_environment: dict[str, str], tmp_path: Path) -> None:
    bucket = new_bucket(s3_environment).removesuffix("/lake")
    check(Lake(bucket + prefix, env=s3_environment), tmp_path)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3:///lake",
        "s3://b//lake",
        "s3://b/a//c",
        "s3://b/./a",
        "s3://b/../a",
        "s3://b/a%20b",
        "s3://b/a#b",
        "s3://b/a?b",
        "s3://b/a\\b",
        "s3://b/a[b",
        "s3://b/a|b",
        "s3://b/a\nb",
        "s3://b b/a",
        "s3://me:secret@b/a",
        "s3://[b/a",
        "s3://b:99999/a",
        "s3://bü/a",
    ],
)
def test_an_address_that_its_readers_take_for_several_places_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="does not name a bucket and a folder") as error:
        Lake(uri, env={})
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_sync_into_a_bucket_that_does_not_exist_is_refused_before_anything_is_read(
    s3_environment: dict[str, str],
) -> None:
    source = ListSource(rows(range(5)))
    with pytest.raises(ConfigError, match="the bucket does not exist"):
        SyncedTable(Lake("s3://no-such-bucket-here/lake", env=s3_environment), source).sync()
    assert source.reads == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda lake: runs_table(lake).read(["source"]),
        lambda lake: runs_table(lake).versions(),
        lambda lake: latest_rejected(lake, None, None, limit=1),
        lambda lake: count_rejected(lake, None, None),
        lambda lake: list(open_rejected(lake, "s", None)),
        lambda lake: record_rejected(lake, "s", "t", "a", [(1, [RejectedRow({}, "n", "does not fit", None)])]),
    ],
    ids=["runs", "versions", "latest", "count", "batches", "record"],
)
def test_a_ledger_in_a_bucket_that_does_not_exist_is_a_mistake_of_the_configuration(
    ask: Callable[[Lake], object], s3_environment: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match="the bucket does not exist"):
        ask(Lake("s3://no-such-bucket-here/lake", env=s3_environment))


def test_a_ledger_that_does_not_answer_is_read_another_time(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    record_rejected(lake, "s", "t", "a", [(1, [RejectedRow({}, "n", "does not fit", None)])])
    (tmp_path / "_ops/rejected_rows/_delta_log/00000000000000000000.json").write_text("{half")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        latest_rejected(lake, None, None, limit=1)
