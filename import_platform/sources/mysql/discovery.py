"""Tables as the platform describes them: catalogs in bulk, then counts of small tables and extremes by index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.errors import ImportPlatformError
from import_platform.sources.extremes import with_extremes
from import_platform.sources.found import in_name_order, places_of
from import_platform.sources.mysql.catalog import MyColumn, MyTable, load_tables
from import_platform.sources.mysql.session import MysqlSession
from import_platform.sources.mysql.sql import MARK, column_reference, source
from import_platform.sources.mysql.types import INSTANTS, INTEGERS, arrow_type

_SMALL_BYTES = 2 << 20  # counted; of larger tables only the ends of an index are looked at
_TABLES_PER_STATEMENT = 100
_SAMPLED_COLUMNS_MAX = 12
_PROBE_SECONDS = 20.0


def discover_tables(session: MysqlSession, schemas: Sequence[str], names: Sequence[str] | None) -> list[TableInfo]:
    """The tables in name order; only `names` (as in the lake) if given, and of those the ones that exist."""
    pairs = None if names is None else list(places_of(names, schemas, default=schemas[0]))
    with session.transaction() as transaction:
        tables = load_tables(transaction, schemas, pairs)
    infos = _probed(session, [(table, _table_info(table, default=table.schema == schemas[0])) for table in tables])
    return in_name_order(infos, names)


def _table_info(table: MyTable, *, default: bool) -> TableInfo:
    return TableInfo(
        schema=table.schema,
        name=table.name,
        columns=tuple(
            ColumnInfo(
                name=column.name,
                type=arrow_type(column.type),
                source_type=column.type.declared,
                # The zero date of a key is NULL in the lake. Elsewhere NOT NULL is taken at its word: it is what tells
                # a time of the last change from others.
                nullable=not column.not_null or (column.name in table.key and column.type.name in INSTANTS),
            )
            for column in table.columns
        ),
        primary_key=table.key,
        row_estimate=table.rows,
        bytes_estimate=table.bytes,
        default_schema=default,
    )


def _probed(session: MysqlSession, found: Sequence[tuple[MyTable, TableInfo]]) -> list[TableInfo]:
    """Where a probe fails (a locked table, one that the user may not read) its tables keep the server's estimates."""
    infos: list[TableInfo] = []
    for start in range(0, len(found), _TABLES_PER_STATEMENT):
        part = found[start : start + _TABLES_PER_STATEMENT]
        probes = [sql for number, (table, _) in enumerate(part) if (sql := _probe_sql(number, table)) is not None]
        try:
            with session.transaction(timeout_seconds=_PROBE_SECONDS) as transaction:
                rows = transaction.rows("\nUNION ALL ".join(probes)) if probes else []
        except ImportPlatformError:
            rows = []
        answers = {int(str(row["number_"])): row for row in rows}
        for number, (table, info) in enumerate(part):
            answer = answers.get(number)
            infos.append(info if answer is None else _with_answer(table, info, answer))
    return infos


def _with_answer(table: MyTable, info: TableInfo, answer: dict[str, str | None]) -> TableInfo:
    lows, highs = (json.loads(str(answer[name])) for name in ("lows", "highs"))
    extremes = {
        column.name: [value for value in pair if value is not None]
        for column, *pair in zip(_sampled(table), lows, highs, strict=True)
    }
    columns = tuple(with_extremes(column, extremes.get(column.name, ())) for column in info.columns)
    counted = answer["rows_"]
    return replace(info, columns=columns, row_estimate=info.row_estimate if counted is None else int(counted))


def _probe_sql(number: int, table: MyTable) -> str | None:
    if table.is_view or not table.columns:
        return None
    columns = [column_reference(column.name) for column in _sampled(table)]
    if _is_small(table):
        lows, highs = (", ".join(f"CAST({f}({c}) AS CHAR)" for c in columns) for f in ("MIN", "MAX"))
        counts = f"COUNT(*) AS rows_, JSON_ARRAY({lows}) AS lows, JSON_ARRAY({highs}) AS highs{source(table.sql)}"
        return f"(SELECT {MARK} {number} AS number_, {counts})"
    if not columns:
        return None
    lows, highs = (
        ", ".join(f"(SELECT CAST({f}({c}) AS CHAR){source(table.sql)})" for c in columns) for f in ("MIN", "MAX")
    )
    return (
        f"(SELECT {MARK} {number} AS number_, NULL AS rows_, JSON_ARRAY({lows}) AS lows, JSON_ARRAY({highs}) AS highs)"
    )


def _is_small(table: MyTable) -> bool:
    return 0 <= table.bytes <= _SMALL_BYTES


def _sampled(table: MyTable) -> list[MyColumn]:
    """Date, time and integer columns whose ends are cheap to know."""
    cheap = [
        column
        for column in table.columns
        if column.type.name in INSTANTS | INTEGERS and (_is_small(table) or column.name in table.indexed)
    ]
    return cheap[:_SAMPLED_COLUMNS_MAX]
