"""The same models on the same lake in a bucket: nothing on disk but the models, and no key in any file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from import_platform.demo.place import environment
from import_platform.io.lake import Lake
from tests.dbt.conftest import Project, build, copied
from tests.s3_server import new_bucket, s3_server

pytestmark = pytest.mark.slow

RELATIONS = """
SELECT schema_name, view_name, true FROM duckdb_views() WHERE NOT internal
UNION ALL SELECT schema_name, table_name, false FROM duckdb_tables() ORDER BY ALL
"""
MART = dg.AssetKey(["marts", "punctuality_by_carrier_month"])


@dataclass(frozen=True)
class BucketProject(Project):
    """A project on a lake at `uri`. `printed` is what its commands said."""

    uri: str
    server: dict[str, str] = field(repr=False)
    printed: list[str] = field(default_factory=list, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        theirs = {name: value for name, value in super().environment.items() if not name.startswith("AWS_")}
        own = {"IMPORT_PLATFORM_LAKE": self.uri, "HOME": str(self.home), "NO_PROXY": "127.0.0.1"}
        return theirs | self.server | own

    @property
    def home(self) -> Path:
        """Empty at first, so that DuckDB finds no extension, and whatever it keeps is found."""
        return self.folder.parent / "home"

    @property
    def lake(self) -> Lake:
        return Lake(self.uri, env=self.server)

    @property
    def database(self) -> Path:
        return self.folder.parent / "dbt.duckdb"


@pytest.fixture(scope="module")
def bucket(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketProject]:
    """The demo's lake, copied into a bucket, and the models built there."""
    base = tmp_path_factory.mktemp("dbt_s3")
    (base / "home").mkdir()
    with s3_server() as server:
        keys = {"AWS_ACCESS_KEY_ID": f"id{uuid.uuid4().hex}", "AWS_SECRET_ACCESS_KEY": f"secret{uuid.uuid4().hex}"}
        project = BucketProject(copied(base / "dbt"), built.place, new_bucket(server), server | keys)
        store = project.lake.store
        for entry in built.lake.store.entries(""):
            found = built.lake.store.get(entry.path)
            assert found is not None
            store.put(entry.path, found)
        project.printed.extend(build(project))
        yield project


def test_views_and_marts_hold_the_rows_of_the_lake_on_disk(built: Project, bucket: BucketProject) -> None:
    with built.connect() as here, bucket.connect() as there:
        relations = here.execute(RELATIONS).fetchall()
        assert there.execute(RELATIONS).fetchall() == relations
        assert len(relations) == len(list((built.folder / "models").rglob("*.sql")))
        for schema, name, is_view in relations:
            if is_view:
                (sql,) = there.execute("SELECT sql FROM duckdb_views() WHERE view_name = $1", [name]).fetchone()
                assert re.findall(r"delta_scan\('(.*?)/[^/]+/[^/]+'\)", sql) == [bucket.uri]
            rows = [c.execute(f"SELECT * FROM {schema}.{name} ORDER BY ALL").fetchall() for c in (here, there)]
            assert rows[0], name
            assert rows[0] == rows[1], name


def test_a_month_of_flights_is_read_from_the_objects_that_can_hold_it(bucket: BucketProject) -> None:
    month = "WHERE lake_partition BETWEEN '2013-02' AND '2013-02~'"
    with bucket.connect() as connection:
        plan = connection.execute(f"EXPLAIN ANALYZE SELECT count(*) FROM staging.stg_flights {month}").fetchall()[0][1]
    read, of = map(int, re.search(r"Scanning Files: (\d+)/(\d+)", plan).groups())
    assert 0 < read < of


def test_no_key_is_printed_or_written(bucket: BucketProject) -> None:
    texts = [text.encode() for text in bucket.printed]
    texts += [path.read_bytes() for path in bucket.folder.parent.rglob("*") if path.is_file()]
    assert sum(bucket.uri.encode() in text for text in texts) >= 4  # a control: sources, manifest, log, database
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert not any(bucket.server[name].encode() in text for text in texts), name


def test_a_store_that_does_not_answer_fails_the_build_without_the_key(bucket: BucketProject, tmp_path: Path) -> None:
    dead = bucket.server | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    project = BucketProject(bucket.folder, bucket.place, bucket.uri, dead)
    done = project.dbt("run", "--select", "stg_airlines", "--target-path", str(tmp_path), "--log-path", str(tmp_path))
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stdout
    assert bucket.server["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    assert bucket.server["AWS_SECRET_ACCESS_KEY"].encode() not in (tmp_path / "dbt.log").read_bytes()


def test_dagster_builds_them_and_counts_their_rows(bucket: BucketProject) -> None:
    from import_platform.assets.dbt_models import dbt_definitions

    chosen = dg.define_asset_job("models", selection=dg.AssetSelection.assets(MART))
    with environment(bucket.environment), dg.DagsterInstance.ephemeral() as instance:
        models = dbt_definitions(bucket.folder, bucket.folder / "target" / "manifest.json")
        job = dg.Definitions.merge(models, dg.Definitions(jobs=[chosen])).resolve_job_def("models")
        assert job.execute_in_process(instance=instance).success
        event = instance.get_latest_materialization_event(MART)
    with bucket.connect() as connection:
        (rows,) = connection.execute("SELECT count(*) FROM marts.punctuality_by_carrier_month").fetchone()
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == rows
    assert [column.name for column in metadata["dagster/column_schema"].value.columns][:2] == ["carrier", "airline"]
