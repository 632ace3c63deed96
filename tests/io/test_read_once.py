"""What is read twice is fetched once, as long as there is room for it."""

import pytest

from import_platform.io.read_once import ReadOnce
from import_platform.io.store import Store
from tests.fault_proxy import fault_proxy
from tests.s3_server import new_bucket


@pytest.fixture
def remote(s3_environment):
    uri = new_bucket(s3_environment)
    with fault_proxy(s3_environment) as (proxy, environ):
        yield Store(uri, env=environ), proxy


def fetched(proxy, name):
    return proxy.count("GET", f"/{name}$")


def test_a_small_remote_object_is_fetched_once(remote):
    store, proxy = remote
    store.put("a", b"12345")
    inputs = ReadOnce(store, 5)
    assert [inputs.open_input("a").read() for _ in range(3)] == [b"12345"] * 3
    assert fetched(proxy, "a") == 1


def test_what_is_past_the_limit_is_fetched_again(remote):
    store, proxy = remote
    for name in ("a", "b"):
        store.put(name, b"12345")
    inputs = ReadOnce(store, 9)
    for name in ("a", "b", "a", "b"):
        assert inputs.open_input(name).read() == b"12345"
    assert (fetched(proxy, "a"), fetched(proxy, "b")) == (1, 2)


def test_what_is_forgotten_makes_room(remote):
    store, proxy = remote
    for name in ("a", "b"):
        store.put(name, b"12345")
    inputs = ReadOnce(store, 9)
    inputs.open_input("a")
    inputs.forget("a")
    inputs.forget("a")
    assert [inputs.open_input("b").read() for _ in range(2)] == [b"12345"] * 2
    assert fetched(proxy, "b") == 1
