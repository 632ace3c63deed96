"""What `tables` and `check` think of tables whose columns are known from rows and from the lake."""

from __future__ import annotations

from pathlib import Path

from import_platform.cli.found import judge
from import_platform.components.external_source import ExternalSource
from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.resources.connection import Connection
from import_platform.sources.files.connector import FilesSource
from tests.pipeline.enriched import enrichment
from tests.pipeline.synced_table import ROOMY


def test_tables_shows_an_enriched_table_of_files_as_the_sync_sees_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    (tmp_path / "a.csv").write_text("id,text\n1,one\n")
    files = [{"name": "t", "pattern": f"{tmp_path}/*.csv"}]
    source = FilesSource({"kind": "files", "files": files})
    declared = DeclaredTable("t", enrich=(enrichment({"function": "tests.pipeline.enriched:locate"}),))
    sync_table(TableContext("s", declared, source, lake, ROOMY))
    external = ExternalSource(name="s", connection=Connection({"kind": "files", "files": files}), tables=(declared,))
    [found] = judge(external, source.discover(), lake)
    assert found.error is None
