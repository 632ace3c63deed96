"""Tables as the platform describes them, from catalogs and samples, in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.errors import ImportPlatformError
from import_platform.sources.extremes import with_extremes
from import_platform.sources.found import in_name_order, places_of
from import_platform.sources.postgres.catalog import ColumnStatistics, PgColumn, PgTable, load_statistics, load_tables
from import_platform.sources.postgres.session import PostgresSession
from import_platform.sources.postgres.sql import column_reference, source
from import_platform.sources.postgres.types import arrow_type

_SMALL_BYTES = 2 << 20  # counted instead of sampled
_SAMPLE_BYTES = 1 << 20
_TABLES_PER_STATEMENT = 100
_SAMPLED_COLUMNS_MAX = 12
_PROBE_SECONDS = 20.0

_Statistics = Mapping[tuple[str, str, str], ColumnStatistics]


def discover_tables(session: PostgresSession, schemas: Sequence[str], names: Sequence[str] | None) -> list[TableInfo]:
    """The tables in name order; only `names` (as in the lake) if given, and of those the ones that exist."""
    default = default_schema(schemas)
    pairs = None if names is None else list(places_of(names, schemas, default=default))
    with session.transaction() as transaction:
        tables = load_tables(transaction, schemas, pairs)
        statistics = load_statistics(transaction, tables)
    probed = _probe(session, [table for table in tables if _is_unknown(table)])
    infos = []
    for table in tables:
        rows, own = probed.get(table.oid, (table.rows, {}))
        infos.append(_table_info(table, rows, {**statistics, **own}, default=table.schema == default))
    return in_name_order(infos, names)


def default_schema(schemas: Sequence[str]) -> str:
    """The schema whose tables keep their plain names: `public` if it is configured, else the first."""
    return "public" if "public" in schemas else schemas[0]


def column_info(column: PgColumn) -> ColumnInfo:
    return ColumnInfo(
        name=column.name, type=arrow_type(column.type), source_type=column.type.declared, nullable=not column.not_null
    )


def _is_unknown(table: PgTable) -> bool:
    """Never analyzed, or analyzed while empty and filled since; a table that is locked out has to stay unknown."""
    return (
        table.kind in ("r", "p", "m")
        and bool(table.columns)
        and (table.rows < 0 <= table.bytes or table.rows == 0 < table.bytes)
    )


def _table_info(table: PgTable, rows: int, statistics: _Statistics, *, default: bool) -> TableInfo:
    columns = []
    for column in table.columns:
        info = column_info(column)
        found = statistics.get((table.schema, table.name, column.name))
        columns.append(info if found is None else with_extremes(info, found.values))
    return TableInfo(
        schema=table.schema,
        name=table.name,
        columns=tuple(columns),
        primary_key=table.key,
        row_estimate=rows,
        bytes_estimate=table.bytes,
        default_schema=default,
        synthetic=tuple(column_info(column) for column in table.synthetic),
    )


def _probe(session: PostgresSession, tables: Sequence[PgTable]) -> dict[int, tuple[int, _Statistics]]:
    """Rows and extremes of tables that the server has no statistics of: counted where small, else from about 1 MiB of
    blocks.

    Estimates may be missing, discovery may not: where a probe fails (a locked table) its tables stay unknown.
    """
    found: dict[int, tuple[int, _Statistics]] = {}
    for start in range(0, len(tables), _TABLES_PER_STATEMENT):
        part = tables[start : start + _TABLES_PER_STATEMENT]
        try:
            with session.transaction(timeout_seconds=_PROBE_SECONDS) as transaction:
                transaction.set({"lock_timeout": "2s"})
                rows = transaction.rows(
                    "\nUNION ALL ".join(_probe_sql(number, table) for number, table in enumerate(part))
                )
        except ImportPlatformError:
            continue
        for row in rows:
            table = part[row["number"]]
            names = [column.name for column in _sampled(table)]
            pairs = zip(names, row["lows"], row["highs"], strict=True)
            statistics = {
                (table.schema, table.name, name): ColumnStatistics(tuple(v for v in (low, high) if v is not None))
                for name, low, high in pairs
            }
            found[table.oid] = (round(row["rows"] / _fraction(table)), statistics)
    return found


def _probe_sql(number: int, table: PgTable) -> str:
    columns = [column_reference(column.name) for column in _sampled(table)]
    lows, highs = (", ".join(f"{function}({column})::text" for column in columns) for function in ("min", "max"))
    sample = "" if _fraction(table) == 1 else f" TABLESAMPLE SYSTEM ({_fraction(table) * 100:.6f})"
    return (
        f"SELECT {number} AS number, count(*) AS rows, ARRAY[{lows}]::text[] AS lows, ARRAY[{highs}]::text[] AS highs"
        f"{source(table.sql)}{sample}"
    )


def _fraction(table: PgTable) -> float:
    main_bytes = max(table.bytes - table.wide_bytes, 1)
    return 1.0 if main_bytes <= _SMALL_BYTES else _SAMPLE_BYTES / main_bytes


def _sampled(table: PgTable) -> list[PgColumn]:
    return [column for column in table.columns if _has_extremes(column)][:_SAMPLED_COLUMNS_MAX]


def _has_extremes(column: PgColumn) -> bool:
    return column.type.builtin and column.type.name in ("int2", "int4", "int8", "date", "timestamp", "timestamptz")
