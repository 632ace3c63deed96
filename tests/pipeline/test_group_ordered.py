"""Grouping real Parquet files: spans that meet in the middle of a group, resuming, shares, and sorting first."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.core.budget import MIB, budget_of
from import_platform.core.groups import GroupBy, OutOfOrder
from import_platform.errors import ConfigError
from import_platform.io.external_sort import sorted_files
from import_platform.io.parquet_files import find
from import_platform.io.store import Store
from import_platform.pipeline.group_ordered import MANIFEST, Output, RowGroup, emptied, group_ordered, spans_of

GROUPING = GroupBy(("name",), ("at",), ("at", "value"))
BUDGET = budget_of(512 * MIB, base_bytes=200 * MIB)


def write_files(folder: Path, rows, *, files: int = 3, row_group: int = 7) -> str:
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist([{"name": n, "at": a, "value": v} for n, a, v in rows])
    each = -(-len(rows) // files)
    for number in range(files):
        pq.write_table(table.slice(number * each, each), folder / f"{number}.parquet", row_group_size=row_group)
    return str(folder / "*.parquet")


def ordered_rows(seed: int, names: int) -> list[tuple[str, int, float]]:
    dice = random.Random(seed)
    sizes = [dice.choice([1, 1, 2, 3, 30]) for _ in range(names)]
    return [(f"n{i:04d}", at, dice.random()) for i, size in enumerate(sizes) for at in range(size)]


def read(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def right(rows) -> list[dict]:
    frame = pl.DataFrame(rows, schema=["name", "at", "value"], orient="row")
    return frame.group_by("name", maintain_order=True).agg("at", "value").to_dicts()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("workers", [1, 3])
def test_spans_meet_in_the_middle_of_a_group_and_none_is_lost_or_cut(tmp_path, seed, workers):
    rows = ordered_rows(seed, 60)
    files = find(write_files(tmp_path / "in", rows))
    output = Output(Store(str(tmp_path / "out")))
    done = group_ordered(files, GROUPING, output, budget=BUDGET, workers=workers, span_bytes=1)
    assert (done.rows, done.groups) == (len(rows), 60)
    assert read(tmp_path / "out") == right(rows)


def test_one_group_may_go_through_many_spans_and_files(tmp_path):
    rows = [("a", i, 0.5) for i in range(100)] + [("b", 1, 0.5)]
    files = find(write_files(tmp_path / "in", rows, files=5, row_group=4))
    group_ordered(files, GROUPING, Output(Store(str(tmp_path / "out"))), budget=BUDGET, workers=2, span_bytes=1)
    assert read(tmp_path / "out") == right(rows)


def test_the_output_is_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    files = find(write_files(tmp_path / "in", ordered_rows(1, 80)))
    for name, workers in (("one", 1), ("four", 4)):
        group_ordered(
            files, GROUPING, Output(Store(str(tmp_path / name))), budget=BUDGET, workers=workers, span_bytes=1
        )
    one = {p.name: p.read_bytes() for p in (tmp_path / "one").glob("*.parquet")}
    assert one == {p.name: p.read_bytes() for p in (tmp_path / "four").glob("*.parquet")}
    assert len(one) > 3


def test_a_row_out_of_order_where_two_spans_meet_is_found_with_its_place(tmp_path):
    rows = ordered_rows(2, 40)
    each = -(-len(rows) // 3)
    rows[each - 1], rows[each] = ("x", 0, 0.0), ("a", 0, 0.0)
    files = find(write_files(tmp_path / "in", rows, files=3, row_group=1000))
    with pytest.raises(OutOfOrder) as raised:
        group_ordered(files, GROUPING, Output(Store(str(tmp_path / "out"))), budget=BUDGET, workers=1, span_bytes=1)
    assert (Path(raised.value.facts["file"]).name, raised.value.facts["row"]) == ("1.parquet", 0)


def test_every_key_is_in_one_share_and_the_groups_are_whole(tmp_path):
    rows = ordered_rows(3, 200)
    files = find(write_files(tmp_path / "in", rows))
    output = Output(Store(str(tmp_path / "out")), {"train": 0.7, "test": 0.3})
    group_ordered(files, GROUPING, output, budget=BUDGET, span_bytes=1)
    train, test = read(tmp_path / "out" / "train"), read(tmp_path / "out" / "test")
    assert 100 < len(train) < 180
    assert sorted([*train, *test], key=lambda row: row["name"]) == right(rows)


def test_spans_that_are_done_are_not_read_again(tmp_path):
    rows = ordered_rows(4, 60)
    files = find(write_files(tmp_path / "in", rows))
    output = Output(Store(str(tmp_path / "out")))
    group_ordered(files, GROUPING, output, budget=BUDGET, span_bytes=1)
    (tmp_path / "out" / "_done" / "00002").unlink()
    (tmp_path / "out" / "part-00002.parquet").unlink(missing_ok=True)
    again = group_ordered(files, GROUPING, output, budget=BUDGET, span_bytes=1)
    assert again.rows < len(rows) / 2
    assert again.resumed > 5
    assert read(tmp_path / "out") == right(rows)


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    files = find(write_files(tmp_path / "in", ordered_rows(5, 10)))
    output = Output(Store(str(tmp_path / "out")))
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for step in (lambda: group_ordered(files, GROUPING, output, budget=BUDGET), lambda: emptied(output)):
        with pytest.raises(ConfigError, match="holds something else"):
            step()
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    (tmp_path / "out" / "thesis.txt").unlink()
    group_ordered(files, GROUPING, output, budget=BUDGET)
    other = GroupBy(("name",), (), ("value",))
    with pytest.raises(ConfigError, match="holds something else"):
        group_ordered(files, other, output, budget=BUDGET)
    emptied(output)
    group_ordered(files, other, output, budget=BUDGET)
    assert set(read(tmp_path / "out")[0]) == {"name", "value"}


def test_rows_in_no_order_are_sorted_on_disk_first(tmp_path):
    rows = ordered_rows(6, 300)
    shuffled = random.Random(1).sample(rows, len(rows))
    files = find(write_files(tmp_path / "in", shuffled))
    with sorted_files(
        files, GROUPING.columns, GROUPING.ordered, budget=BUDGET, scratch=tmp_path / "scratch"
    ) as ordered:
        group_ordered(ordered, GROUPING, Output(Store(str(tmp_path / "out"))), budget=BUDGET)
    assert read(tmp_path / "out") == right(rows)
    assert not list((tmp_path / "scratch").iterdir())


def test_spans_hold_every_row_group_once_in_order():
    groups = [RowGroup("f", i, 1, i, size) for i, size in enumerate([5, 5, 20, 1, 1, 1])]
    assert spans_of(groups, 10) == [range(2), range(2, 3), range(3, 6)]
    assert spans_of([], 10) == []


def test_a_killed_command_goes_on_where_it_was(tmp_path):
    rows = [(f"n{i // 40:07d}", i % 40, 0.5) for i in range(400_000)]
    pattern = write_files(tmp_path / "in", rows, files=4, row_group=5_000)
    words = ["group", pattern, "--by", "name", "--order-by", "at", "--out", str(tmp_path / "out"), "--json"]
    environment = {**os.environ, "IMPORT_PLATFORM_MEMORY": "512MiB", "DAGSTER_HOME": str(tmp_path / "home")}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, *words]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert run(_KILLED + _SMALL_SPANS).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "out" / "_done").iterdir())) == 5
    second = run(_SMALL_SPANS)
    told = json.loads(second.stdout)
    assert told["spans_resumed"] == 5
    assert told["rows"] < 400_000
    assert read(tmp_path / "out") == right(rows)
    assert (tmp_path / "out" / MANIFEST).exists()


_KILLED = """
import os, signal, threading
from import_platform.io.store import Store
put, done, one_at_a_time = Store.put, [], threading.Lock()
def killed(self, path, *rest, **options):
    with one_at_a_time:
        put(self, path, *rest, **options)
        if path.startswith("_done/"):
            done.append(path)
        if len(done) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
Store.put = killed
"""
_SMALL_SPANS = """
import functools, sys
import import_platform.cli.group as command
command.group_ordered = functools.partial(command.group_ordered, span_bytes=1)
from import_platform.cli.app import main
main()
"""
