"""One message per cause, few per hour, and what comes back is told again."""

import json

from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.alerts import (
    FORGOTTEN_SECONDS,
    PER_HOUR,
    PER_TICK,
    Cause,
    Said,
    is_worth_telling,
    messages,
    retry_at,
    said_from_cursor,
)


def causes(*names):
    return [Cause(f"stale:shop/{name}", f"shop/{name}", "is stale") for name in names]


def tick(there, said, now):
    """What one tick tells, with its cursor written and read."""
    kept = said_from_cursor(said.to_cursor())
    kept.refresh(there, now=now)
    told = messages(there, kept, now=now)
    for message in told:
        kept.has_told(message.ids, now=now)
    said.__dict__.update(kept.__dict__)
    return [message.text for message in told]


def test_a_cause_is_told_once_while_it_lasts():
    said, there = Said(), causes("a", "b")
    assert tick(there, said, 0) == ["*shop/a*: is stale", "*shop/b*: is stale"]
    assert [tick(there, said, now) for now in (30, 4000, 9000)] == [[], [], []]


def test_what_flickers_is_told_once_and_what_comes_back_an_hour_later_again():
    said = Said()
    tick(causes("a"), said, 0)
    tick([], said, 30)
    assert tick(causes("a"), said, 60) == []
    tick([], said, 100)
    tick([], said, 100 + FORGOTTEN_SECONDS)
    assert len(tick(causes("a"), said, 200 + FORGOTTEN_SECONDS)) == 1


def test_an_outage_of_many_tables_is_a_handful_of_messages_that_name_the_rest():
    said, there = Said(), causes(*(f"t{i:03}" for i in range(300)))
    told = tick(there, said, 0)
    assert len(told) == PER_TICK
    assert told[-1].startswith("296 more:\n*shop/t004*")
    assert "and 276 more" in told[-1]
    assert tick(there, said, 30) == [], "all of them are told"


def test_more_than_so_many_messages_an_hour_wait():
    said, told = Said(), 0
    for now in range(0, 3000, 30):
        told += len(tick(causes(*(f"t{now}-{i}" for i in range(3))), said, now))
    assert told == PER_HOUR
    assert tick(causes("late"), said, 3700)


def test_a_message_that_was_not_delivered_is_told_by_the_next_tick():
    said = Said()
    there = causes("a")
    assert messages(there, said, now=0)
    assert messages(there, said, now=30), "nobody said that it was told"


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), unique=True), max_size=60))
def test_the_hourly_limit_holds_and_nothing_untold_is_forgotten(rounds):
    said, now = Said(), 0.0
    for names in rounds:
        now += 30
        there = causes(*names)
        told = tick(there, said, now)
        assert len(told) <= PER_TICK
        assert len([at for at in said.sent if now - at < 3600]) <= PER_HOUR
        if len(said.sent) < PER_HOUR:
            assert {cause.id for cause in there} <= said.causes.keys()


def test_a_cursor_of_another_release_tells_what_lasts_again():
    assert said_from_cursor("{").causes == {}
    assert said_from_cursor(json.dumps({"of another release": 1})) == Said()
    assert said_from_cursor(None) == Said()


def test_a_source_that_was_away_for_a_moment_is_no_message():
    away = {"error_class": "SourceUnavailable", "count": 2}
    assert not is_worth_telling(away, age_seconds=60)
    assert is_worth_telling(away | {"count": 4}, age_seconds=60)
    assert is_worth_telling(away, age_seconds=900)
    assert is_worth_telling({"error_class": "SourceRejected", "count": 1}, age_seconds=0)


def test_a_webhook_is_left_alone_as_long_as_it_asks_within_bounds():
    assert [retry_at(100, asked) for asked in (None, 5, 120, 10**9)] == [130, 130, 220, 3700]
