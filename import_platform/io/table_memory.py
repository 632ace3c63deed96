"""What is remembered of a table's memory, beside its staged chunks: what its steps held, and the measures in force."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from import_platform.core.measures import Measures, measures_from_json
from import_platform.core.step_memory import StepHistory, history_from_json
from import_platform.io.lake import Lake


@dataclass(frozen=True)
class TableMemory:
    """Of one table, over its last runs."""

    history: StepHistory = field(default_factory=StepHistory)
    measures: Measures = field(default_factory=Measures)


def read_memory(lake: Lake, source: str, table: str) -> TableMemory:
    """Empty for a table that nothing is known of, or whose file another release wrote: nothing correct rests on it."""
    data = lake.store.get(_path(lake, source, table))
    try:
        value = json.loads(data or b"{}")
        return TableMemory(history_from_json(value.get("steps", {})), measures_from_json(value.get("measures", {})))
    except (ValueError, TypeError, AttributeError):
        return TableMemory()


def write_memory(lake: Lake, source: str, table: str, memory: TableMemory) -> None:
    value = {"steps": memory.history.as_json(), "measures": memory.measures.as_json()}
    lake.store.put(_path(lake, source, table), json.dumps(value).encode())


def _path(lake: Lake, source: str, table: str) -> str:
    return f"{lake.staging_path(source, table)}/memory.json"
