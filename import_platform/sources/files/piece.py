"""What every reader gives: some rows of a part of a file as columns, and where to go on after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from import_platform.core.budget import format_bytes
from import_platform.core.rejected import UNPARSED
from import_platform.sources.files.declaration import Files
from import_platform.sources.files.opened import Part

Numbers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]
ROW_BYTES_MAX = 64 << 20
"""Of a row whose width nobody limits."""
BAD_TEXT_MAX = 1 << 14
"""Characters that are kept of a record that cannot be read."""


@dataclass(frozen=True)
class Bad:
    """A row that cannot be read: its number in the part (0: the part itself), and where that is, for people; `values`
    are {UNPARSED: its text}, where it could be had."""

    row: int
    reason: str
    values: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class Piece:
    """Rows as the file has them. `numbers` are those of the rows in their part, from 1, `items` those of child rows
    in their record. A reader that begins with `at` goes on after this piece. `misfits` are positions in the batch with
    column and reason, `gone` the rows that only say that others are gone (None: none). `ahead_bytes` were read for rows
    that come later."""

    batch: pa.RecordBatch
    numbers: Numbers
    at: Mapping[str, int]
    items: Numbers | None = None
    bad: tuple[Bad, ...] = ()
    misfits: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    gone: Marks | None = None
    ahead_bytes: int = 0


@dataclass(frozen=True)
class Reading:
    """One part to be read: from the start, or from where an earlier piece ended."""

    table: Files
    part: Part
    begin: Mapping[str, int]
    limit_bytes: int
    row_bytes_max: int

    @property
    def row(self) -> int:
        """Rows that are read already."""
        return int(self.begin.get("row", 0))

    def too_wide(self, row: int) -> Bad:
        return Bad(row, f"the row is wider than {format_bytes(self.row_bytes_max)}, which memory allows")


Reader = Callable[[Reading], Iterator[Piece]]


def numbered(first: int, count: int, without: Mapping[int, Any] | set[int] = frozenset()) -> Numbers:  # type: ignore[assignment]
    """Row numbers from `first` on for `count` rows that were read, those that failed left out."""
    numbers = np.arange(first, first + count + len(without), dtype=np.int64)
    return numbers[~np.isin(numbers, list(without))] if without else numbers


def raw(data: bytes) -> Mapping[str, str | None]:
    """The text of a record that is set apart, as much as is kept of it."""
    text = data[: 4 * BAD_TEXT_MAX].decode("utf-8", "backslashreplace")
    cut = len(text) > BAD_TEXT_MAX or len(data) > 4 * BAD_TEXT_MAX
    return {UNPARSED: f"{text[:BAD_TEXT_MAX]}… ({len(data)} bytes)" if cut else text}


def empty() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([], names=[])
