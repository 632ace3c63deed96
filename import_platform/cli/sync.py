"""`sync` and `backfill`: the same runs that Dagster's schedules start, watched from a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import typer

from import_platform.assets.repair_table import ENRICH
from import_platform.cli.progress import observing
from import_platform.cli.summary import conclude, reporting_failure
from import_platform.cli.terminal import Terminal
from import_platform.components.loading import Catalog, load_sources
from import_platform.core.report import Observer, SyncReport
from import_platform.demo.server import source_for_commands
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.lake import Lake
from import_platform.jobs.launch import Order, launch_backfill, launch_sync
from import_platform.jobs.repartition_launch import launch_maintenance, tables_to_maintain
from import_platform.jobs.selection import known_table
from import_platform.pipeline.feeding import check_were_read
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import read_settings

FILES = "files"
"""The kind of a source whose tables can be read again file by file."""


@dataclass(frozen=True)
class Resync:
    """How the tables are read again, and who pays: None leaves that to the kind of run."""

    full_refresh: bool = False
    drop: bool = False
    is_sure: bool = False
    billable: bool | None = None


def run(screen: Terminal, selection: Sequence[str], resync: Resync, *, parallel: int) -> None:
    """Brings the selected tables up to date, every declared one when nothing is selected.

    Raises ConfigError for a deletion that is not confirmed, or of tables that are not named.
    """
    if resync.drop:
        _confirm_drop(selection, resync)

    def launch(observer: Observer) -> list[SyncReport]:
        order = Order(full_refresh=resync.full_refresh, drop=resync.drop, billable=resync.billable)
        return launch_sync(selection, sources=load_sources(), order=order, observer=observer, parallel=parallel)

    with source_for_commands(selection=selection):
        _launch(screen, ", ".join(selection), launch)


def _confirm_drop(selection: Sequence[str], resync: Resync) -> None:
    if not resync.full_refresh or not selection or not all("/" in word for word in selection):
        raise ConfigError(
            "--drop deletes named tables before a --full-refresh",
            remedy="Write it like sync shop/orders --full-refresh --drop.",
        )
    question = f"Delete {', '.join(selection)} from the lake, and read it again from the source?"
    if not resync.is_sure and not (sys.stdin.isatty() and typer.confirm(question, err=True)):
        raise ConfigError("nothing was deleted", remedy="Confirm it, or give --yes.")


def backfill(
    screen: Terminal, table: str, keys: Sequence[str], *, files: Sequence[str] = (), only_missing: bool = False
) -> None:
    """Reads the rows of the named partitions again and puts them in place of those in the lake, or those of files; with
    `only_missing` asks for enrichments alone. Raises ConfigError for more than one of them, or none."""
    if [bool(keys), bool(files), only_missing].count(True) != 1:
        raise ConfigError(
            "a backfill is of named partitions, of files, or of missing enrichments only",
            remedy="Give --partition KEY or --file NAME, which may be repeated, or --only-missing.",
        )
    if files and "/" not in table:
        raise ConfigError("a backfill needs SOURCE/TABLE", found=table[:200], remedy="Write it like shop/orders.")
    if only_missing:
        _enrich(screen, table)
        return
    if files:
        _check_files(table, files)

    def launch(observer: Observer) -> list[SyncReport]:
        if files:
            return launch_sync([table], sources=load_sources(), order=Order(files=tuple(files)), observer=observer)
        return launch_backfill(table, keys, sources=load_sources(), observer=observer)

    with source_for_commands(selection=[table]):
        _launch(screen, table, launch)


def _check_files(table: str, files: Sequence[str]) -> None:
    """What is only misspelt is no fault of the table: no run is recorded, and no incident opened.

    Raises ConfigError: the table is unknown, is not made of files or not in the lake, or has read no such file.
    """
    name, _, wanted = table.partition("/")
    source = load_sources().source(name)
    known_table(source, wanted)
    if source.connection.kind != FILES:
        raise ConfigError(
            "only tables of files have files to be read again",
            table=table[:200],
            remedy="Read partitions again: --partition KEY.",
        )
    check_were_read(Lake(read_settings().lake_uri), name, wanted, files)


def _enrich(screen: Terminal, table: str) -> None:
    """Asks again for rows of a table whose enrichment has no answer, and puts the answers into the lake."""
    with source_for_commands(selection=[table]), reporting_failure(screen, table):
        sources = load_sources()
        reports, interrupted = repair(screen, tables_to_maintain(table, sources=sources), ENRICH, sources)
        conclude(screen, reports, interrupted=interrupted)


def repair(
    screen: Terminal, tables: Mapping[str, Sequence[str]], task: str, sources: Catalog, *, dry_run: bool = False
) -> tuple[list[SyncReport], bool]:
    """The reports of a repair of these tables, and whether it was interrupted."""
    memory_budget(read_settings().memory)
    try:
        with observing(screen.err) as observer:
            return launch_maintenance(
                tables, {"task": task, "dry_run": dry_run}, sources=sources, observer=observer
            ), False
    except Interrupted as error:
        return error.report or [], True


def _launch(screen: Terminal, tables: str, launch: Callable[[Observer], list[SyncReport]]) -> None:
    interrupted = False
    with reporting_failure(screen, tables):
        # What is wrong for every table is said once, as a configuration error, before a run is recorded.
        settings = read_settings()
        memory_budget(settings.memory)
        Lake(settings.lake_uri)
        try:
            with observing(screen.err) as observer:
                reports = launch(observer)
        except Interrupted as error:
            reports, interrupted = error.report or [], True
        conclude(screen, reports, interrupted=interrupted)
