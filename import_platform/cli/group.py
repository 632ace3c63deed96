"""`group NAME` makes a declared grouping, `group 'GLOB' --by a --order-by t --out FOLDER` one of any Parquet files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from import_platform.cli.progress import observing
from import_platform.cli.summary import leave, reporting_failure
from import_platform.cli.terminal import Terminal
from import_platform.components.loading import load_sources
from import_platform.core.budget import format_bytes
from import_platform.core.grouping import DeclaredGrouping, GroupReport, order_problem, shares_problem
from import_platform.core.groups import GroupBy
from import_platform.core.report import Status
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.external_sort import sorted_files
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch, tame_allocators
from import_platform.io.parquet_files import ParquetFiles, find
from import_platform.io.store import Store
from import_platform.jobs.group_launch import launch_group
from import_platform.own_folder import own_folder
from import_platform.pipeline.check_order import check_columns
from import_platform.pipeline.group_ordered import GroupedFiles, Output, emptied, group_ordered
from import_platform.pipeline.regroup import violations_counted
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import read_settings


@dataclass(frozen=True)
class Asked:
    """The command line. `shares` are like `train=0.8`."""

    pattern: str
    by: str
    order_by: str
    out: str
    columns: str = ""
    shares: Sequence[str] = ()
    sort: bool = False
    overwrite: bool = False


def run(screen: Terminal, asked: Asked) -> None:
    """Raises ConfigError for bad usage, OutOfOrder and MemoryBudgetExceeded as `group_ordered`; what is done stays."""
    report = GroupReport(asked.pattern, out=asked.out)
    with reporting_failure(screen, asked.pattern, report), violations_counted(report):
        if asked.by or asked.out:
            _files(screen, asked, report)
        else:
            _declared(screen, asked)


def _files(screen: Terminal, asked: Asked, report: GroupReport) -> None:
    if not (asked.by and asked.out):
        raise ConfigError(
            "files are grouped by --by into --out", remedy="Give both, or neither to make a declared grouping."
        )
    tame_allocators()
    files = find(asked.pattern)
    grouping = _grouping(asked, files.schema(files.names[0]).names)
    check_columns(files, grouping.columns)
    budget = memory_budget(read_settings().memory)
    output = Output(Store(asked.out, setting="--out"), _shares(asked.shares))
    if asked.overwrite:
        emptied(output)
    began = time.monotonic()
    with MemoryWatch(budget.total_bytes) as watch:
        if asked.sort:
            columns, scratch = grouping.columns, own_folder("import_platform")
            with sorted_files(files, columns, grouping.ordered, budget=budget, scratch=scratch) as ordered:
                done = _group(screen, ordered, grouping, output, watch)
        else:
            done = _group(screen, files, grouping, output, watch)
    report.status, report.rows_read, report.spans_resumed = Status.DONE, done.rows, done.resumed
    report.groups, report.groups_left_out, report.files = done.groups, done.left_out, done.parts
    report.seconds, report.peak_memory_bytes = round(time.monotonic() - began, 3), watch.peak_bytes
    _tell(screen, report)


def _declared(screen: Terminal, asked: Asked) -> None:
    """Through Dagster, so that the UI shows run and log."""
    if asked != Asked(asked.pattern, "", "", ""):
        raise ConfigError(
            "a declared grouping takes no options", remedy="Write them into its defs.yaml, or give --by and --out."
        )
    catalog = load_sources()
    grouping = catalog.grouping(asked.pattern)
    table = grouping.declared.table
    if table is not None and table not in Lake(read_settings().lake_uri).tables():
        catalog.source(table[0])
    with observing(screen.err) as observer:
        report = launch_group(grouping.name, grouping.definitions(), grouping.key, observer)
    _tell(screen, report)
    leave(screen, [report], interrupted=False)


def _group(
    screen: Terminal, files: ParquetFiles, grouping: GroupBy, output: Output, watch: MemoryWatch
) -> GroupedFiles:
    budget = memory_budget(read_settings().memory)
    total = sum(files.footer(name).num_rows for name in files.names)
    with _bar(screen, total) as on_rows:
        return group_ordered(files, grouping, output, budget=budget, watch=watch, on_rows=on_rows)


@contextmanager
def _bar(screen: Terminal, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("grouping"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as progress:
        task = progress.add_task("grouping", total=total)
        yield lambda rows: progress.advance(task, rows)


def _grouping(asked: Asked, columns: Sequence[str]) -> GroupBy:
    by, order_by, chosen = _names(asked.by), _names(asked.order_by), _names(asked.columns)
    problem = order_problem(by, order_by, chosen)
    if problem:
        raise ConfigError(
            problem,
            found=[*by, *order_by, *chosen],
            remedy="Write --by address --order-by measured_at with names of columns, and no key under --columns.",
        )
    return DeclaredGrouping("", asked.out, by, order_by, chosen or None).group_by(columns)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _shares(texts: Sequence[str]) -> dict[str, float]:
    shares: list[tuple[str, float]] = []
    for text in texts:
        name, _, share = text.partition("=")
        if not _NAME.fullmatch(name) or not _NUMBER.fullmatch(share):
            raise ConfigError("--split is not a name and a share", found=text, remedy="Write --split train=0.8.")
        shares.append((name, float(share)))
    problem = shares_problem(shares)
    if problem:
        raise ConfigError(
            problem,
            found=list(texts),
            remedy="Let them add up to 1, or less to leave some keys out, --split train=0.8.",
        )
    return dict(shares)


def _tell(screen: Terminal, report: GroupReport) -> None:
    if screen.is_json:
        screen.emit(report.as_json())
        return
    if report.status is Status.FAILED:
        screen.fail(f"{report.table}: {report.error}")
        return
    if report.status is Status.UNCHANGED:
        groups = f"{counted(report.groups, 'group')} of {counted(report.rows_read, 'row')}"
        screen.out.print(f"{report.table} is up to date: {groups}{_left_out(report)}")
        return
    resumed = f", {counted(report.spans_resumed, 'span')} done before" if report.spans_resumed else ""
    screen.out.print(
        f"{counted(report.rows_read, 'row')} in {counted(report.groups, 'group')}{_left_out(report)}, "
        f"{counted(report.files, 'file')} in {report.out}{resumed}; "
        f"{report.seconds:.1f} s ({report.rows_read / max(report.seconds, 1e-9):,.0f} rows/s), "
        f"peak memory {format_bytes(report.peak_memory_bytes)}"
    )


def _left_out(report: GroupReport) -> str:
    if not report.groups_left_out:
        return ""
    written = report.groups - report.groups_left_out
    return f" ({written:,} written, {report.groups_left_out:,} left out by shares of less than 1)"


_NUMBER = re.compile(r"[0-9]*\.?[0-9]+")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
