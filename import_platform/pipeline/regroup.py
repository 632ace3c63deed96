"""A declared grouping brought up to date: a whole set of files each time its rows have changed, and no work otherwise.

    <output>/_grouped.json          names the set that counts; replaced in one step when the next set is whole
    <output>/g-<digest>/part-*.parquet, or g-<digest>/<share>/part-*.parquet

The name of a set is a digest of its rows and its declaration. So a killed run goes on in its own set, rows that are as
they were need no new one, and whoever asks the manifest reads all of the old groups or all of the new.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from import_platform.core.budget import MemoryBudget
from import_platform.core.grouping import DeclaredGrouping, GroupReport
from import_platform.core.groups import GroupBy, OutOfOrder
from import_platform.core.report import Observer, Stage, Status
from import_platform.errors import ConfigError, SourceUnavailable
from import_platform.io.external_sort import sorted_files
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet_files import ParquetFiles
from import_platform.io.store import Store
from import_platform.pipeline.check_order import check_columns
from import_platform.pipeline.group_input import GroupInput, input_of
from import_platform.pipeline.group_ordered import Output, group_ordered, total
from import_platform.pipeline.measured import measured_as

MANIFEST = "_grouped.json"
FORMAT = 2
"""Part of every set's name, so that sets written in another way are made anew."""
_SET = re.compile(r"g-[0-9a-f]{16}")


@dataclass(frozen=True)
class Regrouping:
    """What a grouping works with. `scratch` is where rows are sorted."""

    lake: Lake
    budget: MemoryBudget
    observer: Observer
    stop: Callable[[], bool]
    scratch: Path


def regroup(work: Regrouping, declared: DeclaredGrouping) -> GroupReport:
    """Groups the rows, unless the output holds the groups of these very rows already. One run at a time.

    Memory: as `group_ordered`. Raises ConfigError, OutOfOrder, MemoryBudgetExceeded, StoreUnavailable,
    SourceUnavailable (the files changed meanwhile), Interrupted; after any of them the set before still counts.
    """
    report = GroupReport(declared.name, out=declared.output)
    return measured_as(report, work.budget, lambda _, watch: _Folder(work, declared, report, watch).bring_up_to_date())


@dataclass
class _Folder:
    work: Regrouping
    declared: DeclaredGrouping
    report: GroupReport
    watch: MemoryWatch

    def bring_up_to_date(self) -> None:
        self.store = Store(self.declared.output, setting="output")
        counting = self._counting()
        found = input_of(self.work.lake, self.declared)
        grouping = self.declared.group_by(found.columns)
        name = _set_name(self.declared, grouping, found)
        self._remove_sets_but(counting.get("set"), name)
        if counting.get("set") == name:
            self.report.rows_read, self.report.groups = counting["rows"], counting["groups"]
            self.report.groups_left_out = counting["groups_left_out"]
            self.report.files = len(counting["files"])
            return
        check_columns(found.files, grouping.columns)
        self._write(name, found, grouping)
        # Files of the lake never change, and a version that is newer by now is the next run's.
        if self.declared.table is None and input_of(self.work.lake, self.declared).identity != found.identity:
            raise SourceUnavailable(
                "files changed while they were grouped", grouping=self.declared.name, remedy="Group them again."
            )
        self.store.put(MANIFEST, json.dumps(self._entry(name), indent=1).encode())
        self._remove_sets_but(name)
        self.report.status = Status.DONE

    def _counting(self) -> dict[str, Any]:
        """The manifest, empty where there is none yet.

        Raises:
            ConfigError: the folder is another grouping's, or holds something else.
        """
        data = self.store.get(MANIFEST)
        manifest: dict[str, Any] = json.loads(data) if data else {}
        other = manifest.get("grouping", self.declared.name)
        known = {MANIFEST, *(name for name in self.store.folders("") if _SET.fullmatch(name))}
        if other != self.declared.name or any(e.path.split("/")[0] not in known for e in self.store.entries("")):
            raise ConfigError(
                "the output folder holds something else",
                folder=self.declared.output,
                grouping=self.declared.name,
                remedy="Name a folder that no other grouping and nobody else writes to.",
            )
        return manifest

    def _write(self, name: str, found: GroupInput, grouping: GroupBy) -> None:
        output = Output(Store(f"{self.store.uri}/{name}", setting="output"), self.declared.shares)
        with self._in_order(found.files, grouping) as files, violations_counted(self.report):
            done = group_ordered(
                files,
                grouping,
                output,
                budget=self.work.budget,
                watch=self.watch,
                on_rows=self._progress(files),
                stop=self.work.stop,
                replace=True,
            )
        self.report.spans_resumed, self.report.resumed = done.resumed, done.resumed > 0
        self.report.rows_read, self.report.groups, self.report.groups_left_out = total(output)

    @contextmanager
    def _in_order(self, files: ParquetFiles, grouping: GroupBy) -> Iterator[ParquetFiles]:
        if not self.declared.sort or not files.names:
            yield files
            return
        self.work.observer.note(self.declared.name, "sorting on disk")
        work = self.work
        with sorted_files(
            files, grouping.columns, grouping.ordered, budget=work.budget, scratch=work.scratch, stop=work.stop
        ) as ordered:
            yield ordered

    def _progress(self, files: ParquetFiles) -> Callable[[int], None]:
        all_rows = sum(files.footer(name).num_rows for name in files.names)
        counted, lock = [0], threading.Lock()

        def on_rows(rows: int) -> None:
            with lock:
                counted[0] += rows
                self.work.observer.progress(
                    self.declared.name, Stage.READING, rows=counted[0], bytes_=0, total_rows=all_rows
                )

        return on_rows

    def _entry(self, name: str) -> dict[str, Any]:
        found = sorted(entry.path for entry in self.store.entries(name) if entry.path.endswith(".parquet"))
        self.report.files = self.report.files_added = len(found)
        return {
            "grouping": self.declared.name,
            "set": name,
            "files": found,
            "rows": self.report.rows_read,
            "groups": self.report.groups,
            "groups_left_out": self.report.groups_left_out,
        }

    def _remove_sets_but(self, *kept: str | None) -> None:
        for name in self.store.folders(""):
            if _SET.fullmatch(name) and name not in kept:
                self.store.remove_folder(name)


@contextmanager
def violations_counted(report: GroupReport) -> Iterator[None]:
    """Tells the report of the row that ends a grouping."""
    try:
        yield
    except OutOfOrder:
        report.violations = 1  # the first one ends it
        raise


def _set_name(declared: DeclaredGrouping, grouping: GroupBy, found: GroupInput) -> str:
    told = [FORMAT, found.identity, asdict(grouping), list(declared.shares.items()), declared.sort]
    return f"g-{hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()}"
