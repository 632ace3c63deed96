"""A flush that takes long is given up when a stop waits for it; what was read stays staged, and the next run goes on."""

import math

import pytest

from import_platform.core.report import Status
from import_platform.core.table import SyncMode
from import_platform.io.parquet import LeafWriter
from import_platform.pipeline import stopping
from tests.pipeline.synced_table import STREAMED, replaced, rows


@pytest.fixture
def asked(monkeypatch):
    """A stop that is asked for when the first rows are written into a file."""
    found, write = [], LeafWriter.write

    def noted(self, *args, **kwargs):
        found.append(True)
        return write(self, *args, **kwargs)

    monkeypatch.setattr(LeafWriter, "write", noted)
    return found


@pytest.mark.parametrize("mode", list(SyncMode))
def test_a_flush_is_given_up_and_made_by_the_next_run_from_what_is_staged(synced, monkeypatch, asked, mode):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.0)
    table = synced(rows(range(3000)), mode=mode, budget=STREAMED, settled=True, page_rows=3000)
    report = table.sync(stop=lambda: bool(asked))
    assert (report.status, report.rows_read) == (Status.CHECKPOINTED, 3000)
    assert table.version == -1
    again = table.sync()
    assert (again.status, again.resumed, again.rows_read) == (Status.DONE, True, 0)
    assert table.matches()


def test_files_that_are_rewritten_are_given_up_too(synced, monkeypatch, asked):
    table = synced(rows(range(3000)), settled=True)
    table.sync()
    asked.clear()
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.0)
    table.source.rows = replaced(table.source.rows, rows(range(0, 3000, 7), day=1, text="y"))
    report = table.sync(stop=lambda: bool(asked))
    assert (report.status, table.version) == (Status.CHECKPOINTED, 0)
    assert table.sync().rows_read == 0
    assert table.matches()


def test_a_flush_that_ends_within_its_grace_is_committed(synced, monkeypatch, asked):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", math.inf)  # a busy machine needs more than the real one
    table = synced(rows(range(3000)), budget=STREAMED, settled=True, page_rows=3000)
    report = table.sync(stop=lambda: bool(asked))
    assert asked, "the stop was there while the flush went on"
    assert report.rows_inserted == 3000
    assert table.matches()
