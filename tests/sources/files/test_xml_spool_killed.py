"""kill -9 of processes that share one pass over an XML file: the next run goes on, and nothing is left over."""

import json
import math
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files import xml_spool
from import_platform.sources.files.connector import FilesSource
from import_platform.sources.files.xml_shred import Shredder
from tests.sources.files.conftest import BUDGET

ROOT = Path(__file__).parents[3]
RECORDS = 3000
TABLES = {
    "cases": {"primary_key": ["id"], "columns": {"id": {"path": "@id", "type": "bigint"}, "title": {"path": "t"}}},
    "parties": {"rows": "p", "columns": {"case": {"path": "/@id", "type": "bigint"}, "name": {"path": "@n"}}},
    "notes": {"rows": "p/note", "columns": {"case": {"path": "/@id", "type": "bigint"}, "note": {"path": "."}}},
}
NUMBERS = range(1, RECORDS + 1)
WHOLE = {
    "cases": [(i, f"case {i}") for i in NUMBERS],
    "parties": [(i, f"{name}{i}") for i in NUMBERS for name in "ab"],
    "notes": [(i, note) for i in NUMBERS for note in ("x", f"y{i}")],
}


class Spooled:
    """Three tables of one file in small segments, synced here or in a process that something happens to."""

    def __init__(self, folder: Path, passes: list[int]) -> None:
        self.folder = folder
        self.lake = Lake(str(folder / "lake"))
        self.passes = passes
        self.file = folder / "cases.xml"
        bodies = (
            f'<case id="{i}"><t>case {i}</t><p n="a{i}"><note>x</note><note>y{i}</note></p><p n="b{i}"/></case>\n'
            for i in NUMBERS
        )
        self.file.write_text(f"<cases>\n{''.join(bodies)}</cases>")
        shared = {"pattern": str(self.file), "record": "case"}
        self.files = [{"name": name, **shared, **words} for name, words in TABLES.items()]

    def process(self, **asked):
        asked = {"lake": self.lake.store.uri, "files": self.files, "tables": list(TABLES), **asked}
        command = [sys.executable, "-m", "tests.sources.files.killed_spool", json.dumps(asked)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def killed(self, step, nth, **asked):
        """Syncs until a step is met for the n-th time; the last record that was shredded then, None for all."""
        process = self.process(step=step, nth=nth, **asked)
        _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said[-2000:]
        return self.shredded()

    def shredded(self):
        states = [json.loads(path.read_text()) for path in self._scratch("*/state.json")]
        assert len(states) <= 1
        return states[0]["uptos"][-1] if states and not states[0]["whole"] else None

    def sync_all(self, *, beside=False):
        if not beside:
            for name in TABLES:
                self.sync(name)
            return
        threads = [threading.Thread(target=self.sync, args=(name,)) for name in TABLES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def sync(self, name):
        source = FilesSource({"kind": "files", "files": self.files})
        try:
            return sync_table(TableContext("s", DeclaredTable(name), source, self.lake, BUDGET))
        finally:
            source.close()

    def check_whole(self):
        """Every row once, and nothing of a pass left on the disk."""
        for name, columns in (("cases", ["id", "title"]), ("parties", ["case", "name"]), ("notes", ["case", "note"])):
            frame = pl.read_delta(self.lake.table_uri("s", name)).select(columns)
            assert sorted(frame.rows()) == sorted(WHOLE[name]), name
        assert self._scratch("*") == []

    def _scratch(self, names):
        return sorted(self.folder.glob(f"import-platform-files-*/{names}"))


@pytest.fixture
def spooled(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("import_platform.sources.files.xml_spool.STALLED_SECONDS", math.inf)
    monkeypatch.setattr(xml_spool, "SEGMENT_BYTES", 1)
    monkeypatch.setattr("import_platform.sources.files.xml_shred.TASK_BYTES", 1 << 16)
    passes, made = [], Shredder.stretches

    def counted(self, read):
        if len(self._tables) > 1:
            passes.append(self._done)
        return made(self, read)

    monkeypatch.setattr(Shredder, "stretches", counted)
    return Spooled(tmp_path, passes)


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(("step", "nth"), [("Spool.put", 3), ("spool.write_rows", 8)])
def test_killed_while_it_shreds_the_next_run_goes_on_behind_the_last_segment(spooled, step, nth, beside):
    upto = spooled.killed(step, nth, beside=beside)
    assert upto, "some segments were done"
    spooled.sync_all(beside=beside)
    assert spooled.passes == [upto]
    spooled.check_whole()


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(("step", "nth"), [("Spool.end", 1), ("Staging.stage", 2)])
def test_killed_while_it_reads_its_share_nothing_is_shredded_again(spooled, step, nth, beside):
    assert spooled.killed(step, nth, beside=beside) is None
    spooled.sync_all(beside=beside)
    assert spooled.passes == []
    spooled.check_whole()


@pytest.mark.parametrize(
    ("step", "nth", "before"), [("FilesSource.close", 1, True), ("Spool.use", 1, False), ("Spool.use", 2, True)]
)
def test_killed_between_two_tables_the_shares_of_those_that_are_done_go_away(spooled, step, nth, before):
    assert spooled.killed(step, nth, before=before) is None
    spooled.sync_all()
    assert spooled.passes == []
    spooled.check_whole()


@pytest.mark.parametrize("step", ["shutil.rmtree", "Lock.remove"])
def test_killed_while_it_clears_up_the_next_run_does(spooled, step):
    spooled.killed(step, 1, before=True)
    assert spooled._scratch("*"), "something was left"
    spooled.sync_all()
    assert spooled.passes == []
    spooled.check_whole()


def test_a_file_that_is_replaced_after_the_kill_leaves_nothing_of_the_old_one(spooled):
    assert spooled.killed("Spool.put", 2)
    spooled.file.write_bytes(spooled.file.read_bytes() + b"\n")
    spooled.sync_all()
    assert spooled.passes == [0]
    spooled.check_whole()


def test_of_two_processes_the_one_that_waits_takes_over_when_the_other_is_killed(spooled, tmp_path):
    held, waits = tmp_path / "held", tmp_path / "waits"
    with spooled.process(step="Spool.put", nth=2, said=str(held), tables=["cases"]) as first:
        try:
            wait_for(held, first)
            upto = spooled.shredded()
            with spooled.process(waits=str(waits), tables=["parties", "notes"]) as second:
                wait_for(waits, second)
                first.kill()
                told, said = second.communicate()
                assert second.returncode == 0, said[-2000:]
        finally:
            first.kill()
    assert json.loads(told.splitlines()[-1]) == [upto], "it went on behind what the dead one had"
    assert upto
    spooled.sync_all()
    assert spooled.passes == [], "the killed table found its rows"
    spooled.check_whole()


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.02)
