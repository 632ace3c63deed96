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
from import_platform.pipeline.publish import Publishing
from import_platform.pipeline.publish_files import publish_files
from tests.pipeline.synced_table import ROOMY, replaced, rows


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
