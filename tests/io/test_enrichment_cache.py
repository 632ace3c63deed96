"""Answers that are remembered."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from import_platform.core.enrichment import Enrichment, Output
from import_platform.io import enrichment_cache
from import_platform.io.enrichment_cache import EnrichmentCache
from import_platform.io.store import Store

OUTPUTS = (Output("lat", pa.float64(), ("lat",)), Output("digest", pa.string(), ("digest",)))
GEO = Enrichment("geo", ("a",), ("a",), OUTPUTS, "id", {})


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def cache(store: Store) -> EnrichmentCache:
    return EnrichmentCache(store, "_staging/s/t", GEO)


def test_answers_are_found_before_and_after_they_are_saved(store: Store) -> None:
    mine = cache(store)
    mine.put(key(1), (1.5, "x"))
    mine.put(key(2), (None, None))
    assert mine.find([key(1), key(3)]) == {key(1): (1.5, "x")}
    assert cache(store).find([key(1)]) == {}
    mine.save()
    assert cache(store).find([key(1), key(2), key(3)]) == {key(1): (1.5, "x"), key(2): (None, None)}


def test_many_files_become_few_and_lose_nothing(store: Store) -> None:
    mine = cache(store)
    for number in range(100):
        mine.put(key(number), (float(number), None))
        mine.save()
    assert len(list(store.entries("_staging/s/t/enriched/id"))) < 2 * enrichment_cache.JOIN_FILES
    assert cache(store).find([key(n) for n in range(100)]) == {key(n): (float(n), None) for n in range(100)}


def test_a_file_cut_short_by_a_kill_is_passed_over(store: Store) -> None:
    mine = cache(store)
    mine.put(key(1), (1.0, None))
    mine.save()
    [entry] = store.entries("_staging/s/t/enriched/id")
    store.put("_staging/s/t/enriched/id/cut.parquet", (store.get(entry.path) or b"")[:50])
    assert cache(store).find([key(1)]) == {key(1): (1.0, None)}
