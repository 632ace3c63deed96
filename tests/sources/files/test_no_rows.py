"""Files that show no row any more, and files of which none can be read."""

import gzip
import io
from dataclasses import replace

import polars as pl
import pytest

from import_platform.core.report import Silent
from import_platform.errors import ConfigError, SourceRejected
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files.connector import FilesSource
from tests.sources.files.web_server import WebServer

PARQUET = io.BytesIO()
pl.DataFrame({"id": [1]}).write_parquet(PARQUET)
GOOD = {"parquet": PARQUET.getvalue(), "csv": b"id\n1\n", "xml": b"<a><r><id>1</id></r></a>"}

EMPTIED = {
    "empty": ("q.csv", b""),
    "header only": ("q.csv", b"id,a\n"),
    "gone": ("q.csv", None),
    "cut": ("q.csv.gz", gzip.compress(b"id,a\n1,x\n2,y\n", mtime=0)[:20]),
    "no gzip": ("q.csv.gz", b"junk"),
}


@pytest.mark.parametrize("case", EMPTIED)
@pytest.mark.parametrize("words", [{}, {"version": "file"}, {"delete_when": {"column": "a", "value": "-"}}], ids=repr)
def test_rows_with_a_key_stay_when_their_file_shows_none_any_more(feed, case, words):
    name, data = EMPTIED[case]
    feed = feed("q.csv*", primary_key=["id"], format="csv", **words)
    whole = b"id,a\n1,x\n2,y\n"
    path = feed.put(name, gzip.compress(whole) if name.endswith("gz") else whole)
    feed.sync()
    path.unlink() if data is None else path.write_bytes(data)
    report = feed.sync()
    assert report.rows_deleted == 0
    assert feed.rows("id", "a") == [(1, "x"), (2, "y")]
    path.write_bytes(gzip.compress(b"id,a\n2,z\n3,-\n") if name.endswith("gz") else b"id,a\n2,z\n3,-\n")
    feed.sync()
    assert feed.rows("id", "a") == [(1, "x"), (2, "z"), *([] if "delete_when" in words else [(3, "-")])]


def test_a_full_refresh_that_is_asked_for_takes_them_away(feed):
    feed = feed("q.csv", primary_key=["id"])
    feed.put("q.csv", "id,a\n1,x\n2,y\n")
    feed.sync()
    feed.put("q.csv", "id,a\n")
    feed.sync(full_refresh=True)
    assert feed.rows("id", "a") == []


@pytest.mark.parametrize(
    ("name", "data"),
    [("p.parquet", b"junk"), ("p.csv.gz", gzip.compress(b"id\n1\n", mtime=0)[:12]), ("p.xml", b"this is not xml")],
    ids=["parquet", "gzip", "xml"],
)
def test_a_new_table_of_which_no_file_can_be_read_fails_with_the_files_name(feed, name, data):
    kind = name.split(".")[1]
    feed = feed("*.*", format=kind, **({"record": "r"} if kind == "xml" else {}))
    feed.put(name, data)
    with pytest.raises(SourceRejected, match="no file of this table can be read") as raised:
        feed.sync()
    assert name in str(raised.value)
    feed.put(f"q.{kind}", GOOD[kind])
    assert feed.sync().rows_rejected == 1


def test_a_pattern_without_files_is_told_and_is_no_fault(feed):
    feed, notes = feed("none-*.csv"), []

    class Told(Silent):
        def note(self, table, message):
            notes.append(message)

    report = sync_table(replace(feed.context(), observer=Told()))
    assert report.status.value == "unchanged"
    assert "no file matches the pattern yet" in notes[0]
    assert f"no file matches {feed.folder}/none-*.csv" in feed.context().source.check()


def test_a_table_without_its_files_stands_in_no_others_way(tmp_path):
    (tmp_path / "a.csv").write_text("id\n1\n")
    with WebServer() as server:
        files = [{"name": "a", "pattern": f"{tmp_path}/a.csv"}, {"name": "b", "pattern": f"{server.url}/missing.csv"}]
        source = FilesSource({"kind": "files", "files": files})
        assert [(info.name, bool(info.columns)) for info in source.discover()] == [("a", True), ("b", False)]
        declared = FilesSource({"kind": "files", "files": [files[0], {**files[1], "columns": {"id": "bigint"}}]})
        assert [column.name for column in declared.discover()[1].columns][:1] == ["id"]
        with pytest.raises(SourceRejected):
            source.discover(["b"])
        with pytest.raises(SourceRejected):
            FilesSource({"kind": "files", "files": files[1:]}).discover()


@pytest.mark.parametrize(
    ("words", "column"),
    [
        ({"delete_when": {"column": "opp", "value": "D"}}, "opp"),
        ({"version": "vv", "columns": {"vv": "bigint"}}, "vv"),
        ({"primary_key": ["idd"]}, "idd"),
    ],
)
def test_a_column_that_decides_about_rows_has_to_be_in_a_file(feed, words, column):
    feed = feed(**{"primary_key": ["id"], **words})
    feed.put("a.csv", "id,op,v\n1,D,1\n")
    with pytest.raises(ConfigError, match=f"is in none of the files.*{column}"):
        feed.sync()
