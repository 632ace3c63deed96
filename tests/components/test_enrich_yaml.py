"""What may be written under `enrich`, and what it becomes."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from import_platform.components.declaration import TableYaml
from import_platform.core.enrichment import Enrichment, Output

URL = {"url": "https://geo.example.com/batch"}


def _enrich(**words):
    said = {"name": "geo", "input": ["address"], "output": {"lat": "double"}, **words}
    return TableYaml.model_validate({"name": "orders", "enrich": [said]}).declared().enrich[0]


def test_everything_written_is_taken():
    found = _enrich(
        **URL,
        input=["address", "city"],
        key=["address"],
        output={"lat": "double", "town": {"type": "text", "path": "place.0.name"}},
        headers={"Authorization": "Bearer {{ env.GEO_TOKEN }}"},
        answers="results",
        batch_rows=50,
        rate_limit={"requests": 5, "per_seconds": 2},
        retries=1,
        timeout=3,
        in_flight=8,
    )
    outputs = (Output("lat", pa.float64(), ("lat",)), Output("town", pa.string(), ("place", "0", "name")))
    call = {**URL, "headers": {"Authorization": "Bearer {{ env.GEO_TOKEN }}"}, "answers": "results"}
    same = Enrichment(
        "geo", ("address", "city"), ("address",), outputs, found.cache_id, call, 50, (5.0, 2.0), 1, 3.0, 8
    )
    assert found == same
    assert found.schema.names == ["lat", "town", "geo_status", "geo_error"]


def test_the_key_is_what_is_sent_unless_it_is_named():
    assert _enrich(**URL).key == ("address",)


def test_an_endpoint_is_asked_four_times_at_once_and_a_function_once():
    assert (_enrich(**URL).in_flight, _enrich(function="geo:locate").in_flight) == (4, 1)
    assert _enrich(function="geo:locate", in_flight=3).in_flight == 3


def test_answers_outlive_another_token_and_nothing_else():
    first = _enrich(**URL, headers={"Authorization": "Bearer {{ env.A }}"}).cache_id
    assert _enrich(**URL, headers={"Authorization": "Bearer {{ env.B }}"}, batch_rows=7).cache_id == first
    assert _enrich(url="https://geo.example.com/v2").cache_id != first
    assert _enrich(**URL, output={"lat": "text"}).cache_id != first
    assert _enrich(**URL, input=["address", "city"]).cache_id != first


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({}, "needs either function or url"),
        ({**URL, "function": "geo:locate"}, "needs either function or url"),
        ({"function": "geo.locate"}, "must be written like geo.lookup:locate"),
        ({"function": "geo:locate", "answers": "x"}, "answers does not go with function"),
        ({"url": "geo.example.com"}, "must begin with https"),
        ({"url": "https://geo.example.com/{address}"}, "needs method: GET"),
        ({"url": "https://geo.example.com/{city}", "method": "GET"}, "city stands in url"),
        ({"url": "https://geo.example.com", "method": "GET"}, "asks for one row"),
        ({**URL, "headers": {"X": "{{ secrets.hunter2 }}"}}, "only {{ env.NAME }}"),
        ({**URL, "output": {"lat": "latitude"}}, "is no column type"),
        ({**URL, "output": {"geo_status": "text"}}, "there already"),
        ({**URL, "output": {}}, "at least 1"),
        ({**URL, "batch_rows": 0}, "greater than or equal to 1"),
        ({**URL, "in_flight": 0}, "greater than or equal to 1"),
        ({**URL, "in_flight": 17}, "less than or equal to 16"),
        ({**URL, "in_flight": 2.5}, "valid integer"),
        ({**URL, "timeout": 0}, "greater than 0"),
        ({**URL, "rate_limit": {"requests": 0}}, "greater than 0"),
    ],
)
def test_what_means_nothing_is_refused_with_the_reason(words, reason):
    with pytest.raises(ValidationError, match=reason) as raised:
        _enrich(**words)
    assert "hunter2" not in str(raised.value)


def test_an_enrichment_may_not_stand_twice():
    said = {"name": "geo", "input": ["a"], "output": {"lat": "double"}, **URL}
    with pytest.raises(ValidationError, match="lists geo more than once"):
        TableYaml.model_validate({"name": "orders", "enrich": [said, said]})


def test_a_declaration_shows_no_call():
    assert "geo.example.com" not in repr(_enrich(**URL))
