"""Memory budgets as values: how many bytes each stage of a sync may hold, derived from one number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa

from import_platform.errors import ConfigError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MINIMUM_BYTES = 320 * MIB
"""Imports alone take about 180 MiB of PSS (dagster, polars, pyarrow, deltalake); below this nothing useful fits."""

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}{suffix}": 10 ** (3 * power) for power, letter in enumerate("kmgt", 1) for suffix in ("", "b")},
    **{f"{letter}{suffix}": 1 << (10 * power) for power, letter in enumerate("kmgt", 1) for suffix in ("i", "ib")},
}
"""A bare `M` is a million as in Kubernetes, not 1,048,576 as in Docker: the smaller reading never outgrows a limit."""


def parse_bytes(text: str, *, name: str) -> int:
    """Bytes of `512MiB`, `1.5GB`, `2Gi`, `80% of 4Gi` or a plain count, rounded down; `name` is what the sentence calls
    the setting.

    A share is how a pod's variable is made of its own limit, which Kubernetes can name but not calculate with.

    Raises:
        ConfigError: not a size, or less than one byte (exit code 2).
    """
    match = re.fullmatch(r"\s*(?:([0-9]{1,2}|100) ?% of )?([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    factor = None if match is None else _UNITS.get(match[3].lower())
    count = 0 if match is None or factor is None else int(Fraction(match[2]) * factor * int(match[1] or 100) / 100)
    if count < 1:
        raise ConfigError(f"{name} is not a size", found=text, remedy="Write it like 512MiB or 2GB.")
    return count


def format_bytes(count: float) -> str:
    """`1.5 GB`: decimal units, as object stores bill them."""
    if abs(round(count)) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(abs(count), 1) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


@dataclass(frozen=True)
class MemoryBudget:
    """What one step may use. `total_bytes` counts the whole process tree; `base_bytes` is held before work begins.

    Shares of the free bytes: a page 1/16, a chunk being gathered 1/8, source rows or keys held by a merge 1/4, and what
    the rewriting workers hold together 1/4; the rest is slack for allocators, the driver and the encoder. The divisors
    were chosen so that three copies of a page and two of a chunk may exist at once. The divisors below are measures
    after a kill: they leave the workers, or what is gathered, a part of their share.
    """

    total_bytes: int
    base_bytes: int
    rewrite_divisor: int = 1
    gather_divisor: int = 1

    @property
    def free_bytes(self) -> int:
        return max(self.total_bytes - self.base_bytes, 64 * MIB)

    @property
    def page_bytes(self) -> int:
        return max(min(self.free_bytes // 16, 16 * MIB) // self.gather_divisor, MIB)

    @property
    def chunk_bytes(self) -> int:
        return max(min(self.free_bytes // 8, 64 * MIB) // self.gather_divisor, 4 * MIB)

    @property
    def merge_bytes(self) -> int:
        return self.free_bytes // 4 // self.gather_divisor

    @property
    def rewrite_bytes(self) -> int:
        return self.free_bytes // 4 // self.rewrite_divisor

    @property
    def extract_bytes(self) -> int:
        """What reading a table holds: three copies of a page and two of a chunk."""
        return 3 * self.page_bytes + 2 * self.chunk_bytes

    @property
    def flush_bytes(self) -> int:
        """What a flush holds beside the source's last page, while nothing is read."""
        return self.page_bytes + self.merge_bytes + self.rewrite_bytes

    @property
    def row_bytes_max(self) -> int:
        """The widest row that is fetched at all: its decoded size times four must fit into what is free."""
        return self.free_bytes // 4


def key_row_bytes(types: Sequence[pa.DataType]) -> int:
    """What a merge holds for one key of these types: two copies while it is gathered, and four bytes of ordinal.

    Text and binary count 48 bytes: a UUID as text with its view.
    """
    widths = (
        dtype.bit_width // 8 if pa.types.is_primitive(dtype) or pa.types.is_decimal(dtype) else 48 for dtype in types
    )
    return 2 * sum(max(width, 1) for width in widths) + 4


def budget_of(total_bytes: int, *, base_bytes: int) -> MemoryBudget:
    """A usable budget.

    Raises:
        ConfigError: under 320 MiB (set IMPORT_PLATFORM_MEMORY higher).
    """
    if total_bytes < MINIMUM_BYTES:
        raise ConfigError(
            "the memory budget is under 320 MiB",
            found_bytes=total_bytes,
            remedy="Set IMPORT_PLATFORM_MEMORY to 320MiB or more.",
        )
    return MemoryBudget(total_bytes, base_bytes)
