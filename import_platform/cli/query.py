"""`query "SQL"`: DuckDB over the lake, read-only, for a person, for a script or for a spreadsheet."""

from __future__ import annotations

import csv as csv_format
import itertools
import json
import math
import os
import sys
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.text import Text

from import_platform.cli.terminal import Terminal, grid
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.io.query import Answer, LakeSql
from import_platform.io.releases import released_versions
from import_platform.io.store import Store
from import_platform.own_folder import own_folder
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import read_settings

CELL_CHARACTERS = 80
_NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
)


def run(screen: Terminal, sql: str, *, csv: bool, limit_rows: int, release: str | None = None) -> None:
    """Tables of the release SOURCE or SOURCE@NUMBER are read as it has them.

    Raises:
        ConfigError: a statement that does not read, --json together with --csv, or no such release.
    """
    if screen.is_json and csv:
        raise ConfigError("--json and --csv exclude each other", remedy="Choose one.")
    settings = read_settings()
    budget = memory_budget(settings.memory)
    scratch = own_folder("import_platform")
    store = Lake(settings.lake_uri).store
    versions = _released(store, release) if release is not None else None
    memory_bytes = budget.free_bytes // 2
    with LakeSql(store, memory_bytes=memory_bytes, threads=_threads(), scratch=scratch, versions=versions) as lake_sql:
        answer = lake_sql.run(sys.stdin.read() if sql == "-" else sql)
        if screen.is_json:
            _print_json(screen, answer)
        elif csv:
            _print_csv(screen, answer)
        else:
            _print_table(screen, answer, limit_rows)


def _released(store: Store, said: str) -> dict[tuple[str, str], int]:
    source, _, number = said.partition("@")
    if number and not number.isdecimal():
        raise ConfigError("a release is SOURCE or SOURCE@NUMBER", found=said, remedy="See _ops.releases for them.")
    found = released_versions(store, source, int(number) if number else None)
    if not found:
        remedy = "A release is made once all tables of the same files were synced; see _ops.releases."
        raise ConfigError("there is no such release", found=said, remedy=remedy)
    return {(source, table): version for table, version in found.items()}


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print_json(screen: Terminal, answer: Answer) -> None:
    keys = [json.dumps(name, ensure_ascii=False) for name in answer.columns]
    for row in answer.rows:
        cells = (f"{key}: {json_text(value)}" for key, value in zip(keys, row, strict=True))
        screen.stdout.write("{" + ", ".join(cells) + "}\n")


def _print_csv(screen: Terminal, answer: Answer) -> None:
    writer = csv_format.writer(screen.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_csv_text(value) for value in row] for row in answer.rows)


def _print_table(screen: Terminal, answer: Answer, limit_rows: int) -> None:
    shown = list(itertools.islice(answer.rows, limit_rows + 1))
    if answer.columns[:1] == ("explain_key",):
        screen.out.print("\n".join(str(row[1]) for row in shown), markup=False, soft_wrap=True)
        return
    text_columns = frozenset(
        name for name, kind in zip(answer.columns, answer.types, strict=True) if not kind.startswith(_NUMBERS)
    )
    table = grid(*(answer.columns or ("",)), left=text_columns, first_is_left=answer.columns[0] in text_columns)
    for row in shown[:limit_rows]:
        table.add_row(*(_cell(value) for value in row))
    screen.out.print(table)
    if len(shown) > limit_rows:
        screen.err.print(f"the first {counted(limit_rows, 'row')}; more with --limit, all with --csv or --json")
    else:
        screen.err.print(f"{len(shown):,} {'row' if len(shown) == 1 else 'rows'}")


def _cell(value: Any) -> Text:
    if value is None:
        return Text("null", style="dim")
    text = _plain(value)
    text = "".join(c if c.isprintable() else "·" for c in text)
    return Text(text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…")


def _csv_text(value: Any) -> str:
    return "" if value is None else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list, tuple)):
        return json_text(value)
    return _text(value)


def _text(value: Any) -> str:
    """ISO 8601 for times, hexadecimal for bytes, digits without exponent for decimals."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return format(value, "f") if isinstance(value, Decimal) and value.is_finite() else str(value)


def json_text(value: Any) -> str:
    """One value as JSON. Decimals keep every digit as a JSON number; NaN and infinity, which JSON lacks, are null."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    if isinstance(value, (bool, int, float, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Decimal):
        return _text(value) if value.is_finite() else "null"
    if isinstance(value, (datetime, date, time, timedelta, bytes, UUID)):
        return json.dumps(_text(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))}: {json_text(v)}" for k, v in value.items()) + "}"
    return _array(value) if isinstance(value, (list, tuple)) else json.dumps(str(value))


def _array(values: Iterable[Any]) -> str:
    return "[" + ", ".join(json_text(value) for value in values) + "]"
