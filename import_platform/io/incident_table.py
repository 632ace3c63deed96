"""`_ops/incidents`: the incident documents as a Delta table, brought up to date from those that changed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pyarrow as pa

from import_platform.io.lake import Lake
from import_platform.io.ops_table import OpsTable

DOCUMENTS = "_ops/incident_documents"
_INSTANT = pa.timestamp("us", "UTC")
INCIDENTS = pa.schema([
    ("number", pa.int64()), ("source", pa.string()), ("table", pa.string()), ("about", pa.string()),
    ("kind", pa.string()), ("action", pa.string()), ("run", pa.string()), ("error_class", pa.string()),
    ("error", pa.string()), ("is_fault", pa.bool_()), ("count", pa.int64()), ("first_at", _INSTANT),
    ("last_at", _INSTANT), ("resolved_at", _INSTANT), ("facts", pa.string()), ("document", pa.string()),
    ("changed_at", _INSTANT),
])  # fmt: skip


def incident_table(lake: Lake) -> OpsTable:
    return OpsTable(lake, "incidents", INCIDENTS, time_column="changed_at")


def project_incidents(lake: Lake) -> int:
    """Writes the table anew where a document is new, changed or gone; returns how many were. One listing otherwise.

    Raises:
        StoreUnavailable: the lake did not answer.
    """
    changed, _ = _compared(lake)
    if changed:
        incident_table(lake).replace(lambda: pa.Table.from_pylist(_compared(lake)[1], schema=INCIDENTS))
    return changed


def _compared(lake: Lake) -> tuple[int, list[dict[str, Any]]]:
    """How many documents the table does not show as they are, and the rows that would; only those are read."""
    documents = {entry.path: entry.modified_at for entry in lake.store.entries(DOCUMENTS)}
    known = {row["document"]: row for row in incident_table(lake).read(INCIDENTS.names).to_pylist()}
    stale = [path for path, at in documents.items() if path not in known or known[path]["changed_at"] != at]
    gone = known.keys() - documents.keys()
    rows = {path: row for path, row in known.items() if path in documents}
    rows |= {path: _row(path, data, documents[path]) for path in stale if (data := lake.store.get(path)) is not None}
    return len(stale) + len(gone), sorted(rows.values(), key=lambda row: int(row["number"]))


def _row(path: str, data: bytes, changed_at: datetime) -> dict[str, Any]:
    """Fields that a document of another version lacks are null; those that the table does not have stay in it."""
    told: dict[str, Any] = json.loads(data)
    row = {name: told.get(name) for name in INCIDENTS.names}
    for name in ("first_at", "last_at", "resolved_at"):
        row[name] = datetime.fromisoformat(told[name]) if told.get(name) else None
    facts = json.dumps(told.get("facts") or {}, default=str, ensure_ascii=False)
    return row | {"facts": facts, "document": path, "changed_at": changed_at}
