"""What a network does to requests: every verb of the store comes through, or says that it did not; nothing half."""

import pytest

from import_platform.errors import ConfigError, StoreUnavailable
from import_platform.io.store import UPLOAD_PART_BYTES, Store
from import_platform.io.store_probe import probe_conditional_put
from tests.fault_proxy import Fault, fault_proxy
from tests.s3_server import new_bucket


@pytest.fixture
def faulty(s3_environment):
    """A store behind a proxy, and the proxy."""
    uri = new_bucket(s3_environment)
    with fault_proxy(s3_environment) as (proxy, environ):
        yield Store(uri, env=environ), proxy


def upload(store, path, size_bytes):
    piece = bytes(range(256)) * 4096
    with store.open_output(path) as sink:
        for _ in range(size_bytes >> 20):
            sink.write(piece)


@pytest.mark.parametrize("fault", Fault)
def test_a_create_that_is_ours_is_never_taken_for_somebody_else_s(faulty, fault):
    store, proxy = faulty
    rule = proxy.add(fault, "PUT", "/state$")
    assert store.put_if_absent("state", b"ours")
    assert not store.put_if_absent("state", b"theirs")
    assert store.get("state") == b"ours"
    assert rule.met == 1


def test_the_trap_is_still_there_a_client_takes_its_own_create_for_a_conflict(faulty):
    """When this fails obstore has been mended; until then `put_if_absent` compares what is stored."""
    import obstore
    from obstore.exceptions import AlreadyExistsError

    store, proxy = faulty
    proxy.add(Fault.LOST_ANSWER, "PUT", "/state$")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store._store, "state", b"ours", mode="create")
    assert store.get("state") == b"ours"


@pytest.mark.parametrize("fault", Fault)
def test_objects_are_put_read_listed_and_deleted_all_the_same(faulty, fault):
    store, proxy = faulty
    for method in ("PUT", "GET", "GET.*", "POST", "HEAD"):
        proxy.add(fault, method)
    store.put("t/a", b"x" * 100_000)
    assert store.get("t/a") == b"x" * 100_000
    assert [entry.path for entry in store.entries("t")] == ["t/a"]
    assert store.folders("") == ["t"]
    assert store.size_bytes("t/a") == 100_000
    store.delete(["t/a"])
    assert store.get("t/a") is None
    assert proxy.all_met()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("page", [1, 2])
def test_a_listing_that_breaks_off_names_every_object_once(faulty, fault, page, monkeypatch):
    monkeypatch.setattr("import_platform.io.store.PAGE", 3)
    store, proxy = faulty
    paths = [f"t/{number}" for number in range(7)]
    for path in paths:
        store.put(path, b"")
    proxy.add(fault, "GET", "list-type=2", after=page - 1)
    assert [entry.path for entry in store.entries("t")] == paths
    assert proxy.all_met()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("at", ["partNumber=1", "partNumber=2", r"\?uploadId="])
def test_a_streamed_upload_is_whole_or_not_there(faulty, fault, at):
    store, proxy = faulty
    proxy.add(fault, "PUT|POST", at)
    upload(store, "big", 2 * UPLOAD_PART_BYTES + (3 << 20))
    assert proxy.all_met()
    with store.open_input("big") as file:
        read = file.read()
    assert read == bytes(range(256)) * 4096 * (len(read) >> 20)
    assert len(read) == 2 * UPLOAD_PART_BYTES + (3 << 20)


@pytest.mark.parametrize("fault", Fault)
def test_a_large_object_is_read_through_breaks(faulty, fault):
    store, proxy = faulty
    upload(store, "big", 9 << 20)
    for after in (1, 3, 5):
        proxy.add(fault, "GET", "/big$", after=after)
    with store.open_input("big") as file:
        read = b"".join(iter(lambda: file.read(1 << 20), b""))
    assert read == bytes(range(256)) * 4096 * 9
    assert proxy.all_met()


@pytest.mark.parametrize("size_bytes", [1 << 20, 3 * UPLOAD_PART_BYTES])
def test_a_file_whose_writer_failed_makes_no_object(faulty, size_bytes):
    store, _ = faulty
    with pytest.raises(ZeroDivisionError), store.open_output("half") as sink:
        sink.write(bytes(size_bytes))
        raise ZeroDivisionError
    assert store.size_bytes("half") is None
    assert list(store.entries("")) == []


def test_a_slow_store_slows_the_writer_down_and_does_not_fill_its_memory(faulty):
    """Two parts under way and one being filled: whoever writes the next one waits."""
    store, proxy = faulty
    proxy.add(Fault.SLOW, "PUT", "partNumber", times=3)
    with store.open_output("big") as sink:
        for _ in range(48):
            sink.write(bytes(1 << 20))
            assert sink.tell() - proxy.answered_bytes("PUT", "partNumber") <= 3 * UPLOAD_PART_BYTES + (1 << 20)
    assert store.size_bytes("big") == 48 << 20


def test_an_outage_ends_in_a_sentence_and_leaves_nothing_in_doubt(faulty, monkeypatch):
    store, proxy = faulty
    monkeypatch.setattr("import_platform.io.store.PATIENCE_SECONDS", 0)
    proxy.add(Fault.CUT_ANSWER, "GET", "list-type=2", times=100)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        list(store.entries(""))


@pytest.mark.parametrize("fault", Fault)
def test_a_sound_store_is_not_refused_because_of_its_network(faulty, fault):
    store, proxy = faulty
    for method in ("PUT", "GET", "POST"):
        proxy.add(fault, method, times=2)
    probe_conditional_put(store)
    assert list(store.entries("_staging")) == []


def test_a_bucket_that_does_not_exist_is_not_asked_again_and_again(s3_environment):
    with fault_proxy(s3_environment) as (proxy, environ):
        store = Store("s3://no-such-bucket-here/lake", env=environ)
        with pytest.raises(ConfigError, match="the bucket does not exist"):
            store.put_if_absent("a", b"1")
        with pytest.raises(ConfigError, match="the bucket does not exist"):
            list(store.entries(""))
        assert proxy.count() == 2
