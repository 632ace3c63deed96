"""`incidents list|show`: what went wrong at a source, as a person or a program needs it to mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml
from rich.markup import escape

from import_platform.cli.terminal import Terminal, grid
from import_platform.components.loading import load_sources
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.incidents import Incident, Incidents
from import_platform.io.lake import Lake
from import_platform.resources.project import read_settings

_SECRET = re.compile(r"token|secret|password|api_key|^key$|authorization|dsn", re.IGNORECASE)
_TESTS = {
    "credentials": "test_refused_credentials_are_the_owners_and_are_not_tried_again",
    "same page": "test_a_repeated_page_is_an_error_and_no_endless_loop",
    "busy": "test_a_rate_limit_is_waited_for",
    "did not answer": "test_a_server_that_stays_down_is_unavailable",
    "paginator": "test_every_row_comes_once_and_in_the_apis_order",
    "rows where expected": "test_an_error_inside_a_good_answer_is_no_empty_table",
    "JSON": "test_html_or_text_instead_of_json_is_the_owners_after_a_few_tries",
}


def incident_of(number: int) -> Incident:
    """Raises ConfigError: there is no incident of this number."""
    found = Incidents(Lake(read_settings().lake_uri)).get(number)
    if found is None:
        raise ConfigError("there is no such incident", number=number, remedy="See: import-platform incidents list")
    return found


def show_all(screen: Terminal) -> None:
    every = Incidents(Lake(read_settings().lake_uri)).every()
    if screen.is_json:
        for incident in every:
            screen.emit(asdict(incident) | {"paused": incident.is_paused})
        return
    if not every:
        screen.out.print("no incidents")
        return
    rows = grid("number", "table", "state", "times", "last", "error", left=frozenset({"table", "state", "error"}))
    for incident in sorted(every, key=lambda each: (each.resolved_at is not None, -each.number)):
        state = "closed" if incident.resolved_at else "paused" if incident.is_paused else "open"
        table = f"{incident.source}/{incident.table}"
        rows.add_row(str(incident.number), table, state, str(incident.count), incident.last_at, escape(incident.error))
    screen.out.print(rows)


def show(screen: Terminal, number: int) -> None:
    bundle = bundle_of(incident_of(number))
    if screen.is_json:
        screen.emit(bundle)
        return
    screen.out.print(bundle["summary"], markup=False, soft_wrap=True)


def bundle_of(incident: Incident) -> dict[str, Any]:
    """Everything about an incident, ready for a person, a program or a prompt. Secrets are hidden."""
    bundle: dict[str, Any] = {**asdict(incident), "paused": incident.is_paused}
    bundle["declaration"] = declaration_of(incident)
    bundle["failing_test"] = next(
        (test for words, test in _TESTS.items() if words in incident.error),
        "test_every_row_comes_once_and_in_the_apis_order",
    )
    bundle["fixture"] = _fixture(incident.exchange)
    bundle["summary"] = _summary(incident, bundle)
    return bundle


def declaration_of(incident: Incident) -> str:
    """The YAML of the source as it stands now, with what may be a secret hidden and templates kept."""
    try:
        source = load_sources().source(incident.source)
    except ImportPlatformError as error:
        return f"# {error}"
    if source.origin is None:
        return "# declared nowhere"
    documents = [hidden(each) for each in yaml.safe_load_all(source.origin.path.read_text("utf-8"))]
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)


def hidden(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: hidden(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner, name) for inner in value]
    if isinstance(value, str) and _SECRET.search(name) and "{{" not in value and "_url" not in name:
        return "***"
    return value


def _fixture(exchange: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The answer again, as a local server can give it."""
    if exchange is None:
        return None
    return {
        "request": {"method": exchange["method"], "url": exchange["url"]},
        "answer": {"status": exchange["status"], "headers": exchange["answer_headers"], "body": exchange["answer"]},
    }


def _summary(incident: Incident, bundle: Mapping[str, Any]) -> str:
    whose = "only a person can mend it" if incident.is_fault else "trying again may help"
    exchange = incident.exchange or {}
    asked = (
        f"{exchange.get('method')} {exchange.get('url')} was answered with {exchange.get('status')}" if exchange else ""
    )
    parts = [
        f"# Incident {incident.number}: {incident.source}/{incident.table}",
        f"{incident.error}",
        f"Class {incident.error_class}: {whose}. Met {incident.count} times, from {incident.first_at} to "
        f"{incident.last_at}" + ("; schedules leave the table alone." if incident.is_paused else "."),
        f"## Request\n{asked}" if asked else "",
        f"## Answer\n```\n{str(exchange.get('answer', ''))[:2000]}\n```" if exchange else "",
        f"## Declaration\n```yaml\n{bundle['declaration']}```",
        f"## Columns in the lake\n{json.dumps(dict(incident.columns_in_lake))}",
        f"## What fails\n{bundle['failing_test']}; against the API itself: import-platform check {incident.source}",
        f"## To do\nEdit defs.yaml so that `import-platform check {incident.source}` passes.",
        "Write no secrets into it: keep {{ env.NAME }}.",
    ]
    return "\n\n".join(part for part in parts if part)
