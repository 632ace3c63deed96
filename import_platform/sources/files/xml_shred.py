"""Records of a stream as rows of several tables at once: cut by bytes, parsed in groups, taken by a compiled sheet.

Parsing and taking run in C without Python's lock, so two threads share them. A group that is not regular is looked at
record by record: a record that does not parse is set apart with its text, and the file goes on.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from lxml import etree

from import_platform.sources.files.declaration import Files
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Bad, Numbers, empty, raw
from import_platform.sources.files.xml_cut import BROKEN_MAX, Broken, Cutter, Group, parser
from import_platform.sources.files.xml_paths import element_path, qualified, value_path
from import_platform.sources.files.xml_sheet import Sheet, Taken, Wanted
from import_platform.sources.files.xml_take import Taking, many_reason

TASK_BYTES = 4 << 20
WORKERS = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
AHEAD = 2 * WORKERS
"""Tasks that are begun or done and not taken yet: workers have some left while rows are written to disk."""
_FIRST_NAME = re.compile(rb"<[^\s/>]+")


@dataclass(frozen=True)
class Rows:
    """One table's rows of some records."""

    batch: pa.RecordBatch
    numbers: Numbers
    items: Numbers | None
    bad: tuple[Bad, ...]


@dataclass(frozen=True)
class Stretch:
    """Records up to number `upto`, as rows of each table, and how much XML they were."""

    upto: int
    rows: tuple[Rows, ...]
    size_bytes: int


class Shredder:
    """Tables that are made of the same records. Records up to number `done` are passed over.

    Memory: six tasks of 4 MB and what becomes of them, or one record that is larger.
    """

    def __init__(self, tables: Sequence[Files], *, row_bytes_max: int, done: int = 0) -> None:
        self._tables = tuple(tables)
        self._tag = qualified(tables[0].record, tables[0])
        self._row_bytes_max = row_bytes_max
        self._done = done
        self._wanted = [_wanted(table) for table in tables]
        self._quick = [i for i, table in enumerate(tables) if table.columns]
        self._own = threading.local()

    def stretches(self, read: Callable[[int], bytes]) -> Iterator[Stretch]:
        """In the order of the file. Raises FileDamaged as `Cutter.cut`; what came before is given first."""
        broken = 0
        for stretch in self._in_turn(self._tasks(read)):
            yield stretch
            broken += max((len(rows.bad) for rows in stretch.rows), default=0)
            if broken > BROKEN_MAX:
                raise FileDamaged(f"the file has more than {BROKEN_MAX} broken records")

    def _in_turn(self, tasks: Iterator[list[Group | Broken]]) -> Iterator[Stretch]:
        """The first task is done at once: who samples a file asks for no second one."""
        yield from map(self._shred, islice(tasks, 1))
        waiting: deque[Future[Stretch]] = deque()
        damage = None
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="xml")
        try:
            while True:
                try:
                    waiting.append(pool.submit(self._shred, next(tasks)))
                except StopIteration:
                    break
                except FileDamaged as error:
                    damage = error
                    break
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if damage is not None:
                raise damage
        finally:
            pool.shutdown(cancel_futures=True)

    def _tasks(self, read: Callable[[int], bytes]) -> Iterator[list[Group | Broken]]:
        """The first one is small, so that who looks at the first rows only does not wait for many."""
        cutter = Cutter(self._tag, row_bytes_max=self._row_bytes_max)
        task: list[Group | Broken] = []
        held, limit = 0, TASK_BYTES // 8
        try:
            for found in cutter.cut(read):
                if cutter.number <= self._done:
                    continue
                task.append(found)
                held += len(found.data)
                if held >= limit:
                    yield task
                    task, held, limit = [], 0, TASK_BYTES
        except FileDamaged:
            if task:
                yield task
            raise
        if task:
            yield task

    def _tools(self) -> _Tools:
        if not hasattr(self._own, "tools"):
            try:
                sheet = Sheet(self._tag, [self._wanted[i] for i in self._quick])
            except etree.LxmlError:  # a name that XML allows and XPath does not
                sheet = None
            self._own.tools = _Tools(parser(), parser(is_lean=True), sheet)
        tools: _Tools = self._own.tools
        return tools

    def _shred(self, task: Sequence[Group | Broken]) -> Stretch:
        tools = self._tools()
        taking = _Gathered(self._tables, self._wanted, self._quick if tools.sheet is not None else (), tools.sheet)
        for found in task:
            if isinstance(found, Broken):
                taking.reject(Bad(found.number, found.reason, raw(found.data)))
            else:
                self._take(found, tools.lean if found.is_plain else tools.whole, taking)
        last = task[-1]
        upto = last.number + (last.count - 1 if isinstance(last, Group) else 0)
        return Stretch(upto, taking.rows(after=self._done), sum(len(found.data) for found in task))

    def _take(self, group: Group, reader: Any, taking: _Gathered) -> None:
        numbers: Numbers = np.arange(group.number, group.number + group.count)
        root = _parsed(group.opening, group.data, reader)
        if root is not None and _is_records(root, self._tag, group.count):
            taking.take(root, group.data, numbers)
            return
        good, kept = [], []
        begins = group.begins or _begins(group.data)
        for number, begin, end in zip(numbers, begins, (*begins[1:], len(group.data)), strict=True):
            data = group.data[begin:end]
            try:
                root = etree.fromstring(b"".join((group.opening, data, _CLOSING)), reader)
            except etree.XMLSyntaxError as error:
                line, column = error.position
                column -= len(group.opening) if line == 1 else 0
                reason = f"the record does not parse (line {line} of it, sign {max(column, 0)})"
                taking.reject(Bad(int(number), reason, raw(data)))
                continue
            if _is_records(root, self._tag, 1):
                good.append(data)
                kept.append(int(number))
        root = _parsed(group.opening, b"".join(good), reader)
        if root is not None and kept:
            taking.take(root, b"".join(good), np.array(kept))


@dataclass(frozen=True)
class _Tools:
    """Of one thread: parsers for records with and without comments, and the sheet."""

    whole: Any
    lean: Any
    sheet: Sheet | None


_CLOSING = b"</import_platform>"


def _parsed(opening: bytes, data: bytes, reader: Any) -> Any:
    try:
        return etree.fromstring(b"".join((opening, data, _CLOSING)), reader)
    except etree.XMLSyntaxError:
        return None


def _is_records(root: Any, tag: str, count: int) -> bool:
    return len(root) == count and sum(1 for _ in root.iterchildren(tag)) == count


def _begins(data: bytes) -> tuple[int, ...]:
    """Where records begin that follow each other and are all written with the same tag."""
    name = _FIRST_NAME.match(data)
    if name is None:
        return (0,)
    return tuple(match.start() for match in re.finditer(re.escape(name[0]) + rb"[\s/>]", data))


def _wanted(table: Files) -> Wanted:
    steps = element_path(table.rows, table) if table.rows else ()
    paths = tuple(value_path(column, table) for column in table.columns)
    return Wanted(steps, paths, bool(table.rows), bool(table.rows and table.parent_key))


class _Gathered:
    """What is taken of a task. Mutable: it lives for one."""

    def __init__(
        self, tables: Sequence[Files], wanted: Sequence[Wanted], quick: Sequence[int], sheet: Sheet | None
    ) -> None:
        self._tables = tables
        self._wanted = wanted
        self._quick = tuple(quick)
        self._sheet = sheet
        self._slow = [i for i in range(len(tables)) if i not in self._quick]
        self._takings = [Taking(table, one) for table, one in zip(tables, wanted, strict=True)]
        self._texts: list[bytes] = []
        self._numbers: list[Numbers] = []
        self._sources: list[tuple[Numbers, bytes]] = []
        self._done: list[list[Rows]] = [[] for _ in tables]

    def reject(self, bad: Bad) -> None:
        for taking in self._takings:
            taking.bad.append(bad)

    def take(self, root: Any, data: bytes, numbers: Numbers) -> None:
        text = self._sheet.text(root, data) if self._sheet is not None and self._quick else None
        slow = self._slow
        if text is not None:
            self._texts.append(text)
            self._numbers.append(numbers)
            self._sources.append((numbers, data))
        elif self._quick:
            self._flush()
            slow = list(range(len(self._tables)))
        if slow:
            for element, number in zip(root, numbers.tolist(), strict=True):
                for i in slow:
                    self._takings[i].take(element, number)
            self._given(slow)

    def _flush(self) -> None:
        texts, self._texts = self._texts, []
        numbers, self._numbers = self._numbers, []
        if not texts or self._sheet is None:
            return
        every = np.concatenate(numbers)
        found = self._sheet.tables(texts, [len(one) for one in numbers])
        for i, taken in zip(self._quick, found, strict=True):
            self._done[i].append(self._quick_rows(i, taken, every))

    def _given(self, tables: Sequence[int]) -> None:
        for i in tables:
            rows = self._takings[i].rows()
            self._done[i].append(Rows(*rows))

    def _quick_rows(self, table: int, taken: Taken, every: Numbers) -> Rows:
        wanted = self._wanted[table]
        numbers = every[taken.records]
        items = _items(numbers) - wanted.stands_for_record if wanted.is_child else None
        names = [path.name for path in wanted.paths]
        batch = pa.RecordBatch.from_arrays(list(taken.columns), names=names)
        if not taken.many:
            return Rows(batch, numbers, items, ())
        bad = []
        for row, (name, count) in sorted(taken.many.items()):
            item = int(items[row]) if items is not None else 0
            number = int(numbers[row])
            bad.append(Bad(number, many_reason(name, count, item), raw(self._source(number))))
        keep = np.ones(len(numbers), np.bool_)
        keep[list(taken.many)] = False
        return Rows(batch.filter(pa.array(keep)), numbers[keep], items[keep] if items is not None else None, tuple(bad))

    def _source(self, number: int) -> bytes:
        """A record's own text."""
        for numbers, data in self._sources:
            if numbers[0] <= number <= numbers[-1]:
                begins = (*_begins(data), len(data))
                at = int(np.searchsorted(numbers, number))
                if len(begins) == len(numbers) + 1:
                    return data[begins[at] : begins[at + 1]]
        return b""

    def rows(self, *, after: int) -> tuple[Rows, ...]:
        """All of it, table by table, of records behind a number."""
        self._flush()
        self._given([i for i, taking in enumerate(self._takings) if taking.bad])
        return tuple(
            behind(together(parts, is_child=wanted.is_child), after)
            for parts, wanted in zip(self._done, self._wanted, strict=True)
        )


def _items(numbers: Numbers) -> Numbers:
    """The place of each row among those of its record, from 1."""
    places = np.arange(len(numbers))
    begins = np.flatnonzero(np.diff(numbers, prepend=-1))
    return (places - np.repeat(begins, np.diff(np.append(begins, len(numbers)))) + 1).astype(np.int64)


def together(parts: Sequence[Rows], *, is_child: bool) -> Rows:
    """One after the other."""
    if not parts:
        none = np.array([], np.int64)
        return Rows(empty(), none, none if is_child else None, ())
    if len(parts) == 1:
        return parts[0]
    tables = [pa.Table.from_batches([part.batch]) for part in parts if part.batch.num_rows]
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks().to_batches() if tables else []
    return Rows(
        whole[0] if whole else parts[0].batch,
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.items for part in parts if part.items is not None]) if is_child else None,
        tuple(bad for part in parts for bad in part.bad),
    )


def behind(rows: Rows, number: int) -> Rows:
    """Those of records behind a number."""
    if not number or ((not len(rows.numbers) or rows.numbers[0] > number) and all(b.row > number for b in rows.bad)):
        return rows
    keep = rows.numbers > number
    return Rows(
        rows.batch.filter(pa.array(keep)) if rows.batch.num_columns else rows.batch,
        rows.numbers[keep],
        rows.items[keep] if rows.items is not None else None,
        tuple(bad for bad in rows.bad if bad.row > number),
    )
