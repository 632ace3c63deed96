"""`diagnose SOURCE/TABLE`: files, row groups and keys of one table, the flush that waits for it, and what to do."""

from __future__ import annotations

from typing import Any

import polars as pl

from import_platform.cli.terminal import Terminal, grid
from import_platform.core.budget import MemoryBudget, format_bytes
from import_platform.core.diagnosis import advice
from import_platform.core.merge import MergePlan
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.pipeline.diagnose import Diagnosis, Waiting, diagnose
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import read_settings

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
    found = diagnose(Lake(settings.lake_uri), source, table, budget=budget, limit_bytes=settings.partition_max_bytes)
    if screen.is_json:
        screen.emit(as_json(found))
    else:
        _print(screen, found, budget)


def as_json(found: Diagnosis) -> dict[str, Any]:
    """One object; sizes in bytes."""
    findings, files = found.findings, found.snapshot.files
    return {
        "table": findings.table,
        "delta_version": found.snapshot.version,
        "rows": found.snapshot.rows,
        "bytes": found.snapshot.size_bytes,
        "files": files.height,
        "leaves": _leaves(files).to_dicts(),
        "row_groups": len(findings.row_groups),
        "widest_row_group_bytes": findings.widest_row_group_bytes,
        "mean_overlapping_files": findings.mean_overlaps,
        "key_filters": len(findings.filtered_paths),
        "key_filter_bytes": found.filter_bytes,
        "waiting": _waiting_json(found.waiting) if found.waiting is not None else None,
        "advice": advice(findings),
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


def _print(screen: Terminal, found: Diagnosis, budget: MemoryBudget) -> None:
    findings, snapshot = found.findings, found.snapshot
    screen.out.print(
        f"{findings.table}: {snapshot.rows:,} rows, {format_bytes(snapshot.size_bytes)} in {snapshot.files.height:,} "
        f"files, version {snapshot.version}\n",
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
        screen.out.print(f"and {leaves.height - LEAVES_SHOWN:,} smaller leaves")
    for line in [*_facts(found), *_waiting_lines(found.waiting, budget), *_advice_lines(found)]:
        screen.out.print(line, markup=False, soft_wrap=True)


def _facts(found: Diagnosis) -> list[str]:
    findings = found.findings
    widest = format_bytes(findings.widest_row_group_bytes)
    lines = [f"\nrow groups   {len(findings.row_groups):,} read, the widest {widest} before compression"]
    if findings.first_key is None:
        return [*lines, "keys         none: rows are told apart by their content"]
    mean = findings.mean_overlaps
    told = "have no bounds in the log" if mean is None else f"meet those of {mean:.1f} other files on average"
    filters = f"{len(findings.filtered_paths):,} of {found.snapshot.files.height:,} files"
    return [
        *lines,
        f"keys         bounds of {findings.first_key} {told}",
        f"key filters  {filters}, {format_bytes(found.filter_bytes)}",
    ]


def _waiting_lines(waiting: Waiting | None, budget: MemoryBudget) -> list[str]:
    if waiting is None:
        return ["next flush   nothing is staged"]
    return [
        f"next flush   {waiting.staged_rows:,} staged rows of attempt {waiting.attempt_id}: "
        + _plan(waiting.plan, budget)
    ]


def _plan(plan: MergePlan, budget: MemoryBudget) -> str:
    return (
        f"of {plan.considered_files:,} files {plan.filtered_files:,} are ruled out by filters, the keys of "
        f"{plan.probed_files:,} are read, {len(plan.removes):,} are rewritten; {plan.updated_rows:,} rows updated in "
        f"{len(plan.leaves):,} leaves; predicted memory {format_bytes(plan.predicted_bytes)} of "
        f"{format_bytes(budget.total_bytes)}"
    )


def _advice_lines(found: Diagnosis) -> list[str]:
    said = advice(found.findings)
    return [f"\n{number}. {text}" for number, text in enumerate(said, start=1)] or ["\nnothing to do"]
