"""`check [SOURCE]`: everything a sync rests on, tried for real, one line each, with what to do about what fails."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.text import Text

from import_platform.cli.found import Found, judge, partition_text
from import_platform.cli.terminal import Failed, Terminal, grid
from import_platform.components.external_source import ExternalSource
from import_platform.components.grouping import Grouping
from import_platform.components.loading import BrokenSource, Catalog, load_sources
from import_platform.core.budget import format_bytes
from import_platform.core.table import TableInfo
from import_platform.core.wording import counted
from import_platform.demo.server import source_for_commands
from import_platform.errors import ImportPlatformError, InvariantBroken, ended
from import_platform.io.lake import Lake
from import_platform.io.store import LAKE
from import_platform.io.store_probe import probe_conditional_put
from import_platform.own_folder import own_folder
from import_platform.pipeline.check_order import check_columns
from import_platform.pipeline.group_input import input_of
from import_platform.pipeline.parents import LakeParents
from import_platform.resources.home import prepare_home
from import_platform.resources.memory import SHARE_PERCENT, memory_budget
from import_platform.resources.platform import PlatformResource
from import_platform.resources.project import Settings, read_settings
from import_platform.resources.snapshots import save_snapshot
from import_platform.sources.live import live_check
from import_platform.sources.protocol import ReadsLake, Source, Warns

LOST_ON_POLARS = re.compile(r'[ "#<=>?`{}]|[^\x00-\x7f]')
"""In a lake's address. Polars 2.1 looks for files under the escaped path, and takes `a=b` in it for a column."""


@dataclass(frozen=True)
class Line:
    """One result. `subject` is a source, a table or the part of the platform; `exit_code` 0 means it works, and
    `is_warning` that somebody may be surprised all the same, by what is most likely a slip."""

    subject: str
    check: str
    result: str
    exit_code: int = 0
    is_warning: bool = False

    @property
    def is_ok(self) -> bool:
        return self.exit_code == 0


def run(screen: Terminal, source_name: str | None) -> None:
    """Raises Failed: with 2 if anything is configured wrongly, else with 1 if anything does not work."""
    lines = []
    with source_for_commands(selection=[source_name] if source_name else []):
        settings = read_settings()
        catalog = load_sources(settings.defs_folders)
        if source_name is not None:
            catalog = Catalog((catalog.source(source_name),), ())
        with screen.err.status("checking ..."):
            for line in _lines(settings, catalog, live=source_name is not None):
                lines.append(line)
                if screen.is_json:
                    screen.emit({**asdict(line), "ok": line.is_ok})
    if not screen.is_json:
        _print(screen, lines)
    worst = max((line.exit_code for line in lines), default=0)
    if worst:
        raise Failed(worst)


def _lines(settings: Settings, catalog: Catalog, *, live: bool) -> Iterator[Line]:
    yield _memory(settings)
    yield _home(settings)
    yield _scratch()
    lake_lines = list(_lake(settings.lake_uri))
    yield from lake_lines
    lake = Lake(settings.lake_uri) if all(line.is_ok for line in lake_lines) else None
    for broken in catalog.broken:
        yield from _broken(broken)
    for source in catalog.sources:
        yield from _source(source, settings, lake, live=live)
    for grouping in catalog.groupings:
        yield _grouping(grouping, catalog, lake)
    if not (catalog.sources or catalog.broken or catalog.groupings):
        folders = ", ".join(str(folder) for folder in settings.defs_folders)
        yield Line("sources", "declared", f"none yet; put <source>/defs.yaml into {folders}")


def _memory(settings: Settings) -> Line:
    try:
        budget = memory_budget(settings.memory)
    except ImportPlatformError as error:
        return _failed("memory", "budget", error)
    default = f"{SHARE_PERCENT} % of what this machine or container allows"
    origin = "IMPORT_PLATFORM_MEMORY" if settings.memory else default
    return Line(
        "memory",
        "budget",
        f"{format_bytes(budget.total_bytes)}, from {origin}; {format_bytes(budget.free_bytes)} of it are free for work",
    )


def _home(settings: Settings) -> Line:
    try:
        prepare_home(settings.home)
    except ImportPlatformError as error:
        return _failed("home", "writable", error)
    return Line("home", "writable", str(settings.home))


def _scratch() -> Line:
    try:
        folder = own_folder("import_platform")
    except ImportPlatformError as error:
        return _failed("scratch", "writable", error)
    return Line("scratch", "writable", str(folder))


def _lake(uri: str) -> Iterator[Line]:
    try:
        store = Lake(uri).store
        probe = f"_staging/probe/{uuid.uuid4().hex}"
        store.put(probe, b"")
        store.delete([probe])
    except ImportPlatformError as error:
        yield _failed("lake", "writable", error)
        return
    yield Line("lake", "writable", store.uri)
    if lost := LOST_ON_POLARS.search(store.uri):
        sentence = (
            f"Polars finds no rows at a path with {lost[0]!r}; query, DuckDB and deltalake do. "
            f"If you need it, move the lake and set {LAKE}."
        )
        yield Line("lake", "readers", sentence, is_warning=True)
    try:
        probe_conditional_put(store)
    except ImportPlatformError as error:
        yield _failed("lake", "conditional put", error)
        return
    yield Line("lake", "conditional put", "honoured")


def _grouping(grouping: Grouping, catalog: Catalog, lake: Lake | None) -> Line:
    """Whether its rows are there and have the columns; not whether they are in order, which takes reading them."""
    declared = grouping.declared
    if lake is None:
        return Line(grouping.name, "grouping", "waits for the lake")
    try:
        if declared.table is not None and declared.table not in lake.tables():
            catalog.source(declared.table[0])
            return Line(grouping.name, "grouping", f"waits for the first sync of {'/'.join(declared.table)}")
        found = input_of(lake, declared)
        check_columns(found.files, declared.group_by(found.columns).columns)
    except ImportPlatformError as error:
        return _failed(grouping.name, "grouping", error)
    return Line(grouping.name, "grouping", f"{counted(len(found.files.names), 'file')}, by {', '.join(declared.by)}")


def _broken(source: BrokenSource) -> Iterator[Line]:
    for problem in source.problems:
        yield Line(
            source.name, "defs.yaml", f"{ended(str(problem))} Correct it; the other sources go on without this one.", 2
        )


def _source(source: ExternalSource, settings: Settings, lake: Lake | None, *, live: bool) -> Iterator[Line]:
    """Of one source asked for by name, a page of each declared table too."""
    yield Line(source.name, "defs.yaml", str(source.origin.path) if source.origin else "loads")
    try:
        source.connection.resolve()
        yield Line(source.name, "variables", ", ".join(source.connection.variables) or "none needed")
        with PlatformResource().source(source.config) as connection:
            yield Line(source.name, "connection", connection.check())
            infos = connection.discover()
            slips = _slips(connection, infos)
    except ImportPlatformError as error:
        yield _failed(source.name, "connection", error)
        return
    save_snapshot(settings.snapshots_folder, source.name, infos)
    if lake is None:
        return
    declared = [found for found in judge(source, infos, lake) if found.is_declared]
    for found in declared:
        yield _table(source.name, found)
        subject = f"{source.name}/{found.name}"
        yield from (Line(subject, "declaration", slip, is_warning=True) for slip in slips.get(found.name, ()))
    if live:
        yield from _pages(source, lake, declared)


def _slips(connection: Source, infos: Sequence[TableInfo]) -> Mapping[str, Sequence[str]]:
    names = [info.name_in_lake for info in infos]
    return {name: connection.warnings(name) for name in names} if isinstance(connection, Warns) else {}


def _pages(source: ExternalSource, lake: Lake, declared: list[Found]) -> Iterator[Line]:
    with PlatformResource().source(source.config) as connection:
        if isinstance(connection, ReadsLake):
            connection.use_parents(LakeParents(lake, source.name))
        for found in declared:
            if found.has_no_rows:
                yield Line(f"{source.name}/{found.name}", "page", "0 rows")
            elif found.spec is not None:
                page = live_check(connection, found.spec.info)
                code = page.error.exit_code if page.error is not None else 0
                yield Line(f"{source.name}/{found.name}", "page", page.sentence, code)


def _table(source: str, found: Found) -> Line:
    subject = f"{source}/{found.name}"
    if found.has_no_rows:
        return Line(subject, "table", str(found.error))
    if found.spec is None:
        return _failed(subject, "table", found.error or InvariantBroken("a table that cannot be synced has no reason"))
    spec = found.spec
    facts = [spec.sync.value]
    if spec.cursor:
        facts.append(f"cursor {spec.cursor}")
    facts.append(f"key {', '.join(spec.primary_key)}" if spec.primary_key else "no key")
    facts.append(f"partition {partition_text(spec.partition)}")
    return Line(subject, "table", "; ".join(facts))


def _failed(subject: str, check: str, error: ImportPlatformError) -> Line:
    return Line(subject, check, str(error), error.exit_code)


_OK, _FAILED, _WARNING = Text("ok", style="green"), Text("failed", style="red"), Text("warning", style="yellow")


def _print(screen: Terminal, lines: list[Line]) -> None:
    table = grid("", "what", "check", "result", left=frozenset({"what", "check", "result"}))
    for line in lines:
        mark = _OK if line.is_ok else _FAILED
        mark = _WARNING if line.is_warning else mark
        table.add_row(mark, Text(line.subject), Text(line.check), Text(line.result, style="" if line.is_ok else "red"))
    screen.out.print(table)
    failed, warned = sum(not line.is_ok for line in lines), sum(line.is_warning for line in lines)
    tried = counted(len(lines), "check")
    told = f"{failed} of {tried} failed" if failed else f"all {tried} passed"
    screen.out.print(f"\n{told}" + (f", {counted(warned, 'warning')}" if warned else ""))
