"""What a network does to the log: reading goes on, and a commit is never reported as something that it is not."""

import pyarrow as pa
import pytest

from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.parquet import LeafWriter
from import_platform.io.store import Store
from tests.fault_proxy import Fault, fault_proxy
from tests.s3_server import new_bucket

SCHEMA = pa.schema([("id", pa.int64())])


@pytest.fixture
def faulty(s3_environment):
    """A store behind a proxy, and the proxy."""
    uri = new_bucket(s3_environment)
    with fault_proxy(s3_environment) as (proxy, environ):
        yield Store(uri, env=environ), proxy


def file(store, ids):
    writer = LeafWriter(store, "s/t", "a", SCHEMA)
    writer.write(pa.record_batch([pa.array(ids, pa.int64())], schema=SCHEMA))
    [written] = writer.close()
    return written


@pytest.mark.parametrize("fault", Fault)
def test_the_log_is_read_through_breaks(faulty, fault):
    store, proxy = faulty
    log = DeltaLog(store, "s/t")
    log.create(SCHEMA, Commit([file(store, [1])], [], number=1), identity="{}")
    for path in ("list-type=2", "_delta_log/.*json"):
        proxy.add(fault, "GET", path)
    assert DeltaLog(store, "s/t").snapshot().rows == 1
    assert proxy.all_met()
    log.snapshot()
    log.commit(log.snapshot(), Commit([file(store, [2])], [], number=2))
    for path in ("list-type=2", "_delta_log/.*json"):
        proxy.add(fault, "GET", path)
    assert log.snapshot().rows == 2
    assert proxy.all_met()
