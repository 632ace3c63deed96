import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.io.key_filter import FALSE_HIT_BITS, KeyFilters, filter_hashes
from import_platform.io.store import Store

PATH = "_partition=2025/abc.parquet"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(str(tmp_path_factory.mktemp("lake")))


def hashes(values, dtype=pl.Int64):
    return filter_hashes(pl.DataFrame({"c0": pl.Series(values, dtype=dtype)}), ["c0"]).copy()


@given(
    inside=st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=60),
    asked=st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=10),
)
@settings(max_examples=60)
def test_a_filter_never_rules_out_a_file_that_has_one_of_the_keys(store, inside, asked):
    KeyFilters(store, "t").put(PATH, hashes(inside))
    verdict = KeyFilters(store, "t").look(PATH, np.sort(hashes(asked)))
    assert verdict is not None
    if set(inside) & set(asked):
        assert verdict.possible


def test_a_filter_rules_out_nearly_every_file_that_has_none_of_the_keys(store):
    filters = KeyFilters(store, "wrong")
    rng = np.random.default_rng(5)
    inside = rng.integers(0, 1 << 62, 300_000)
    filters.put(PATH, hashes(inside))
    asked = hashes(rng.integers(1 << 62, (1 << 63) - 1, 20_000))
    wrong = sum(filters.look(PATH, np.sort(part)).possible for part in np.array_split(asked, 200))
    assert wrong <= 200 * 100 * 20 / 2**FALSE_HIT_BITS + 3
    assert filters.look(PATH, np.sort(hashes(inside[:1]))).possible
    bits_a_key = filters.look(PATH, asked[:1]).size_bytes * 8 / 300_000
    assert 18 < bits_a_key < 26


def test_the_same_key_has_the_same_hash_in_a_wider_type(store):
    filters = KeyFilters(store, "widened")
    filters.put(PATH, hashes([1, 2, 3], pl.Int16))
    assert filters.look(PATH, np.sort(hashes([3], pl.Int64))).possible
    assert not filters.look(PATH, np.sort(hashes([4], pl.Int64))).possible


def test_a_missing_or_broken_filter_says_nothing(store):
    filters = KeyFilters(store, "broken")
    assert filters.look(PATH, hashes([1])) is None
    store.put("broken/_filters/abc.parquet", b"not parquet")
    assert KeyFilters(store, "broken").look(PATH, hashes([1])) is None


def test_filters_of_files_that_are_gone_are_deleted(store):
    filters = KeyFilters(store, "vacuum")
    filters.put("_partition=a/one.parquet", hashes([1]))
    filters.put("_partition=a/two.parquet", hashes([2]))
    assert filters.forget(["_partition=a/two.parquet"]) == 1
    assert [entry.path for entry in store.entries("vacuum")] == ["vacuum/_filters/two.parquet"]
