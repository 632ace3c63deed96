"""A store that only pretends to honour If-None-Match is found out before it holds a commit."""

import pytest

from import_platform.errors import ConfigError
from import_platform.io.store import Store
from import_platform.io.store_probe import probe_conditional_put
from tests.s3_server import server_that_ignores_conditions, server_that_loses_races


def test_a_sound_store_passes_the_probe_and_keeps_nothing_of_it(store):
    probe_conditional_put(store)
    assert list(store.entries("_staging")) == []


def test_a_store_that_ignores_if_none_match_is_found_out():
    with server_that_ignores_conditions() as environ:
        store = Store("s3://bucket/lake", env=environ)
        assert store.put_if_absent("a", b"1")
        assert store.put_if_absent("a", b"2"), "this is how commits get lost"
        with pytest.raises(ConfigError, match="conditional put") as error:
            probe_conditional_put(store)
    assert error.value.exit_code == 2


def test_a_store_that_only_loses_racing_creates_is_found_out_too():
    with server_that_loses_races() as environ:
        store = Store("s3://bucket/lake", env=environ)
        assert store.put_if_absent("a", b"1")
        assert not store.put_if_absent("a", b"2"), "one after the other it looks sound"
        with pytest.raises(ConfigError, match="conditional put"):
            probe_conditional_put(store)
