"""What a finished sync tells the asset page: numbers stay numbers so that the UI plots them over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from import_platform.assets.leaf_plot import leaf_plot
from import_platform.core.budget import format_bytes
from import_platform.core.layout import base_of, covers
from import_platform.core.leaf_chart import described
from import_platform.core.report import SyncReport
from import_platform.core.table import DeclaredTable, NumberPartition, PartitionSpec, TimePartition
from import_platform.core.wording import counted
from import_platform.io.incidents import Incident
from import_platform.pipeline.inspect import LeafStatus, TableStatus
from import_platform.pipeline.table_checks import Findings
from import_platform.resources.snapshots import FoundTable

ERROR_CHARS_MAX = 300

_REPORTED = (
    "rows_read",
    "rows_inserted",
    "rows_updated",
    "rows_deleted",
    "rows_rejected",
    "bytes_read",
    "bytes_written",
    "files_added",
    "files_removed",
    "files_considered",
    "files_probed",
    "filter_bytes",
    "partitions_touched",
    "seconds",
    "peak_memory_bytes",
    "predicted_memory_bytes",
)


def sync_metadata(
    report: SyncReport,
    before: TableStatus | None,
    after: TableStatus | None,
    *,
    budget_bytes: int,
    limit_bytes: int,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Of the table as a whole after one sync, in the order of the asset page: what a person wants to know first.

    Units are in the names and never change, or plots would break. `cursor` is the declared cursor field, `limit_bytes`
    what a leaf may hold.
    """
    metadata: dict[str, Any] = {
        "summary": dg.MetadataValue.md(summary(report, after, budget_bytes=budget_bytes)),
        "status": str(report.status),
    }
    metadata |= {name: getattr(report, name) for name in _REPORTED}
    metadata |= {"resumed": report.resumed, "budget_bytes": budget_bytes}
    if before is not None and before.cursor_value is not None:
        metadata["cursor_before"] = before.cursor_value
    if report.cursor_value is not None:
        metadata["cursor_after"] = report.cursor_value
    if after is not None:
        metadata |= {
            "dagster/row_count": after.rows,
            "dagster/uri": after.uri,
            "dagster/table_name": after.table.replace("/", ".", 1),
            "dagster/size_bytes": after.bytes,
            "files": after.files,
            "partitions": len(after.leaves),
            "partition_max_bytes": limit_bytes,
            "layout": described(after.identity.partition),
        }
        picture = leaf_plot(after.leaves, after.identity.partition, limit_bytes=limit_bytes)
        if picture:
            metadata["leaf_sizes"] = dg.MetadataValue.md(picture)
        if after.delta_version is not None:
            metadata["delta_version"] = after.delta_version
        if after.schema is not None:
            notes = column_notes(after.identity.primary_key, after.identity.partition, cursor)
            columns = ((field.name, str(field.type), field.nullable) for field in after.schema)
            metadata["dagster/column_schema"] = column_schema(columns, notes)
    return metadata


def found_metadata(findings: Findings) -> dict[str, Any]:
    """How the table stands to its source, as far as it was looked at."""
    metadata: dict[str, Any] = {}
    if findings.as_of is not None:
        metadata["dagster/last_updated_timestamp"] = dg.MetadataValue.timestamp(findings.as_of)
    if findings.lag_seconds is not None:
        metadata["lag_seconds"] = findings.lag_seconds
    if findings.counted is not None and findings.counted.source_rows is not None:
        metadata["source_rows"] = findings.counted.source_rows
    if findings.incident is not None:
        metadata["last_incident"] = dg.MetadataValue.md(incident_text(findings.incident))
    return metadata


def incident_text(incident: Incident) -> str:
    """A few lines of Markdown."""
    end = f"closed {incident.resolved_at}" if incident.resolved_at else "still open"
    times = f"met {counted(incident.count, 'time')} since {incident.first_at}, {end}"
    show = f"`import-platform incidents show {incident.number}`"
    return f"**{incident.error_class}**, {times}\n\n{incident.error[:ERROR_CHARS_MAX]}\n\n{show}"


def partition_metadata(
    leaves: Mapping[str, LeafStatus], partition: PartitionSpec, *, limit_bytes: int | None
) -> dict[str, Any]:
    """Of one partition key: its leaves (several where they differ in hash bits, or are finer than the key) added up,
    beside what one of them may hold."""
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": sum(leaf.rows for leaf in leaves.values()),
        "partition_bytes": sum(leaf.bytes for leaf in leaves.values()),
        "partition_files": sum(leaf.files for leaf in leaves.values()),
        "partition_leaves": len(leaves),
        "partition_largest_leaf_bytes": max((leaf.bytes for leaf in leaves.values()), default=0),
        "layout": described(partition),
    }
    return metadata if limit_bytes is None else metadata | {"partition_max_bytes": limit_bytes}


def asked_metadata(after: TableStatus, key: str, *, limit_bytes: int) -> dict[str, Any]:
    """Of the one partition that a run was launched for."""
    spec = after.identity.partition
    leaves = {name: leaf for name, leaf in after.leaves.items() if covers(key, name, spec)}
    return partition_metadata(leaves, spec, limit_bytes=limit_bytes)


def column_schema(columns: Iterable[tuple[str, str, bool]], notes: Mapping[str, str]) -> dg.TableSchema:
    """Of (name, type, nullable), with what is to be said of some of them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name, kind, description=notes.get(name), constraints=dg.TableColumnConstraints(nullable=nullable)
            )
            for name, kind, nullable in columns
        ]
    )


def found_schema(table: FoundTable, declared: DeclaredTable) -> dg.TableSchema:
    """The columns as discovery saw them at the source, for the page of a table that was never synced."""
    notes = column_notes(declared.primary_key or table.primary_key, declared.partition, declared.cursor)
    return column_schema(((column.name, column.type, column.nullable) for column in table.columns), notes)


def column_notes(primary_key: Sequence[str], partition: PartitionSpec | None, cursor: str | None) -> dict[str, str]:
    """What a column is to the platform, by its name."""
    notes: dict[str, list[str]] = defaultdict(list)
    for name in primary_key:
        notes[name].append("primary key")
    if cursor is not None:
        notes[cursor].append("cursor")
    if isinstance(partition, TimePartition):
        notes[partition.column].append(f"partitioned by {partition.granularity}")
    if isinstance(partition, NumberPartition):
        notes[partition.column].append(f"partitioned by {partition.width:,}")
    return {name: ", ".join(parts) for name, parts in notes.items()}


def summary(report: SyncReport, after: TableStatus | None, *, budget_bytes: int) -> str:
    """A few lines of Markdown for a person."""
    changes = [
        f"{count:,} {word}"
        for word, count in (
            ("inserted", report.rows_inserted),
            ("updated", report.rows_updated),
            ("deleted", report.rows_deleted),
            ("rejected", report.rows_rejected),
        )
        if count
    ]
    lines = [
        f"**{report.status}** in {report.seconds:.1f} s",
        *(f"**warning**: {warning}" for warning in report.warnings),
        f"read {counted(report.rows_read, 'row')}: {', '.join(changes) or 'nothing changed'}",
        f"wrote {format_bytes(report.bytes_written)} in {counted(report.files_added, 'file')}",
        f"peak memory {format_bytes(report.peak_memory_bytes)} of {format_bytes(budget_bytes)}",
    ]
    if after is not None:
        lines.append(
            f"the table holds {counted(after.rows, 'row')} in {counted(len(after.leaves), 'partition')}, "
            f"{format_bytes(after.bytes)}"
        )
    return "\n\n".join(lines)


def added(first: SyncReport, second: SyncReport) -> SyncReport:
    """One report of two pieces of work on the same table: counts add up, the peak is the higher one."""
    counts = {name: getattr(first, name) + getattr(second, name) for name in _REPORTED}
    counts["peak_memory_bytes"] = max(first.peak_memory_bytes, second.peak_memory_bytes)
    return replace(second, **counts, resumed=first.resumed or second.resumed)


def leaves_by_base(leaves: Mapping[str, LeafStatus]) -> dict[str, LeafStatus]:
    """Leaves that differ in hash bits only, added up under the partition key they share."""
    bases: dict[str, LeafStatus] = {}
    for name, leaf in leaves.items():
        known = bases.get(base_of(name))
        bases[base_of(name)] = (
            leaf
            if known is None
            else LeafStatus(rows=known.rows + leaf.rows, bytes=known.bytes + leaf.bytes, files=known.files + leaf.files)
        )
    return bases
