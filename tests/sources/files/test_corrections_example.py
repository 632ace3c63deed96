"""The example with corrections does what its page says."""

import os
import runpy
from pathlib import Path

import polars as pl
import yaml

from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.io.releases import released_versions
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files.connector import FilesSource
from tests.sources.files.conftest import BUDGET

EXAMPLE = Path(__file__).parents[3] / "examples" / "court_corrections"
RECORDS = 300


def test_corrected_records_keep_their_newest_parties_and_deleted_ones_stay_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLE / "write.py"))["write_all"](tmp_path / "docket", RECORDS)
    declared = yaml.safe_load((EXAMPLE / "defs/docket/defs.yaml").read_text())["attributes"]
    lake = Lake(str(tmp_path / "lake"))
    for again in (None, 1, 2):
        if again is not None:
            os.utime(tmp_path / "docket/docket-2025-01-01.xml", (again, again))
        for table in ("cases", "parties"):
            source = FilesSource(declared["connection"])
            sync_table(TableContext("docket", DeclaredTable(table), source, lake, BUDGET))
        cases = pl.read_delta(lake.table_uri("docket", "cases"))
        living = [number for number in range(RECORDS) if number % 7]
        editions = dict(cases.select("id", pl.col("title").str.extract(r"edition (\d)")).rows())
        assert editions == {number: "1" if number % 3 else "2" for number in living}
        files = pl.read_delta(lake.table_uri("docket", "parties")).group_by("case_id").agg(pl.col("_file").unique())
        assert all(len(names) == 1 and ("01-02" in names[0]) == (case % 3 == 0) for case, names in files.rows())
        assert set(files["case_id"]) <= set(living)
        assert set(released_versions(lake.store, "docket")) == {"cases", "parties"}
