"""`diagnose SOURCE/TABLE`: files, row groups and keys of one table, the flush that waits for it, and what to do."""

from __future__ import annotations

from typing import Any

import polars as pl

from import_platform.cli.declared import declared_sources
from import_platform.cli.terminal import Terminal, grid
from import_platform.core.advice import Recommendation, advice
from import_platform.core.budget import MemoryBudget, format_bytes
from import_platform.core.diagnosis import Findings, SourceStatistics
from import_platform.core.merge import MergePlan
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.pipeline.diagnose import FOOTERS_MAX, Diagnosis, Waiting, diagnose
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import Settings, read_settings
from import_platform.resources.snapshots import load_snapshot

LEAVES_SHOWN = 20


def run(screen: Terminal, selection: str) -> None:
    """Raises ConfigError for what is no table of the lake (exit code 2)."""
    settings = read_settings()
    source, _, table = selection.partition("/")
    if not table:
        raise ConfigError(
            "diagnose looks at one table", found=selection[:200], remedy=f"Write {selection[:200]}/TABLE."
        )
    budget = memory_budget(settings.memory)
    found = diagnose(
        Lake(settings.lake_uri),
        source,
        table,
        budget=budget,
        limit_bytes=_limit_bytes(settings, source, table),
        statistics=_statistics(settings, source, table),
    )
    if screen.is_json:
        screen.emit(as_json(found))
    else:
        _print(screen, found, budget)


def _limit_bytes(settings: Settings, source: str, table: str) -> int:
    declared = declared_sources(settings.defs_folders, settings.snapshots_folder)
    own = (each.limits.get(table) for each in declared if each.name == source)
    return next((limit for limit in own if limit is not None), settings.partition_max_bytes)


def _statistics(settings: Settings, source: str, table: str) -> SourceStatistics | None:
    snapshot = load_snapshot(settings.snapshots_folder, source)
    found = snapshot.table(table) if snapshot is not None else None
    if snapshot is None or found is None:
        return None
    return SourceStatistics(found.row_estimate, len(found.columns), found.primary_key, snapshot.discovered_at)


def as_json(found: Diagnosis) -> dict[str, Any]:
    """One object; sizes in bytes. `delta_rs` is what a merge by that library was measured to hold at such sizes."""
    findings, files = found.findings, found.snapshot.files
    return {
        "table": findings.table,
        "delta_version": found.snapshot.version,
        "cursor_value": found.cursor_value,
        "rows": found.snapshot.rows,
        "bytes": found.snapshot.size_bytes,
        "decoded_bytes": findings.decoded_bytes,
        "files": files.height,
        "partition_max_bytes": findings.limit_bytes,
        "leaves": _leaves(files).to_dicts(),
        "row_groups": len(findings.row_groups),
        "widest_row_group_bytes": findings.widest_row_group_bytes,
        "mean_overlapping_files": findings.mean_overlaps,
        "prunable_share": findings.prunable_share,
        "files_in_key_order_share": findings.ordered_share,
        "key_filters": len(findings.filtered_paths),
        "key_filter_bytes": found.filter_bytes,
        "waiting": _waiting_json(found.waiting) if found.waiting is not None else None,
        "predicted_memory_bytes": findings.predicted_bytes,
        "budget_bytes": findings.budget_bytes,
        "delta_rs": {"leaf_bytes": findings.delta_rs_leaf_bytes, "table_bytes": findings.delta_rs_table_bytes},
        "source": _source_json(findings.source) if findings.source is not None else None,
        "recommendations": [_recommendation_json(each) for each in advice(findings)],
    }


def _leaves(files: pl.DataFrame) -> pl.DataFrame:
    summed = files.group_by("leaf").agg(pl.len().alias("files"), pl.col("rows").sum(), pl.col("size_bytes").sum())
    return summed.sort("size_bytes", "leaf", descending=[True, False])


def _waiting_json(waiting: Waiting) -> dict[str, Any]:
    plan = waiting.plan
    return {
        "attempt": waiting.attempt_id,
        "staged_rows": waiting.staged_rows,
        "files_considered": plan.considered_files,
        "files_filtered": plan.filtered_files,
        "files_probed": plan.probed_files,
        "files_rewritten": len(plan.removes),
        "rows_updated": plan.updated_rows,
        "rows_removed": plan.removed_rows,
        "leaves": list(plan.leaves),
        "predicted_memory_bytes": plan.predicted_bytes,
    }


def _source_json(source: SourceStatistics) -> dict[str, Any]:
    return {
        "row_estimate": source.rows if source.rows >= 0 else None,
        "columns": source.columns,
        "primary_key": list(source.primary_key),
        "discovered_at": source.discovered_at,
    }


def _recommendation_json(said: Recommendation) -> dict[str, Any]:
    return {"effect": said.effect.name.lower(), "text": said.text, "command": said.command, "bytes": said.bytes}


def _print(screen: Terminal, found: Diagnosis, budget: MemoryBudget) -> None:
    findings, snapshot = found.findings, found.snapshot
    screen.out.print(
        f"{findings.table}: {counted(snapshot.rows, 'row')}, {format_bytes(snapshot.size_bytes)} in "
        f"{counted(snapshot.files.height, 'file')}, version {snapshot.version}\n",
        markup=False,
        soft_wrap=True,
    )
    table = grid("leaf", "files", "rows", "bytes", "of the limit")
    leaves = _leaves(snapshot.files)
    for row in leaves.head(LEAVES_SHOWN).iter_rows(named=True):
        share = row["size_bytes"] / findings.limit_bytes
        cells = f"{row['files']:,}", f"{row['rows']:,}", format_bytes(row["size_bytes"]), f"{share:.0%}"
        table.add_row(str(row["leaf"]), *cells)
    screen.out.print(table)
    if leaves.height > LEAVES_SHOWN:
        screen.out.print(f"and {counted(leaves.height - LEAVES_SHOWN, 'smaller leaf')}")
    lines = [*_facts(found), *_waiting_lines(found, budget), *_elsewhere(findings), *_source_lines(found)]
    for line in [*lines, *_advice_lines(found)]:
        screen.out.print(line, markup=False, soft_wrap=True)


def _facts(found: Diagnosis) -> list[str]:
    findings, files = found.findings, found.snapshot.files.height
    some = f" of the {FOOTERS_MAX:,} largest files" if files > FOOTERS_MAX else ""
    of_files = counted(files, "file")
    widest, decoded = format_bytes(findings.widest_row_group_bytes), format_bytes(findings.decoded_bytes)
    lines = [
        f"\nrow groups   {len(findings.row_groups):,}{some}, the widest {widest} decoded; the table about {decoded}"
    ]
    if findings.first_key is None:
        return [*lines, "keys         none: rows are told apart by their content"]
    return [
        *lines,
        f"keys         {_pruning(findings)}{_order(findings)}",
        f"key filters  {len(findings.filtered_paths):,} of {of_files}, {format_bytes(found.filter_bytes)}",
    ]


def _pruning(findings: Findings) -> str:
    if findings.prunable_share is None or findings.mean_overlaps is None:
        return f"bounds of {findings.first_key} are not in the log: nothing is ruled out by them"
    return (
        f"bounds of {findings.first_key} rule out {findings.prunable_share:.0%} of the bytes for one key; they meet "
        f"those of {findings.mean_overlaps:.1f} other files on average"
    )


def _order(findings: Findings) -> str:
    share = findings.ordered_share
    return "" if share is None else f"; {share:.0%} of the files are in key order"


def _waiting_lines(found: Diagnosis, budget: MemoryBudget) -> list[str]:
    waiting, budgeted = found.waiting, format_bytes(budget.total_bytes)
    if waiting is None:
        predicted = format_bytes(found.findings.predicted_bytes)
        return [f"next flush   nothing is staged; one full chunk would take about {predicted} of {budgeted}"]
    plan = _plan(waiting.plan, budgeted)
    return [f"next flush   {counted(waiting.staged_rows, 'staged row')} of attempt {waiting.attempt_id}: {plan}"]


def _plan(plan: MergePlan, budgeted: str) -> str:
    updated = f"{counted(plan.updated_rows, 'row')} updated in {counted(len(plan.leaves), 'leaf')}"
    return (
        f"of {counted(plan.considered_files, 'file')}, {plan.filtered_files:,} are ruled out by filters, the keys of "
        f"{plan.probed_files:,} are read, {len(plan.removes):,} are rewritten; {updated}; "
        f"predicted memory {format_bytes(plan.predicted_bytes)} of {budgeted}"
    )


def _elsewhere(findings: Findings) -> list[str]:
    leaf, table = format_bytes(findings.delta_rs_leaf_bytes), format_bytes(findings.delta_rs_table_bytes)
    return [f"delta-rs     a merge would hold about {leaf} for the largest leaf, {table} without a literal partition"]


def _source_lines(found: Diagnosis) -> list[str]:
    source = found.findings.source
    cursor = f"; the cursor stands at {found.cursor_value}" if found.cursor_value is not None else ""
    if source is None:
        return [f"source       not discovered yet{cursor}"]
    rows = f"about {counted(source.rows, 'row')}" if source.rows >= 0 else "an unknown number of rows"
    key = f"key ({', '.join(source.primary_key)})" if source.primary_key else "no key"
    return [f"source       {rows}, {counted(source.columns, 'column')}, {key}, as of {source.discovered_at}{cursor}"]


def _advice_lines(found: Diagnosis) -> list[str]:
    said = advice(found.findings)
    return [f"\n{number}. {each.sentence}" for number, each in enumerate(said, start=1)] or ["\nnothing to do"]
