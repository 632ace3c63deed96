"""One table with every choice made: what its owner declared, checked against what the source reveals, the rest chosen.

The choices are meant to stay: they depend on names, types and keys first, and on sizes only where nothing else decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

import pyarrow as pa

from import_platform.core.arrow import polars_type
from import_platform.core.choose_partition import choose_partition, created_column, is_instant
from import_platform.core.column_range import check_partition_column
from import_platform.core.columns import check_masks, narrowed, stored_names
from import_platform.core.cursor import looked_back
from import_platform.core.enrichment import check_enrichments
from import_platform.core.table import (
    PARTITION_COLUMN,
    ColumnInfo,
    DeclaredTable,
    Granularity,
    HashPartition,
    PartitionSpec,
    SyncMode,
    TableInfo,
    TableSpec,
    TimePartition,
)
from import_platform.core.wording import nearest
from import_platform.errors import ConfigError

UPDATED_NAMES = (
    "updated_at",
    "modified_at",
    "last_updated_at",
    "last_modified_at",
    "changed_at",
    "updated_on",
    "modified_on",
    "update_time",
    "modified_time",
    "updated",
    "modified",
    "last_updated",
    "last_modified",
    "last_update",
    "update_date",
    "modified_date",
    "date_updated",
    "date_modified",
    "modifieddate",
    "lastmodified",
    "updatedat",
    "modifiedat",
    "mtime",
)
"""Columns that applications set on every change, best first; compared in lower case."""


def resolve(source: str, declared: DeclaredTable, info: TableInfo, *, in_lake: Collection[str] = ()) -> TableSpec:
    """The table with its sync mode, cursor, primary key and partition, and a sentence for each.

    Raises:
        ConfigError: the declaration asks for what the table does not have, or the table cannot be stored as it is.
    """
    _check_columns(info)
    info = _with_synthetic(declared, info)
    info = _chosen_columns(declared, info)
    primary_key, key_reason = _primary_key(declared, info)
    _check_versions(declared, info, primary_key)
    sync, cursor, sync_reason = _sync(declared, info, primary_key)
    partition, partition_reason = _partition(declared, info, primary_key)
    deleted = info.deleted if declared.deleted is None else _column(info, declared.deleted, role="soft-delete").name
    placing: str | None = getattr(partition, "column", None)
    versions = info.versions.columns if info.versions is not None else ()
    kept = {name for name in (*primary_key, cursor, deleted, placing, *versions) if name is not None}
    check_masks(declared.choice, kept=kept, table=info.name_in_lake)
    renamed = stored_names(info, kept=kept, in_lake=in_lake)
    stored = [renamed.get(column.name, column.name) for column in info.columns]
    check_enrichments(declared.enrich, stored, sampled=info.sampled)
    return TableSpec(
        source=source,
        name=declared.name,
        info=info,
        sync=sync,
        cursor=cursor,
        primary_key=primary_key,
        partition=partition,
        reasons=(sync_reason, key_reason, partition_reason, *_renaming(renamed)),
        schema_policy=declared.schema_policy,
        deleted=deleted,
        choice=declared.choice,
        renamed=renamed,
        lookback=_lookback(declared, info, sync, cursor),
        enrich=declared.enrich,
    )


def _lookback(declared: DeclaredTable, info: TableInfo, sync: SyncMode, cursor: str | None) -> str | None:
    if declared.lookback is None or sync is SyncMode.FULL_REFRESH or cursor is None:
        return None
    if sync is SyncMode.APPEND:
        raise ConfigError(
            "an append cannot look back, because rows that it reads again would be stored twice",
            table=info.name_in_lake,
            remedy="Declare primary_key: and sync: incremental, or leave lookback out.",
        )
    dtype = _column(info, cursor, role="cursor").type
    sample = "2000-01-01T00:00:00.000000Z" if pa.types.is_timestamp(dtype) else "0"
    looked_back("2000-01-01" if pa.types.is_date(dtype) else sample, declared.lookback, dtype)
    return declared.lookback


def _with_synthetic(declared: DeclaredTable, info: TableInfo) -> TableInfo:
    found = [column for column in info.synthetic if column.name == declared.cursor and info.column(column.name) is None]
    return replace(info, columns=(*info.columns, *found))


def _check_columns(info: TableInfo) -> None:
    if not info.columns and info.sampled:
        raise ConfigError(
            "no row of this table has been seen yet, so its columns are unknown",
            table=info.name_in_lake,
            remedy="Wait for its first row, or declare the types of its columns.",
        )
    if not info.columns:
        raise ConfigError(
            "the source's user may not read any column of this table",
            table=info.name_in_lake,
            remedy="Grant SELECT on it to the user, or leave the table out.",
        )
    folded = Counter(column.name.lower() for column in info.columns)
    if folded[PARTITION_COLUMN]:
        raise ConfigError(
            f"a source column is called {PARTITION_COLUMN}, which names the partition in the lake",
            table=info.name_in_lake,
            remedy="Rename it at the source, or import a view that gives it another name.",
        )


def _chosen_columns(declared: DeclaredTable, info: TableInfo) -> TableInfo:
    """Keys, cursor, partition and soft-delete column are always among them, declared or the source's own."""
    key = info.primary_key if declared.primary_key is None else declared.primary_key
    named = [declared.cursor, declared.deleted, info.deleted, getattr(declared.partition, "column", None)]
    kept = [*key, *named, *(info.cursors or ()), *(info.versions.columns if info.versions is not None else ())]
    chosen = narrowed(info, declared.choice, kept=[name for name in kept if name is not None])
    return replace(chosen, where=declared.where)


def _renaming(renamed: Mapping[str, str]) -> list[str]:
    return [
        f"column {name} is stored as {new}: its name differs from another only by case" for name, new in renamed.items()
    ]


def _primary_key(declared: DeclaredTable, info: TableInfo) -> tuple[tuple[str, ...], str]:
    if declared.primary_key is None:
        if info.primary_key:
            return info.primary_key, f"primary key {', '.join(info.primary_key)}: the source's own"
        return (), "no primary key: the source has neither one nor a unique index over columns that are never null"
    for name in declared.primary_key:
        _column(info, name, role="primary key")
    repeated = [name for name, count in Counter(declared.primary_key).items() if count > 1]
    if repeated:
        raise ConfigError(
            "a primary key names a column twice",
            table=info.name_in_lake,
            column=repeated[0],
            remedy="Name each column once.",
        )
    named = ", ".join(declared.primary_key)
    return declared.primary_key, f"primary key {named}: declared" if named else "no primary key: declared"


def _check_versions(declared: DeclaredTable, info: TableInfo, primary_key: tuple[str, ...]) -> None:
    if info.versions is None:
        return
    other = primary_key != info.primary_key, declared.sync is SyncMode.APPEND, declared.deleted is not None
    for is_other, word in zip(other, ("primary_key", "sync: append", "deleted"), strict=True):
        if is_other:
            raise ConfigError(
                "the source says which version of a row stays, and this would decide otherwise",
                table=info.name_in_lake,
                word=word,
                remedy="Leave it out of the table; what stands at the connection counts.",
            )


def _sync(declared: DeclaredTable, info: TableInfo, primary_key: tuple[str, ...]) -> tuple[SyncMode, str | None, str]:
    mode = declared.sync
    if mode is SyncMode.INCREMENTAL and not primary_key:
        raise ConfigError(
            "incremental needs a primary key, or changed rows would be stored twice",
            table=info.name_in_lake,
            remedy="Declare primary_key: [column], or sync: append or full_refresh.",
        )
    if declared.cursor is not None:
        _check_cursor(info, _column(info, declared.cursor, role="cursor"))
    if mode is SyncMode.FULL_REFRESH:
        return mode, None, "full_refresh: declared"
    if mode is None:
        return _chosen_sync(declared, info, primary_key)
    cursor = declared.cursor or _cursor_for(mode, info, primary_key)
    if cursor is None:
        raise ConfigError(
            f"{mode.value} needs a cursor, and no column says when a row changed",
            table=info.name_in_lake,
            columns=_cursor_names(info),
            remedy="Declare cursor: column, or sync: full_refresh.",
        )
    return mode, cursor, f"{mode.value} by {cursor}: declared"


def _chosen_sync(
    declared: DeclaredTable, info: TableInfo, primary_key: tuple[str, ...]
) -> tuple[SyncMode, str | None, str]:
    if declared.cursor is not None and primary_key:
        return SyncMode.INCREMENTAL, declared.cursor, f"incremental by {declared.cursor}: that cursor is declared"
    if declared.cursor is not None:
        return SyncMode.APPEND, declared.cursor, f"append by {declared.cursor}: that cursor is declared, without a key"
    if info.cursors and primary_key:
        return (
            SyncMode.INCREMENTAL,
            info.cursors[0],
            f"incremental by {info.cursors[0]}: the source gives changes by it",
        )
    cursor = _updated_column(info) if info.cursors is None else None
    if primary_key and cursor is not None:
        reason = f"incremental by {cursor}: never null and named as applications name the time of the last change"
        return SyncMode.INCREMENTAL, cursor, f"{reason} (deleted rows stay until a full refresh)"
    if not primary_key:
        return SyncMode.FULL_REFRESH, None, "full_refresh: without a primary key a changed row could not be found again"
    return SyncMode.FULL_REFRESH, None, "full_refresh: no never-null date or time column says when a row changed"


def _cursor_for(mode: SyncMode, info: TableInfo, primary_key: tuple[str, ...]) -> str | None:
    """What a sync goes by where no cursor is declared; an append may also go by a growing integer key."""
    updated = info.cursors[0] if info.cursors else _updated_column(info)
    if updated is not None or mode is SyncMode.INCREMENTAL:
        return updated
    created = created_column(info)
    if created is not None:
        return created.name
    only = info.column(primary_key[0]) if len(primary_key) == 1 else None
    return only.name if only is not None and pa.types.is_integer(only.type) else None


def _updated_column(info: TableInfo) -> str | None:
    known = {column.name.lower(): column for column in info.columns if is_instant(column) and not column.nullable}
    return next((known[name].name for name in UPDATED_NAMES if name in known), None)


def _check_cursor(info: TableInfo, column: ColumnInfo) -> None:
    dtype = column.type
    if is_instant(column) or pa.types.is_integer(dtype) or pa.types.is_decimal(dtype) or pa.types.is_string(dtype):
        return
    raise ConfigError(
        "a cursor must be a timestamp, date, integer, decimal or text",
        table=info.name_in_lake,
        column=column.name,
        type=column.source_type,
        columns=_cursor_names(info),
        remedy="Choose another cursor, or sync: full_refresh.",
    )


def _cursor_names(info: TableInfo) -> list[str]:
    return [column.name for column in info.columns if is_instant(column)]


def _partition(declared: DeclaredTable, info: TableInfo, primary_key: tuple[str, ...]) -> tuple[PartitionSpec, str]:
    partition = declared.partition
    if partition is None:
        return choose_partition(info, primary_key)
    if isinstance(partition, HashPartition):
        what = f"{2**partition.bits} hash partitions" if partition.bits else "no partitions"
        return partition, f"{what}: declared"
    column = _column(info, partition.column, role="partition")
    try:
        check_partition_column(partition, polars_type(column.type))
    except ConfigError as error:
        raise ConfigError(
            error.message, remedy=error.remedy, table=info.name_in_lake, column=column.name, type=column.source_type
        ) from None
    if isinstance(partition, TimePartition):
        if partition.granularity is Granularity.HOUR and pa.types.is_date(column.type):
            raise ConfigError(
                "a date column has no hours to partition by",
                table=info.name_in_lake,
                column=column.name,
                remedy="Use granularity: day or coarser.",
            )
        return partition, f"one partition per {partition.granularity.value} of {column.name}: declared"
    return partition, f"one partition per {partition.width} values of {column.name}: declared"


def _column(info: TableInfo, name: str, *, role: str) -> ColumnInfo:
    column = info.column(name)
    if column is not None:
        return column
    names = [known.name for known in info.columns]
    remedy = nearest(name, names, none="The table has", most=1, shown=30)
    raise ConfigError(f"the {role} column does not exist", table=info.name_in_lake, column=name, remedy=remedy)
