import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.errors import ConfigError, StoreUnavailable
from import_platform.io.store import UPLOAD_PART_BYTES, Store
from import_platform.io.store_probe import probe_conditional_put
from tests.ports import held_port
from tests.s3_server import (
    ACCESS,
    new_bucket,
)


def test_an_object_that_is_not_there_is_none_and_no_error(store):
    assert store.get("a/b") is None
    assert store.size_bytes("a/b") is None
    assert list(store.entries("a")) == []
    assert store.folders("a") == []
    store.delete(["a/b"])
    store.remove_folder("a")


def test_put_replaces_and_put_if_absent_does_not(store):
    store.put("a/b", b"1")
    store.put("a/b", b"22")
    assert not store.put_if_absent("a/b", b"333")
    assert store.get("a/b") == b"22"
    assert store.put_if_absent("a/c", b"")
    assert store.size_bytes("a/b") == 2


def test_of_racing_creates_exactly_one_wins(store):
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(5):
            won = list(pool.map(lambda i, r=round_: store.put_if_absent(f"race/{r}", bytes([i])), range(8)))
            assert won.count(True) == 1
            assert store.get(f"race/{round_}") == bytes([won.index(True)])


def test_entries_are_listed_at_any_depth_and_folders_at_one(store):
    for path in ("t/a/1", "t/a/b/2", "t/c/3", "tt/4"):
        store.put(path, b"x")
    assert sorted(entry.path for entry in store.entries("t")) == ["t/a/1", "t/a/b/2", "t/c/3"]
    assert store.folders("t") == ["a", "c"]
    assert store.folders("") == ["t", "tt"]
    assert next(iter(store.entries("tt"))).size_bytes == 1


def test_a_removed_folder_leaves_its_neighbours(store):
    for path in ("t/a/1", "t/a/b/2", "t/ab/3"):
        store.put(path, b"x")
    store.remove_folder("t/a")
    assert [entry.path for entry in store.entries("t")] == ["t/ab/3"]


def test_a_folder_that_another_process_writes_into_is_removed_as_far_as_possible(tmp_path):
    store = Store(str(tmp_path))
    store.put("t/a", b"x")
    kept, listed = store.entries, []

    def entries(prefix):
        found = list(kept(prefix))
        if not listed:
            listed.append(1)
            store.put("t/late", b"x")
        return iter(found)

    store.entries = entries
    store.remove_folder("t")
    assert store.get("t/late") == b"x"


@pytest.mark.parametrize("size", [0, 1, UPLOAD_PART_BYTES, 2 * UPLOAD_PART_BYTES + 3])
def test_a_stream_written_is_the_stream_read(store, size):
    data = os.urandom(size)
    with store.open_output("big/file") as sink:
        for at in range(0, size, 3_000_001):
            sink.write(data[at : at + 3_000_001])
    assert store.size_bytes("big/file") == size
    with store.open_input("big/file") as file:
        assert file.read() == data
        if size > 10:
            file.seek(size - 10)
            assert file.read(100) == data[-10:]


def test_parquet_goes_through_both_ways(store):
    table = pa.table({"a": range(10_000), "b": [str(i) for i in range(10_000)]})
    with store.open_output("t/f.parquet") as sink:
        pq.write_table(table, sink, row_group_size=1000)
        told = sink.tell()
    assert store.size_bytes("t/f.parquet") == told
    with store.open_input("t/f.parquet") as file:
        assert pq.ParquetFile(file, pre_buffer=False).read(["b"]).equals(table.select(["b"]))


def test_a_missing_file_is_a_retryable_error(store):
    with pytest.raises(StoreUnavailable):
        store.open_input("nothing/here").read()


def test_an_object_that_is_deleted_while_it_is_read_is_a_retryable_error(s3_environment):
    store = Store(new_bucket(s3_environment), env=s3_environment)
    store.put("a", bytes(8 << 20))
    with store.open_input("a") as file:
        file.read(10)
        store.delete(["a"])
        with pytest.raises(StoreUnavailable):
            file.read()


def test_a_full_disk_is_a_retryable_error(tmp_path):
    store = Store(str(tmp_path))
    with pytest.raises(StoreUnavailable, match="No space left"), store.open_output("a") as sink:
        sink.write(b"x")
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "request_of",
    [
        lambda store: store.get("a"),
        lambda store: store.put("a", b"1"),
        lambda store: store.put_if_absent("a", b"1"),
        lambda store: list(store.entries("")),
        lambda store: store.folders(""),
        lambda store: store.delete(["a"]),
        lambda store: store.open_input("a"),
        probe_conditional_put,
    ],
    ids=["get", "put", "create", "entries", "folders", "delete", "open", "probe"],
)
def test_a_bucket_that_does_not_exist_is_a_sentence(s3_environment, request_of):
    store = Store("s3://no-such-bucket-here/lake", env=s3_environment)
    with pytest.raises(ConfigError, match="the bucket does not exist") as error:
        request_of(store)
    assert "\n" not in str(error.value)
    assert "correct IMPORT_PLATFORM_LAKE" in error.value.remedy
    assert not error.value.retryable


def test_a_file_written_into_a_bucket_that_does_not_exist_is_a_sentence(s3_environment):
    store = Store("s3://no-such-bucket-here/lake", env=s3_environment)
    for size_bytes in (1, 3 * UPLOAD_PART_BYTES):
        with pytest.raises(ConfigError, match="the bucket does not exist"), store.open_output("a") as sink:
            sink.write(bytes(size_bytes))


def test_a_server_that_is_not_there_is_retryable_and_named(monkeypatch):
    with held_port() as port:
        store = Store("s3://bucket/lake", env=ACCESS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
        monkeypatch.setattr(store, "_store", _impatient(store))
        with pytest.raises(StoreUnavailable) as error:
            store.get("a")
    assert error.value.facts["lake"] == "s3://bucket/lake"


def _impatient(store):
    from datetime import timedelta

    from obstore.store import S3Store

    quick = {"max_retries": 0, "retry_timeout": timedelta(seconds=2)}
    options = {name.lower(): value for name, value in store.storage_options.items() if name != "AWS_ALLOW_HTTP"}
    return S3Store.from_url(store.uri, config=options, client_options={"allow_http": True}, retry_config=quick)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError):
        Store(str(tmp_path / "lake"))


def test_a_lake_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be created"):
        Store(str(tmp_path / "file" / "lake"))


def test_another_scheme_is_refused_with_what_is_allowed():
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        Store("gs://bucket/lake")


def test_no_secret_appears_in_a_representation_or_an_error(s3_environment):
    store = Store(new_bucket(s3_environment), env=s3_environment | {"AWS_SECRET_ACCESS_KEY": "hunter2"})
    with pytest.raises(StoreUnavailable) as error:
        store.open_input("missing").read()
    assert "hunter2" not in repr(store) + str(error.value) + repr(error.value)
