import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from import_platform.io.lake import Lake
from tests.own_rates import own_rates
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable
from tests.s3_server import new_bucket, s3_server

__all__ = ["own_rates"]

ON_S3_TOO = {
    "test_sync_modes": "",
    "test_sync_again": "",
    "test_sync_keys": "look_like_patterns|may_be_the_cursor",
    "test_soft_delete": "",
    "test_stopping": "",
    "test_resync": "",
    "test_replay": "",
    "test_maintain": "",
    "test_diagnose": "",
    "test_table_checks": "",
    "test_key_lookup": "random_keys|moved_to_another|place_of_its_old_row",
    "test_backfill": "replaces_exactly_that|kind_of_partition|of_the_other_modes|killed|meanwhile|under_a_backfill",
    "test_reconcile": "repaired_in_one_commit|lake_holds_twice|while_rows_are_compared",
    "test_repartition": "every_leaf|healthy|unsplittable|failing_rewrite|merged_back|said_before|beside_a_repartition",
    "test_split": "month_becomes_days|number_leaf|whoever_reads|syncs_go_on|in_passes|then_merged_back",
    "test_growth": "pushes_a_leaf|updates_deletes_and_moves|lost_race",
    "test_schema_evolution": "every_mode|loses_its_race|died_before|only_files_with|backfill_follows|kind_is_refused",
    "test_enrich": "once_for_good|kill_asks|backfilled_partition",
    "test_filters": "staged_holds_a_masked_value",
}
"""Modules whose tests run on an S3 server as well: all, or those whose names match, which are the ones that list, race,
resume or replace in a way of their own. A request costs moto 5 ms, and many of the others differ in values alone."""


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    with s3_server() as environ:
        yield environ


@pytest.fixture
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    """A fresh lake on disk; on an S3 server as well where ON_S3_TOO names the test."""
    if getattr(request, "param", "local") == "s3":
        environ = request.getfixturevalue("s3_environment")
        return Lake(new_bucket(environ), env=environ)
    return Lake(str(tmp_path / "lake"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = ON_S3_TOO.get(Path(metafunc.module.__file__).stem)
    if "lake" in metafunc.fixturenames and names is not None and re.search(names, metafunc.function.__name__):
        metafunc.parametrize("lake", ["local", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture
def synced(lake: Lake) -> Callable[..., SyncedTable]:
    """Makes a SyncedTable of the given rows in a fresh lake; keywords of ListSource and SyncedTable alike (`primary_key` is the
    declared one)."""

    def make(rows: pa.Table, **options: Any) -> SyncedTable:
        names = set(ListSource.__dataclass_fields__)
        of_source = {name: options.pop(name) for name in list(options) if name in names - {"primary_key"}}
        return SyncedTable(lake, ListSource(rows, **of_source), **options)

    return make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage after every sync takes longer than the small syncs here. What a chunk holds says its budget, and
    not how slow the machine is."""
    monkeypatch.setattr("import_platform.pipeline.extract.CHUNK_SECONDS", math.inf)
    monkeypatch.setattr("import_platform.pipeline.run_on_table.release_unused", lambda: None)
