"""Tables of the lake as files: one set counts, the one before is archived, a killed run's is swept away."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from import_platform.core.publication import ToFolder
from import_platform.core.table import SyncMode
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.lake import Lake
from import_platform.io.store import Store
from import_platform.pipeline.publish import Publishing
from import_platform.pipeline.publish_files import publish_files
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import ROOMY, SyncedTable, replaced, rows
from tests.s3_server import new_bucket


def publish(table, to, **options):
    return publish_files(Publishing(table.lake, "s", ROOMY, **options), table.source.name, to)


def current(folder):
    manifest = json.loads((folder / "_published.json").read_text())
    return [folder / path for path in manifest["files"]]


def test_a_set_replaces_the_last_which_is_archived_whole(synced, tmp_path):
    table = synced(rows(range(200)))
    table.sync()
    folder, archive = tmp_path / "out", tmp_path / "old"
    to = ToFolder(str(folder), archive=str(archive))
    assert publish(table, to).rows_inserted == 200
    first = current(folder)
    published = pl.read_parquet(first).sort("id")
    assert publish(table, to).how == "nothing"
    table.sync(replaced(table.source.rows, rows([3, 900], day=2, text="new")))
    publish(table, to)
    assert pl.read_parquet(current(folder)).sort("id").equals(table.lake_frame().select(published.columns).sort("id"))
    assert not any(path.exists() for path in first)
    archived = [archive / path.relative_to(folder) for path in first]
    assert pl.read_parquet(archived).sort("id").equals(published)


@pytest.mark.slow
def test_a_bucket_takes_sets_and_archives_too(s3_environment, tmp_path, monkeypatch):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    table = SyncedTable(Lake(str(tmp_path / "lake")), ListSource(rows(range(200))))
    table.sync()
    uri = new_bucket(s3_environment)
    to = ToFolder(f"{uri}/out", archive=f"{uri}/old")
    assert publish(table, to).rows_inserted == 200
    table.sync(replaced(table.source.rows, rows([3, 900], day=2, text="new")))
    publish(table, to)
    out, old = Store(f"{uri}/out"), Store(f"{uri}/old")
    manifest = json.loads(out.get("_published.json"))
    published = pl.concat([pl.read_parquet(out.get(path)) for path in manifest["files"]]).sort("id")
    assert published.equals(table.lake_frame().select(published.columns).sort("id"))
    archived = [pl.read_parquet(old.get(entry.path)) for entry in old.entries("") if entry.path.endswith(".parquet")]
    assert pl.concat(archived).sort("id")["id"].to_list() == list(range(200))
    assert {entry.path.split("/")[0] for entry in out.entries("")} == {"_published.json", manifest["set"]}


def test_what_a_stopped_run_left_is_swept_away_and_never_counted(synced, tmp_path):
    table = synced(rows(range(200)))
    table.sync()
    folder = tmp_path / "out"
    to = ToFolder(str(folder))
    with pytest.raises(Interrupted):
        publish(table, to, stop=lambda: True)
    assert not (folder / "_published.json").exists()
    (folder / "readme.txt").write_text("of somebody else")
    publish(table, to)
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"_published.json", "readme.txt", current(folder)[0].parent.name}


def test_csv_tells_null_from_empty_and_keeps_every_character(synced, tmp_path):
    data = pa.table({
        "id": pa.array([1, 2, 3], pa.int64()),
        "said": pa.array(['a "b",\r\nc', "", None]),
        "raw": pa.array([b"\x00\xff", b"", None], pa.binary()),
        "at": pa.array([datetime(2025, 1, 1, 1, 2, 3, 4, UTC), None, None], pa.timestamp("us", "UTC")),
    })  # fmt: skip
    table = synced(data, mode=SyncMode.FULL_REFRESH, primary_key=("id",), partition=None)
    table.sync()
    publish(table, ToFolder(str(tmp_path / "out"), "csv"))
    [path] = current(tmp_path / "out")
    options = pa_csv.ConvertOptions(
        column_types={"said": pa.string(), "raw": pa.string()},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    read = pa_csv.read_csv(path, convert_options=options, parse_options=pa_csv.ParseOptions(newlines_in_values=True))
    found = read.sort_by("id").to_pydict()
    assert found["said"] == ['a "b",\r\nc', "", None]
    assert found["raw"] == ["00ff", "", None]
    assert path.read_text().splitlines()[0] == '"id","said","raw","at"'
    assert "2025-01-01 01:02:03.000004Z" in path.read_text()


def test_a_folder_of_another_table_is_refused(synced, tmp_path):
    table = synced(rows(range(5)))
    table.sync()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_published.json").write_text('{"table": "s/other"}')
    with pytest.raises(ConfigError, match="another table"):
        publish(table, ToFolder(str(tmp_path / "out")))


def test_a_folder_that_cannot_be_made_is_told_as_what_it_is(synced):
    table = synced(rows(range(2)))
    table.sync()
    with pytest.raises(ConfigError, match=r"cannot be created .*/proc/nope.*Point publish\.folder at"):
        publish(table, ToFolder("/proc/nope"))
