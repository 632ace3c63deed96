"""The contract that comes with the package: any declaration is tried on this machine, and a recorded answer again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from import_platform.sources.rest.contract import checks, suite
from import_platform.sources.rest.contract.suite import REPLAY, Outcome, run_contract
from import_platform.sources.rest.declaration import parse
from import_platform.sources.rest.shipped import expand
from tests.sources.rest.test_paginators import PAGINATORS


def declared(style: str = "cursor", **resource: Any) -> dict[str, Any]:
    selector, paginator = PAGINATORS[style]
    endpoint = {"path": "things", "data_selector": selector, "paginator": paginator}
    endpoint |= {"method": "POST", "json": {"query": "all"}} if "body" in style else {}
    client = {"base_url": "https://api.example.com/v1", "auth": {"token": "s3cr3t-token"}}
    whole = {"name": "things", "primary_key": "id", "endpoint": endpoint | resource.pop("endpoint", {}), **resource}
    return {"kind": "rest", "client": client, "resources": [whole]}


def exchange(code: int, body: Any, *, path: str = "/v1/things", query: str = "") -> dict[str, Any]:
    return {
        "method": "GET",
        "url": f"https://api.example.com{path}{query}",
        "status": code,
        "answer_headers": {"Content-Type": "application/json"},
        "answer": body if isinstance(body, str) else json.dumps(body),
    }


def of(outcomes: Any, name: str = REPLAY) -> Outcome:
    return next(each for each in outcomes if each.check == name)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check that waits as long as a Retry-After asks."""
    kept = {name: check for name, check in checks.CHECKS.items() if name != "a_rate_limit_is_waited_for"}
    monkeypatch.setattr(suite, "CHECKS", kept)


@pytest.fixture
def only_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "CHECKS", {})


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("style", PAGINATORS)
def test_every_paginator_is_played_as_it_is_declared(style: str) -> None:
    outcomes = list(run_contract(declared(style), "things"))
    assert [(each.check, each.sentence) for each in outcomes if not each.passed] == []


STRIPE = {"kind": "stripe", "api_key": "sk"}
GITHUB = {"kind": "github", "token": "t", "owner": "o", "repository": "r"}
SHIPPED = [(said, each.name) for said in (STRIPE, GITHUB) for each in parse(expand(said)).resources]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("connection", "table"), SHIPPED, ids=[table for _, table in SHIPPED])
def test_shipped_sources_pass(connection: dict[str, Any], table: str) -> None:
    outcomes = list(run_contract(connection, table))
    assert [(each.check, each.sentence) for each in outcomes if not each.passed] == []


@pytest.mark.slow
def test_a_rate_limit_is_waited_for_there_too() -> None:
    assert of(run_contract(declared(), "things"), "a_rate_limit_is_waited_for").passed


@pytest.mark.usefixtures("no_waiting")
def test_what_says_nothing_about_a_declaration_is_told_as_not_tried() -> None:
    plain = declared(endpoint={"paginator": "single_page"})
    told = {each.check: each.passed for each in run_contract(plain, "things")}
    assert told["a_repeated_page_is_an_error_and_no_endless_loop"] is None
    assert told["every_row_comes_once_and_in_the_apis_order"] is True


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    "endpoint",
    [
        {"incremental": {"cursor_path": "id", "start_param": "cursor", "row_order": "asc"}},
        {"incremental": {"cursor_path": "changed", "start_param": "since", "format": "epoch", "row_order": "desc"}},
        {"incremental": {"cursor_path": "day", "start_param": "since", "format": "date"}},
    ],
)
def test_rows_follow_the_cursor_that_is_declared(endpoint: dict[str, Any]) -> None:
    outcomes = list(run_contract(declared(endpoint=endpoint), "things", columns={"id": "int64", "name": "string"}))
    assert [(each.check, each.sentence) for each in outcomes if not each.passed] == []


@pytest.mark.usefixtures("no_waiting")
def test_a_declaration_that_would_import_one_page_of_many_fails() -> None:
    said = declared("page_number", endpoint={"paginator": {**PAGINATORS["page_number"][1], "maximum_page": 2}})
    failed = {each.check for each in run_contract(said, "things") if each.passed is False}
    assert "every_row_comes_once_and_in_the_apis_order" in failed


def test_a_declaration_that_does_not_load_fails_with_its_sentence() -> None:
    said = declared(endpoint={"paginator": {"type": "cursor", "no_such_word": 1}})
    (only,) = run_contract(said, "things")
    assert (only.passed, "no_such_word" in only.sentence) == (False, True)
    (only,) = run_contract(declared(), "other")
    assert only.passed is False


@pytest.mark.usefixtures("only_the_replay")
class TestReplay:
    def test_a_good_answer_that_the_selector_misses_fails_until_it_is_corrected(self) -> None:
        moved = exchange(200, {"items": [{"id": 1}], "next": None}, query="?page=3")
        outcome = of(run_contract(declared(), "things", exchange=moved))
        assert outcome.passed is False
        assert "no rows where expected" in outcome.sentence
        assert of(run_contract(declared(endpoint={"data_selector": "items"}), "things", exchange=moved)).passed

    def test_a_refusal_fails_as_long_as_the_same_is_asked(self) -> None:
        refused = exchange(404, {"error": "gone"})
        assert of(run_contract(declared(), "things", exchange=refused)).passed is False
        outcome = of(run_contract(declared(endpoint={"path": "stuff"}), "things", exchange=refused))
        assert outcome.passed is None
        assert "/v1/stuff" in outcome.sentence

    def test_a_refused_parameter_counts_only_with_its_value(self) -> None:
        refused = exchange(400, {"error": "limit is at most 100"}, query="?limit=1000&api_key=***")
        wide = declared(endpoint={"params": {"limit": 1000}})
        assert of(run_contract(wide, "things", exchange=refused)).passed is False
        assert (
            of(run_contract(declared(endpoint={"params": {"limit": 100}}), "things", exchange=refused)).passed is None
        )

    def test_a_busy_answer_comes_twice_and_a_patient_client_bears_it(self) -> None:
        assert of(run_contract(declared(), "things", exchange=exchange(503, "down"))).passed

    def test_a_childs_request_is_known_by_its_parents_value(self) -> None:
        said = declared("cursor")
        said["resources"] = [
            {"name": "bills", "primary_key": "id", "endpoint": {"path": "bills", "data_selector": "data"}},
            {**said["resources"][0], "include_from_parent": ["number"]},
        ]
        said["resources"][1]["endpoint"]["path"] = "bills/{resources.bills.id}/things"
        refused = exchange(403, {"error": "no"}, path="/v1/bills/b_42/things")
        outcome = of(run_contract(said, "things", exchange=refused))
        assert (outcome.passed, "denies access" in outcome.sentence) == (False, True)

    def test_a_rule_of_the_declaration_is_obeyed(self) -> None:
        refused = exchange(404, {"error": "gone"})
        ignored = declared(endpoint={"response_actions": [{"status_code": 404, "action": "ignore"}]})
        assert of(run_contract(ignored, "things", exchange=refused)).passed

    def test_an_answer_that_was_cut_is_not_judged(self) -> None:
        long = exchange(200, '{"data": [' + " " * suite.BODY_CHARACTERS_MAX)
        assert of(run_contract(declared(), "things", exchange=long)).passed is None
