"""A log that was opened with keys that end goes on with those that came after them."""

from datetime import timedelta

import pytest

from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.store import Store
from tests.aws_files import AwsFiles
from tests.fault_proxy import fault_proxy
from tests.io.test_delta import created, file, ids
from tests.s3_server import new_bucket

LOG = "_delta_log"
"""What deltalake asks for; the store keeps its keys for a minute."""


@pytest.fixture
def rotating(s3_environment, tmp_path, monkeypatch):
    """A store whose keys are others at every question, and the proxy that sees them."""
    files = AwsFiles(tmp_path)
    files.short_lived("lake")
    monkeypatch.setattr("import_platform.s3.HELD", timedelta(minutes=5))
    uri = new_bucket(s3_environment)
    with fault_proxy(s3_environment) as (proxy, environ):
        to = {"AWS_ENDPOINT_URL": environ["AWS_ENDPOINT_URL"], "AWS_PROFILE": "lake"}
        yield Store(uri, env=files.environ | to), proxy, files


def test_a_commit_is_made_with_keys_of_now_and_not_of_the_snapshot_it_rests_on(rotating):
    store, proxy, files = rotating
    log = created(store)
    snapshot = log.snapshot()
    added = file(store, "a", [50])
    given, asked = files.given, proxy.count()
    log.commit(snapshot, Commit([added], [], number=2))
    assert min(int(key.removeprefix("KEY")) for key in proxy.access_keys(asked, LOG)) > given
    assert log.snapshot().version == 1
    assert ids(log, store) == [*range(20), 50]


def test_later_snapshots_columns_and_history_are_asked_for_with_keys_of_then(rotating):
    store, proxy, files = rotating
    log = created(store)
    log.snapshot()
    for ask in (log.snapshot, log.committed_at, lambda: log.dead_files(timedelta(days=1)), lambda: log.paths_at(0)):
        given, asked = files.given, proxy.count()
        ask()
        assert min(int(key.removeprefix("KEY")) for key in proxy.access_keys(asked, LOG)) > given
    assert DeltaLog(store, "s/t").snapshot().rows == 20
