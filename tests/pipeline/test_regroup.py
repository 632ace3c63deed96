"""A declared grouping brought up to date: made when its rows change, whole for whoever reads it, and resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.core.grouping import DeclaredGrouping
from import_platform.core.groups import OutOfOrder
from import_platform.core.report import Silent, Status
from import_platform.core.table import UNPARTITIONED
from import_platform.errors import ConfigError, Interrupted, SourceUnavailable
from import_platform.io.lake import Lake
from import_platform.io.store import Store
from import_platform.pipeline.regroup import MANIFEST, Regrouping, regroup
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY, SyncedTable, rows
from tests.s3_server import new_bucket, s3_server

ROWS = [(f"n{i // 7:04d}", i % 7, float(i)) for i in range(700)]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.lake = Lake(str(root / "lake"))
        self.declared = DeclaredGrouping(
            "by_name", str(root / "out"), ("name",), ("at",), files=str(root / "in" / "*.parquet")
        )

    def write(self, rows, name="0.parquet"):
        (self.root / "in").mkdir(exist_ok=True)
        table = pa.Table.from_pylist([{"name": n, "at": a, "value": v} for n, a, v in rows])
        pq.write_table(table, self.root / "in" / name, row_group_size=50)

    def regroup(self, stop=lambda: False, **changed):
        work = Regrouping(self.lake, ROOMY, Silent(), stop, self.root / "scratch")
        fields = {**self.declared.__dict__, **changed}
        return regroup(work, DeclaredGrouping(**fields))

    def manifest(self):
        return json.loads((self.root / "out" / MANIFEST).read_text())

    def groups(self):
        """Those that count, as a reader of the manifest finds them."""
        return [row for path in self.manifest()["files"] for row in pq.read_table(self.root / "out" / path).to_pylist()]

    def sets(self):
        return sorted(path.name for path in (self.root / "out").iterdir() if path.is_dir())


def right(rows):
    frame = pl.DataFrame(rows, schema=["name", "at", "value"], orient="row")
    return frame.group_by("name", maintain_order=True).agg("at", "value").to_dicts()


def test_groups_are_made_once_and_again_only_when_their_rows_change(place):
    place.write(ROWS)
    first = place.regroup()
    assert (first.status, first.rows_read, first.groups, first.violations) == (Status.DONE, 700, 100, 0)
    assert first.peak_memory_bytes > 0
    assert place.groups() == right(ROWS)
    before = place.manifest()
    again = place.regroup()
    assert (again.status, again.rows_read, again.groups, again.files) == (Status.UNCHANGED, 700, 100, first.files)
    assert place.manifest() == before
    place.write([("z", 1, 1.0)], "1.parquet")
    assert place.regroup().groups == 101
    assert place.groups() == right([*ROWS, ("z", 1, 1.0)])
    assert place.sets() == [place.manifest()["set"]], "the set before is gone"


def test_a_file_of_the_same_name_and_size_is_another_file(place):
    place.write(ROWS)
    place.regroup()
    path = place.root / "in" / "0.parquet"
    other = [(n, a, v + 1000.0) for n, a, v in ROWS]
    before = path.stat()
    place.write(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert place.regroup().status is Status.DONE
    assert place.groups() == right(other)


def test_another_declaration_makes_another_set(place):
    place.write(ROWS)
    place.regroup()
    assert place.regroup(columns=("value",)).status is Status.DONE
    assert set(place.groups()[0]) == {"name", "value"}
    assert place.regroup(columns=("value",), shares={"a": 0.5, "b": 0.5}).groups == 100
    assert {path.split("/")[1] for path in place.manifest()["files"]} == {"a", "b"}


def test_groups_left_out_by_shares_are_told_by_every_run(place):
    place.write(ROWS)
    reports = [place.regroup(shares={"a": 0.5}) for _ in range(2)]
    held = len(place.groups())
    assert 0 < held < 100
    assert [(each.status, each.groups, each.groups_left_out) for each in reports] == [
        (Status.DONE, 100, 100 - held),
        (Status.UNCHANGED, 100, 100 - held),
    ]


def test_a_row_out_of_order_is_told_with_its_place_and_the_groups_before_still_count(place):
    place.write(ROWS)
    place.regroup()
    place.write([*ROWS[:300], ("a", 0, 0.0), *ROWS[300:]])
    with pytest.raises(OutOfOrder) as raised:
        place.regroup()
    assert (Path(raised.value.facts["file"]).name, raised.value.facts["row"]) == ("0.parquet", 300)
    assert (raised.value.report.status, raised.value.report.violations) == (Status.FAILED, 1)
    assert place.groups() == right(ROWS)
    assert place.regroup(sort=True).violations == 0
    assert place.groups() == right([("a", 0, 0.0), *ROWS])


def test_a_stop_leaves_the_groups_before_and_the_next_run_goes_on(place):
    place.write(ROWS)
    place.regroup()
    more = [(f"o{i // 7:04d}", i % 7, float(i)) for i in range(700)]
    place.write(more, "1.parquet")
    with pytest.raises(Interrupted):
        place.regroup(stop=lambda: True)
    assert place.groups() == right(ROWS)
    assert place.regroup().groups == 200
    assert place.groups() == right([*ROWS, *more])


def test_a_stop_while_rows_are_sorted_makes_no_groups_of_half_of_them(place):
    place.write(ROWS)
    polls = iter([False, True, False, False, False, False])
    with pytest.raises(Interrupted, match="while the rows were sorted"):
        place.regroup(stop=lambda: next(polls), sort=True)
    assert not (place.root / "out" / MANIFEST).exists()


def test_spans_that_a_killed_run_had_done_count_in_the_next_ones_figures(place):
    place.write(ROWS)
    place.regroup()
    (place.root / "out" / MANIFEST).unlink()  # as after a kill between the last span and the manifest
    report = place.regroup()
    assert (report.status, report.resumed, report.rows_read, report.groups) == (Status.DONE, True, 700, 100)
    assert place.groups() == right(ROWS)


def test_files_that_change_while_they_are_grouped_make_no_set(place):
    place.write(ROWS)
    calls = iter(range(1000))

    def stop() -> bool:
        if next(calls) == 3:
            place.write(ROWS[:10], "1.parquet")
        return False

    with pytest.raises(SourceUnavailable, match="changed while they were grouped"):
        place.regroup(stop=stop)
    assert not (place.root / "out" / MANIFEST).exists()


def test_a_folder_of_something_or_somebody_else_is_refused_and_left_as_it_is(place):
    place.write(ROWS)
    (place.root / "out").mkdir()
    (place.root / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        place.regroup()
    assert (place.root / "out" / "thesis.txt").read_text() == "mine"
    (place.root / "out" / "thesis.txt").unlink()
    place.regroup()
    with pytest.raises(ConfigError, match="holds something else"):
        place.regroup(name="another")


def test_a_table_of_the_lake_is_grouped_in_the_order_of_its_keys_and_again_after_a_sync(place, synced):
    """Its files are by month, and their names say nothing: they are taken in the order of their first rows."""
    place.declared = DeclaredGrouping(
        "by_id", str(place.root / "out"), ("id",), ("updated",), ("text",), table=("s", "t")
    )
    with pytest.raises(ConfigError, match="not in the lake yet"):
        place.regroup()
    table = synced(rows(range(3000)))
    table.sync()
    assert len(table.paths()) == 5
    report = place.regroup()
    assert (report.status, report.rows_read, report.groups) == (Status.DONE, 3000, 3000)
    assert [row["id"] for row in place.groups()] == list(range(3000))
    assert place.regroup().status is Status.UNCHANGED
    assert table.sync(rows(range(3001))).rows_inserted == 1
    assert place.regroup().status is Status.DONE
    assert [row["text"] for row in place.groups()] == [[f"x{i}"] for i in range(3001)]


def test_a_table_of_one_leaf_is_in_the_order_of_its_key_after_a_load_of_many_flushes(place, synced):
    table = synced(rows(range(3000)), page_rows=300, partition=UNPARTITIONED, budget=PAGE_BY_PAGE)
    table.sync()
    place.declared = DeclaredGrouping("by_id", str(place.root / "out"), ("id",), (), ("text",), table=("s", "t"))
    assert place.regroup().groups == 3000


def test_a_table_that_is_not_in_the_order_of_its_keys_is_sorted_where_that_is_asked_for(place, synced):
    table = synced(rows(range(3000)))
    table.sync()
    place.declared = DeclaredGrouping("by_text", str(place.root / "out"), ("text",), ("id",), ("id",), table=("s", "t"))
    with pytest.raises(OutOfOrder):
        place.regroup()
    assert place.regroup(sort=True).groups == 3000
    assert [row["text"] for row in place.groups()] == sorted(f"x{i}" for i in range(3000))


def test_rows_tables_and_groups_may_be_on_s3(place, monkeypatch):
    with s3_server() as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        place.lake = Lake(new_bucket(environ))
        bucket = place.lake.uri.removesuffix("/lake")
        place.write(ROWS)
        Store(bucket).put("in/0.parquet", (place.root / "in" / "0.parquet").read_bytes())
        of_files = {"files": f"{bucket}/in/*.parquet", "output": f"{bucket}/out"}
        assert [place.regroup(**of_files).status for _ in range(2)] == [Status.DONE, Status.UNCHANGED]
        store = Store(f"{bucket}/out")
        found = json.loads(store.get(MANIFEST))["files"]
        assert [row for path in found for row in pq.read_table(store.open_input(path)).to_pylist()] == right(ROWS)

        SyncedTable(place.lake, ListSource(rows(range(3000)))).sync()
        of_table = DeclaredGrouping("by_id", f"{bucket}/by_id", ("id",), (), ("text",), table=("s", "t"))
        place.declared = of_table
        assert [place.regroup().groups for _ in range(2)] == [3000, 3000]
        assert place.regroup(sort=True).status is Status.DONE
