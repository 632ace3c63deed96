"""dagster-aws on the lake's S3 server: what runs print, and a client for assets."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef

from import_platform.io.lake import Lake
from import_platform.io.store import Store
from import_platform.resources.lake_duckdb import LakeDuckDB
from import_platform.resources.lake_s3 import LakeS3
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable, replaced, rows
from tests.s3_server import new_bucket, s3_server

CLUSTER = Path(__file__).parents[2] / "deploy" / "dagster-cluster.yaml"


@pytest.fixture(scope="module")
def server():
    with s3_server() as environ:
        yield environ


@pytest.fixture
def bucket(server, monkeypatch):
    """A fresh bucket whose server the environment names."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return new_bucket(server).removeprefix("s3://").removesuffix("/lake")


@dg.op
def speaks() -> None:
    print("said by an op")
    print("and its error", file=sys.stderr)


@dg.job
def speaking() -> None:
    speaks()


@pytest.mark.slow
def test_what_a_run_prints_is_in_the_bucket_that_the_cluster_names(bucket, server, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_LOGS_BUCKET", bucket)
    logs = yaml.safe_load(CLUSTER.read_text())["compute_logs"]
    logs["config"]["local_dir"] = str(tmp_path / "scratch")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path), overrides={"compute_logs": logs})) as instance:
        assert type(instance.compute_log_manager).__name__ == "S3ComputeLogManager"
        assert speaking.execute_in_process(instance=instance).success
    store = Store(f"s3://{bucket}", env=server)
    found = {entry.path: store.get(entry.path) for entry in store.entries("dagster/compute-logs")}
    assert any(path.endswith(".out") and b"said by an op" in text for path, text in found.items())
    assert any(path.endswith(".err") and b"and its error" in text for path, text in found.items())


def test_an_asset_s_client_speaks_to_the_lake_s_server(bucket, server):
    client = LakeS3().get_client()
    client.put_object(Bucket=bucket, Key="exports/a", Body=b"1")
    assert Store(f"s3://{bucket}", env=server).get("exports/a") == b"1"
    assert client.meta.region_name == "us-east-1"
    assert client.meta.endpoint_url == server["AWS_ENDPOINT_URL"]


def test_duckdb_of_assets_and_dbt_reads_the_lake_there(bucket, server, monkeypatch):
    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", f"s3://{bucket}/lake")
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", "2GiB")
    table = SyncedTable(Lake(f"s3://{bucket}/lake", env=server), ListSource(rows(range(300))))
    table.sync()
    table.sync(replaced(table.source.rows, rows([7, 400], day=1, text="new")))
    with LakeDuckDB().get_connection() as connection:
        found = connection.execute(f"select count(*), count(distinct id) from delta_scan('{table.uri}')").fetchall()
        changed = connection.execute(f"select id from delta_scan('{table.uri}') where text = 'new7'").fetchall()
    assert (found, changed) == ([(301, 301)], [(7,)])


def test_what_the_resource_is_told_wins_over_the_environment(bucket):
    client = LakeS3(endpoint_url="http://127.0.0.1:9", region_name="eu-west-1").get_client()
    assert (client.meta.endpoint_url, client.meta.region_name) == ("http://127.0.0.1:9", "eu-west-1")
