"""`repartition`: what would change in the leaves of tables, and then the change itself, as a Dagster run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from import_platform.assets.maintain_table import REPARTITION
from import_platform.cli.progress import observing
from import_platform.cli.summary import reporting_failure
from import_platform.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, Failed, Terminal, grid
from import_platform.components.loading import Catalog, load_sources
from import_platform.core.budget import format_bytes, parse_bytes
from import_platform.core.convert import as_yaml, partition_from_text
from import_platform.core.report import Status, SyncReport
from import_platform.core.table import PartitionSpec
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.jobs.repartition_launch import launch_maintenance, tables_to_maintain
from import_platform.pipeline.context import open_lake_table
from import_platform.pipeline.convert import planned_conversion
from import_platform.pipeline.repartition import Change, plan_repartition, predicted_peak_bytes
from import_platform.resources.memory import memory_budget
from import_platform.resources.naming import table_id
from import_platform.resources.platform import partition_max_bytes
from import_platform.resources.project import read_settings

CHILDREN_SHOWN = 3


def run(screen: Terminal, selection: str, *, dry_run: bool, max_bytes: str | None, to: str | None) -> None:
    """Prints the plan, then carries it out unless `dry_run`. Tables that were never synced are left out."""
    partition = partition_from_text(to) if to else None
    limit_bytes = parse_bytes(max_bytes, name="--max-bytes") if max_bytes else 0
    with reporting_failure(screen, selection):
        sources = load_sources()
        tables = in_lake(tables_to_maintain(selection, sources=sources))
        planned = _planned(sources, tables, limit_bytes, partition)
        if dry_run or not screen.is_json:
            _print_plan(screen, planned, partition)
        # With --to also when the lake has the partition already: whoever changed it may not have got to the keys.
        if not dry_run and (any(planned.values()) or partition is not None):
            options = {"task": REPARTITION, "max_bytes": limit_bytes, "to": to or ""}
            try:
                launch(screen, tables, options, sources)
            finally:
                _remind(screen, sources, tables, partition)
        elif not dry_run and screen.is_json:
            conclude(screen, [SyncReport(table=table) for table in planned])


def in_lake(tables: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The tables that have been synced.

    Raises:
        ConfigError: none of them has.
    """
    lake = Lake(read_settings().lake_uri)
    present = {
        source: [name for name in names if DeltaLog(lake.store, lake.table_path(source, name)).snapshot() is not None]
        for source, names in tables.items()
    }
    if not any(present.values()):
        first = next(table_id(source, name) for source, names in tables.items() for name in names)
        raise ConfigError(
            "the lake has no such table", table=first, remedy=f"Import it first: import-platform sync {first}"
        )
    return present


def launch(screen: Terminal, tables: Mapping[str, Sequence[str]], options: Mapping[str, Any], sources: Catalog) -> None:
    """Carries out a task with progress on stderr, prints the reports and leaves by the exit code of the worst."""
    interrupted = False
    try:
        with observing(screen.err) as observer:
            reports = launch_maintenance(tables, options, sources=sources, observer=observer)
    except Interrupted as error:
        reports, interrupted = error.report or [], True
    conclude(screen, reports, interrupted=interrupted)


def conclude(screen: Terminal, reports: Sequence[SyncReport], *, interrupted: bool = False) -> None:
    """Raises Failed with the exit code, unless all is well."""
    if screen.is_json:
        for report in reports:
            screen.emit(report.as_json())
    else:
        _print_reports(screen, reports)
    if interrupted or any(report.status is Status.CHECKPOINTED for report in reports):
        screen.err.print("stopped between two leaves; the same command goes on from there")
        raise Failed(EXIT_INTERRUPTED)
    if any(report.status is Status.FAILED for report in reports):
        raise Failed(EXIT_FAILED)


def _planned(
    sources: Catalog, tables: Mapping[str, Sequence[str]], limit_bytes: int, partition: PartitionSpec | None
) -> dict[str, list[Change]]:
    lake, planned = Lake(read_settings().lake_uri), {}
    for source, names in tables.items():
        declared = {table.name: table for table in sources.source(source).known_tables()}
        for name in names:
            limit = limit_bytes or partition_max_bytes(declared[name])
            table = open_lake_table(lake, source, name)
            planned[table.id] = (
                plan_repartition(table, limit_bytes=limit, now=datetime.now(UTC))
                if partition is None
                else planned_conversion(table, partition, limit_bytes=limit)
            )
    return planned


def _remind(
    screen: Terminal, sources: Catalog, tables: Mapping[str, Sequence[str]], partition: PartitionSpec | None
) -> None:
    """Says which declarations contradict the lake now; their tables will not sync until they are edited."""
    if partition is None:
        return
    for source, names in tables.items():
        for declared in sources.source(source).known_tables():
            if declared.name in names and declared.partition not in (None, partition):
                screen.err.print(
                    f"{table_id(source, declared.name)}: now write partition: {as_yaml(partition)} in its defs.yaml",
                    markup=False, soft_wrap=True,
                )  # fmt: skip


def _print_plan(screen: Terminal, planned: Mapping[str, Sequence[Change]], partition: PartitionSpec | None) -> None:
    peak_bytes = predicted_peak_bytes(memory_budget(read_settings().memory))
    if screen.is_json:
        for table, changes in planned.items():
            screen.emit({
                "table": table,
                "changes": [asdict(change) for change in changes],
                "bytes_to_rewrite": _rewritten_bytes(changes),
                "predicted_peak_memory_bytes": peak_bytes if _rewritten_bytes(changes) else 0,
            })  # fmt: skip
        return
    if not any(planned.values()):
        screen.out.print(
            "every leaf is inside its limit" if partition is None else f"partitioned so already: {as_yaml(partition)}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        return
    left = frozenset({"change", "leaf", "leaves after"})
    rows = grid("table", "change", "leaf", "bytes", "rows", "leaves after", left=left)
    for table, changes in planned.items():
        for change in changes:
            leaf, size = change.leaf or "all of them", format_bytes(change.bytes)
            rows.add_row(escape(table), _action(change), leaf, size, f"{change.rows:,}", _targets(change))
    screen.out.print(rows)
    total_bytes = sum(_rewritten_bytes(changes) for changes in planned.values())
    if total_bytes:
        screen.out.print(
            f"rewrites about {format_bytes(total_bytes)} with a predicted peak memory of {format_bytes(peak_bytes)}; "
            "one commit per line, readers see the same rows throughout"
        )


def _rewritten_bytes(changes: Sequence[Change]) -> int:
    return sum(change.bytes for change in changes if not change.unsplittable)


def _action(change: Change) -> str:
    if change.unsplittable:
        return "none: all its rows share one key"
    return {"split": "split", "coarsen": "merge back", "convert": "other partition"}[change.action]


def _targets(change: Change) -> str:
    if change.unsplittable:
        return "as it is"
    shown = ", ".join(change.targets[:CHILDREN_SHOWN])
    return shown if len(change.targets) <= CHILDREN_SHOWN else f"{len(change.targets)}: {shown}, .."


def _print_reports(screen: Terminal, reports: Sequence[SyncReport]) -> None:
    rows = grid("table", "status", "rows rewritten", "written", "files", "seconds", "peak memory", "version",
                left=frozenset({"status"}))  # fmt: skip
    for report in reports:
        version = "" if report.delta_version is None else str(report.delta_version)
        rows.add_row(escape(report.table), report.status.value, f"{report.rows_read:,}",
                     format_bytes(report.bytes_written), f"{report.files_removed} -> {report.files_added}",
                     f"{report.seconds:.1f}", format_bytes(report.peak_memory_bytes), version)  # fmt: skip
    screen.out.print(rows)
    for report in reports:
        if report.status is Status.FAILED and report.error:
            screen.fail(f"{report.table}: {report.error}")
