"""One pass over an XML file for all tables that are made of it."""

import math
import threading
from pathlib import Path

import polars as pl
import pytest

from import_platform.core.report import Silent, Stage
from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files import spool, xml_spool
from import_platform.sources.files.connector import FilesSource
from import_platform.sources.files.xml_shred import Shredder
from tests.sources.files.conftest import BUDGET

RECORDS = 3000
SILENT = Silent()
TABLES = {
    "cases": {"primary_key": ["id"], "columns": {"id": {"path": "@id", "type": "bigint"}, "title": {"path": "t"}}},
    "parties": {"rows": "p", "columns": {"case": {"path": "/@id", "type": "bigint"}, "name": {"path": "@n"}}},
    "notes": {"rows": "p/note", "columns": {"case": {"path": "/@id", "type": "bigint"}, "note": {"path": "."}}},
}


def document(records: int = RECORDS, *, mark: str = "") -> str:
    bodies = (
        f'<case id="{i}"><t>case {i}{mark}</t><p n="a{i}"><note>x</note><note>y{i}</note></p><p n="b{i}"/></case>\n'
        for i in range(1, records + 1)
    )
    return f"<cases>\n{''.join(bodies)}</cases>"


@pytest.fixture
def court(tmp_path, monkeypatch):
    """Three tables of one file, every segment small, and how often the file was shredded for how many tables."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("import_platform.sources.files.xml_spool.STALLED_SECONDS", math.inf)
    monkeypatch.setattr(xml_spool, "SEGMENT_BYTES", 1)
    monkeypatch.setattr("import_platform.sources.files.xml_shred.TASK_BYTES", 1 << 16)
    passes = []
    made = Shredder.stretches

    def counted(self, read):
        passes.append((len(self._tables), self._done))
        return made(self, read)

    monkeypatch.setattr(Shredder, "stretches", counted)
    return Court(tmp_path, passes)


class Court:
    def __init__(self, folder: Path, passes: list) -> None:
        self.folder = folder
        self.file = folder / "cases.xml"
        self.lake = Lake(str(folder / "lake"))
        self.passes = passes
        self.file.write_text(document())

    def source(self):
        shared = {"pattern": str(self.file), "record": "case"}
        return FilesSource({"kind": "files", "files": [{"name": n, **shared, **w} for n, w in TABLES.items()]})

    def sync(self, *names, observer=SILENT, **options):
        for name in names:
            source = self.source()
            try:
                sync_table(TableContext("s", DeclaredTable(name), source, self.lake, BUDGET, observer), **options)
            finally:
                source.close()

    def whole_passes(self):
        """Without those that look at the first rows for their columns."""
        return [found for found in self.passes if found[0] > 1]

    def spooled(self):
        return sorted(path.name for path in self.folder.glob("import-platform-files-*/*"))

    def counts(self):
        return [pl.read_delta(self.lake.table_uri("s", name)).height for name in TABLES]


def test_one_pass_serves_every_table_and_leaves_nothing_behind(court):
    court.sync(*TABLES)
    assert court.whole_passes() == [(3, 0)]
    assert court.counts() == [RECORDS, 2 * RECORDS, 2 * RECORDS]
    notes = pl.read_delta(court.lake.table_uri("s", "notes")).sort("_row", "_item")
    assert notes.select("case", "note", "_row", "_item").rows()[2:4] == [(2, "x", 2, 1), (2, "y2", 2, 2)]
    assert court.spooled() == []


def test_people_see_how_much_of_the_file_was_shredded(court):
    seen = []

    class Told(Silent):
        def progress(self, table, stage, *, rows, bytes_, total_rows):
            if stage is Stage.READING and not rows:
                seen.append(bytes_)

    court.sync("cases", observer=Told())
    size = court.file.stat().st_size
    assert len(set(seen)) > 2, "it grows"
    assert seen == sorted(seen)
    assert 0.9 * size < seen[-1] <= size


def test_what_is_spooled_is_for_its_owner_only(court):
    court.sync("cases")
    [folder] = court.folder.glob("import-platform-files-*")
    assert folder.stat().st_mode & 0o077 == 0
    assert court.spooled(), "the other tables have not read theirs"


def test_a_changed_file_is_shredded_again_and_only_that(court):
    court.sync("cases", "parties")
    court.file.write_text(document(RECORDS + 1, mark="!"))
    court.sync(*TABLES)
    assert court.whole_passes() == [(3, 0), (3, 0)]
    assert court.counts() == [RECORDS + 1, 2 * RECORDS + 2, 2 * RECORDS + 2]


def test_tables_side_by_side_share_the_pass(court):
    threads = [threading.Thread(target=court.sync, args=(name,)) for name in TABLES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert court.whole_passes() == [(3, 0)]
    assert court.counts() == [RECORDS, 2 * RECORDS, 2 * RECORDS]


def test_a_table_that_reads_a_file_again_shreds_it_anew(court):
    court.sync(*TABLES)
    court.sync("parties", full_refresh=True)
    assert court.whole_passes() == [(3, 0), (3, 0)]
    assert court.counts() == [RECORDS, 2 * RECORDS, 2 * RECORDS]


def test_without_room_each_table_reads_for_itself(court, monkeypatch):
    monkeypatch.setattr(xml_spool, "_room", lambda _: 1000)
    court.sync(*TABLES)
    assert len(court.whole_passes()) == 1, "it is not tried again for every table"
    assert court.counts() == [RECORDS, 2 * RECORDS, 2 * RECORDS]


def test_a_shredding_that_was_cut_short_goes_on_behind_what_it_has(court, monkeypatch):
    put, written = spool.Spool.put, []

    def cut_short(self, *args, **options):
        put(self, *args, **options)
        written.append(1)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(spool.Spool, "put", cut_short)
    with pytest.raises(KeyboardInterrupt):
        court.sync("cases")
    court.sync(*TABLES)
    first, second = court.whole_passes()
    assert (first, second[0]) == ((3, 0), 3)
    assert second[1] > 0
    assert court.counts() == [RECORDS, 2 * RECORDS, 2 * RECORDS]


def test_a_file_that_changes_while_it_is_shredded_is_not_believed(court, monkeypatch):
    put, written = spool.Spool.put, []

    def changing(self, *args, **options):
        put(self, *args, **options)
        if not written:
            written.append(court.file.write_text(document(10)))

    monkeypatch.setattr(spool.Spool, "put", changing)
    court.sync(*TABLES)
    assert court.counts() == [10, 20, 20]


def test_damage_and_broken_records_are_told_by_every_table(court):
    text = document(100).replace("case 50<", "case & 50<")
    court.file.write_text(text[: text.index('<case id="90">') + 30])
    court.sync(*TABLES)
    rejected = pl.read_delta(court.lake.store.uri + "/_ops/rejected_rows")
    for table in TABLES:
        reasons = rejected.filter(pl.col("table") == table)["reason"].to_list()
        assert len(reasons) == 2, reasons
        assert any(reason.startswith("row 50: the record does not parse") for reason in reasons)
    assert court.counts() == [88, 176, 176]


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("what", ["removed", "broken"])
def test_what_is_gone_in_the_middle_is_read_from_the_file(court, monkeypatch, nth, what):
    """As after somebody has cleared the temporary folder."""
    court.sync("cases")
    segment, met = spool.Spool._segment, []

    def cleared(self, number, table, *args, **options):
        met.append(number)
        if len(met) == nth:
            path = self._path(number, table)
            path.unlink() if what == "removed" else path.write_bytes(b"no rows")
        return segment(self, number, table, *args, **options)

    monkeypatch.setattr(spool.Spool, "_segment", cleared)
    monkeypatch.setattr(spool, "PIECE_BYTES", 1)
    court.sync("parties")
    monkeypatch.undo()
    parties = pl.read_delta(court.lake.table_uri("s", "parties"))
    assert sorted(parties["name"]) == sorted(f"{name}{i}" for name in "ab" for i in range(1, RECORDS + 1))
