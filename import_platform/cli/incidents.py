"""`incidents list|show`: what went wrong at a source, as a person or a program needs it to mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import yaml
from rich.markup import escape

from import_platform.cli.contract import Contract, contract_of
from import_platform.cli.terminal import Terminal, grid
from import_platform.components.external_source import ExternalSource
from import_platform.components.loading import load_sources
from import_platform.core.budget import format_bytes
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.incidents import Incident, Incidents
from import_platform.io.lake import Lake
from import_platform.resources.project import read_settings

SOURCE = "source"
_SECRET = re.compile(r"token|secret|password|api_key|^key$|authorization|dsn", re.IGNORECASE)


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
        state = _state(incident)
        table = f"{incident.source}/{incident.table}"
        rows.add_row(str(incident.number), table, state, str(incident.count), incident.last_at, escape(incident.error))
    screen.out.print(rows)


def _state(incident: Incident) -> str:
    if incident.resolved_at:
        return "closed"
    return "paused" if incident.is_paused else "rests" if incident.rests(datetime.now(UTC)) else "open"


def show(screen: Terminal, number: int) -> None:
    bundle = bundle_of(incident_of(number))
    if screen.is_json:
        screen.emit(bundle)
        return
    screen.out.print(bundle["summary"], markup=False, soft_wrap=True)


def bundle_of(incident: Incident) -> dict[str, Any]:
    """Everything about an incident, ready for a person, a program or a prompt. Secrets are hidden."""
    bundle: dict[str, Any] = {**asdict(incident), "paused": incident.is_paused}
    if incident.kind != SOURCE:
        return bundle | {"summary": _summary_of_ours(incident)}
    source: ExternalSource | None = None
    try:
        source = load_sources().source(incident.source)
    except ImportPlatformError as error:
        bundle["declaration"], contract = f"# {error}", Contract((), None)
    else:
        bundle["declaration"], contract = declaration_of(source), contract_of(source, incident)
    bundle["columns_seen"] = dict(incident.columns_seen) or _columns_seen(incident)
    bundle["contract"] = contract.as_json()
    bundle["failing_test"] = contract.failing
    bundle["fixture"] = _fixture(incident.exchange)
    bundle["summary"] = _summary(incident, bundle, contract)
    return bundle


def declaration_of(source: ExternalSource) -> str:
    """The YAML of the source as it stands now, with what may be a secret hidden and templates kept."""
    if source.origin is None:
        return "# declared nowhere"
    documents = [hidden(each) for each in yaml.safe_load_all(source.origin.path.read_text("utf-8"))]
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)


def _columns_seen(incident: Incident) -> dict[str, str]:
    """Names and JSON types of the fields in the answer that was recorded, as far as it is whole JSON."""
    exchange = incident.exchange or {}
    try:
        found = json.loads(str(exchange.get("answer") or ""))
    except ValueError:
        return {}
    lists = [found] if isinstance(found, list) else list(found.values()) if isinstance(found, dict) else []
    rows = next((each for each in lists if isinstance(each, list) and each and isinstance(each[0], dict)), [])
    return {str(name): _JSON_TYPES.get(type(value), "null") for row in rows for name, value in row.items()}


_JSON_TYPES = {bool: "bool", int: "integer", float: "number", str: "text", dict: "object", list: "array"}


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


def _summary(incident: Incident, bundle: Mapping[str, Any], contract: Contract) -> str:
    whose = "only a person can mend it" if incident.is_fault else "trying again may help"
    exchange = incident.exchange or {}
    asked = (
        f"{exchange.get('method')} {exchange.get('url')} was answered with {exchange.get('status')}" if exchange else ""
    )
    parts = [
        f"# Incident {incident.number}: {incident.source}/{incident.table}",
        f"{incident.error}",
        f"Class {incident.error_class}: {whose}. Met {counted(incident.count, 'time')}, from {incident.first_at} to "
        f"{incident.last_at}" + ("; schedules leave the table alone." if incident.is_paused else "."),
        f"## Request\n{asked}" if asked else "",
        f"## Answer\n```\n{str(exchange.get('answer', ''))[:2000]}\n```" if exchange else "",
        f"## Declaration\n```yaml\n{bundle['declaration']}```",
        f"## Columns in the lake\n{_listed(incident.columns_in_lake)}",
        f"## Fields in the answer\n{_listed(bundle['columns_seen'])}" if bundle["columns_seen"] else "",
        "## Contract\n" + "\n".join(f"- {line}" for line in contract.lines()),
        f"The check that shows it: {contract.failing}." if contract.failing else "",
        _to_do(incident),
    ]
    return "\n\n".join(part for part in parts if part)


def _summary_of_ours(incident: Incident) -> str:
    """Of what is no source's fault: what happened, what was done about it, who was worked on beside it."""
    table = f"{incident.source}/{incident.table}"
    paused = "; schedules leave the table alone." if incident.is_paused else "."
    facts = "\n".join(f"- {name}: {value}" for name, value in incident.facts.items())
    beside = "\n".join(
        f"- {each['table']}: {format_bytes(each['held_bytes'])} of {format_bytes(each['granted_bytes'])} granted"
        + (", its process was killed" if each["killed"] else "")
        for each in incident.beside
    )
    span = f"from {incident.first_at} to {incident.last_at}{paused}"
    met = f"Kind {incident.kind}, class {incident.error_class}. Met {counted(incident.count, 'time')}, {span}"
    to_do = (
        f"See what its next flush needs: import-platform diagnose {table}. A sync by hand that comes through closes "
    )
    to_do += f"this: import-platform sync {table}."
    parts = [
        f"# Incident {incident.number}: {table}",
        incident.error,
        met,
        f"## What the platform does\n{incident.action}" if incident.action else "",
        f"## Facts\n{facts}" if facts else "",
        f"## Worked on beside it\n{beside}" if beside else "",
        f"## To do\n{to_do} Run in Dagster: {incident.run or 'none'}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _listed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in columns.items()) or "none"


def _to_do(incident: Incident) -> str:
    return (
        f"## To do\nEdit defs.yaml so that the contract holds and `import-platform check {incident.source}` passes; "
        f"`import-platform incidents show {incident.number}` tries the contract again. "
        "Write no secrets into it: keep {{ env.NAME }}."
    )
