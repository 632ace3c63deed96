"""Several requests of an enrichment in flight: a real server that holds its answers until it has seen enough of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pytest

from import_platform.core.report import Status
from import_platform.pipeline.enrich_missing import enrich_missing
from import_platform.sources.rest.contract.server import Answer, Asked
from tests.pipeline.enriched import Geocoder, enrichment
from tests.pipeline.synced_table import SyncedTable, rows

Make = Callable[..., SyncedTable]
NEVER_SECONDS = 120.0
"""A test that comes to wait so long has failed: nobody else is on the way."""


@dataclass
class Crowd(Geocoder):
    """`gate` holds each request until it lets go; `most` is the largest number of requests that were here at once."""

    gate: Callable[[], object] = lambda: None
    here: int = 0
    most: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def page(self, asked: Asked) -> Answer:
        with self.counting:
            self.here += 1
            self.most = max(self.most, self.here)
        try:
            self.gate()
            return super().page(asked)
        finally:
            with self.counting:
                self.here -= 1


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with Crowd() as server:
        yield server


def asking(synced: Make, server: Crowd, count: int, **options: Any) -> SyncedTable:
    one = enrichment({"url": server.url}, timeout_seconds=NEVER_SECONDS, **options)
    return synced(rows(range(count)), declared={"enrich": (one,)})


def told(table: SyncedTable) -> pl.DataFrame:
    return table.lake_frame().sort("id").select("text", "lat", "town", "geo_status", "geo_error")


def test_so_many_requests_are_in_flight_and_never_more(synced: Make, crowd: Crowd) -> None:
    """None is answered before the third has come, nine times ten rows."""
    crowd.gate = threading.Barrier(3, timeout=NEVER_SECONDS).wait
    table = asking(synced, crowd, 90, in_flight=3)
    assert table.sync().status is Status.DONE
    assert crowd.most == 3
    assert told(table)["town"].to_list() == [f"X{i}" for i in range(90)]
    assert told(table)["lat"].to_list() == [float(len(f"x{i}")) for i in range(90)]


def test_one_in_flight_is_one(synced: Make, crowd: Crowd) -> None:
    asking(synced, crowd, 50).sync()
    assert crowd.most == 1


def test_answers_that_overtake_each_other_reach_their_rows(synced: Make, crowd: Crowd) -> None:
    """The first request is answered behind all the others."""
    last, seen = threading.Event(), Counter[str]()

    def gate() -> None:
        with crowd.counting:
            seen["requests"] += 1
            number = seen["requests"]
        if number == 5:
            last.set()
        if number == 1:
            assert last.wait(NEVER_SECONDS)

    crowd.gate = gate
    table = asking(synced, crowd, 50, in_flight=2)
    table.sync()
    assert told(table)["town"].to_list() == [f"X{i}" for i in range(50)]


def test_failures_are_those_of_the_rows_to_blame_whatever_overtakes_them(synced: Make, crowd: Crowd) -> None:
    crowd.bad = lambda text: text in {"x3", "x17", "x41"}
    table = asking(synced, crowd, 60, in_flight=4)
    assert table.sync().status is Status.DONE
    failed = told(table).filter(pl.col("geo_status") != "ok")
    assert failed["text"].to_list() == ["x3", "x17", "x41"]
    crowd.texts.clear()
    crowd.bad = lambda text: False
    assert enrich_missing(table.context()).rows_updated == 3
    assert sorted(crowd.texts) == ["x17", "x3", "x41"]


def test_one_rate_limit_holds_for_all_that_is_in_flight(synced: Make, crowd: Crowd) -> None:
    """One request in a million seconds: four callers share it, however slow or quick this machine is."""
    polls: Counter[int] = Counter()

    def stop() -> bool:
        polls.update([len(crowd.asked)])
        return polls[1] > 40

    table = asking(synced, crowd, 90, in_flight=4, rate=(1, 1e6))
    assert table.sync(stop=stop).status is Status.CHECKPOINTED
    assert len(crowd.asked) == 1


def test_a_stop_lets_what_is_in_flight_end_and_sends_no_more(synced: Make, crowd: Crowd) -> None:
    """The stop comes when three are in flight, and before one of them is answered."""
    full = threading.Barrier(3, action=lambda: stopping.set(), timeout=NEVER_SECONDS)
    stopping = threading.Event()
    crowd.gate = full.wait
    table = asking(synced, crowd, 90, in_flight=3)
    assert table.sync(stop=stopping.is_set).status is Status.CHECKPOINTED
    assert len(crowd.asked) == 3
    crowd.gate = lambda: None
    table.sync()
    assert Counter(crowd.texts) == {f"x{i}": 1 for i in range(90)}, "what was in flight at the stop is remembered"


def test_an_endpoint_that_wants_its_owner_is_asked_by_those_in_flight_only(synced: Make, crowd: Crowd) -> None:
    crowd.refuse = lambda _: (401, {}, b"{}")
    table = asking(synced, crowd, 200, in_flight=4)
    assert table.sync().rows_inserted == 200
    assert 1 <= len(crowd.asked) <= 4
    assert told(table)["geo_status"].to_list() == ["failed"] * 200


def test_a_function_that_says_so_is_called_several_times_at_once(synced: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=NEVER_SECONDS)

    def locate(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        meeting.wait()
        return [{"lat": 1, "place": {"town": row["text"]}} for row in found]

    monkeypatch.setattr("tests.pipeline.enriched.locate", locate)
    call = {"function": "tests.pipeline.enriched:locate"}
    one = replace(enrichment(call), in_flight=2, timeout_seconds=NEVER_SECONDS)
    table = synced(rows(range(40)), declared={"enrich": (one,)})
    table.sync()
    assert told(table)["town"].to_list() == [f"x{i}" for i in range(40)]
