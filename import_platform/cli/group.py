"""`group 'GLOB' --by a --order-by t --out FOLDER`: ordered rows of Parquet files as one row per key with lists."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from import_platform.cli.terminal import Terminal
from import_platform.core.budget import format_bytes
from import_platform.core.groups import GroupBy
from import_platform.errors import ConfigError
from import_platform.io.external_sort import sorted_files
from import_platform.io.memory import MemoryWatch, tame_allocators
from import_platform.io.parquet_files import ParquetFiles, find
from import_platform.io.scratch import scratch_folder
from import_platform.io.store import Store
from import_platform.pipeline.check_order import check_columns
from import_platform.pipeline.group_ordered import GroupedFiles, Output, emptied, group_ordered
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
    tame_allocators()
    files = find(asked.pattern)
    grouping = _grouping(asked, files.schema(files.names[0]).names)
    check_columns(files, grouping.columns)
    budget = memory_budget(read_settings().memory)
    output = Output(Store(asked.out), _shares(asked.shares))
    if asked.overwrite:
        emptied(output)
    began = time.monotonic()
    with MemoryWatch(budget.total_bytes) as watch:
        if asked.sort:
            columns, scratch = grouping.columns, scratch_folder("import_platform")
            with sorted_files(files, columns, grouping.ordered, budget=budget, scratch=scratch) as ordered:
                done = _group(screen, ordered, grouping, output, watch)
        else:
            done = _group(screen, files, grouping, output, watch)
    _tell(screen, asked, done, time.monotonic() - began, watch.peak_bytes)


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
    by, order_by = _names(asked.by), _names(asked.order_by)
    ordered = [*by, *order_by]
    if not by or len(set(ordered)) < len(ordered):
        raise ConfigError(
            "--by and --order-by need the columns of the order, each once",
            found=ordered,
            remedy="Write --by address --order-by measured_at with names of columns.",
        )
    lists = _names(asked.columns) or tuple(name for name in columns if name not in by)
    if set(lists) & set(by):
        raise ConfigError(
            "a column of the key cannot become a list too",
            found=sorted(set(lists) & set(by)),
            remedy="Leave it out of --columns.",
        )
    return GroupBy(by, order_by, lists)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _shares(texts: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = -1.0
        if not _NAME.fullmatch(name) or not 0 < shares[name] <= 1:
            raise ConfigError("--split is not a name and a share", found=text, remedy="Write --split train=0.8.")
    if sum(shares.values()) > 1 + 1e-9 or len(shares) < len(texts):
        raise ConfigError(
            "the shares of --split are more than everything, or one stands there twice",
            found=list(texts),
            remedy="Let them add up to 1, or less to leave some keys out.",
        )
    return shares


def _tell(screen: Terminal, asked: Asked, done: GroupedFiles, seconds: float, peak_bytes: int) -> None:
    told = {
        "out": asked.out,
        "rows": done.rows,
        "groups": done.groups,
        "files": done.parts,
        "spans_resumed": done.resumed,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_bytes,
    }
    if screen.is_json:
        screen.emit(told)
        return
    resumed = f", {done.resumed} spans were done before" if done.resumed else ""
    screen.out.print(
        f"{done.rows:,} rows in {done.groups:,} groups, {done.parts} files in {asked.out}{resumed}; {seconds:.1f} s "
        f"({done.rows / max(seconds, 1e-9):,.0f} rows/s), peak memory {format_bytes(peak_bytes)}"
    )


_NAME = re.compile(r"[A-Za-z0-9_-]+")
