"""What to do about a table, in the order of effect: facts in, recommendations out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import polars as pl

from import_platform.core.budget import MIB, format_bytes
from import_platform.core.diagnosis import Findings
from import_platform.core.maintenance import compactable
from import_platform.core.wording import counted

WIDE_ROW_GROUP_BYTES = 64 * MIB
PRUNED_LITTLE = 0.5
MANY_FILES = 20_000
"""A snapshot holds about a kilobyte per file."""

TINY_LEAF_BYTES = 4 * MIB
TINY_LEAVES = 200
SOURCE_TOLERANCE = 0.1
SOURCE_ROWS_MIN = 1000


class Effect(IntEnum):
    """What following a recommendation changes, the strongest first."""

    FITS = 1  # a flush that would stop goes through
    MEMORY = 2  # whoever reads or merges needs less
    READS = 3  # a flush reads or rewrites less
    FILES = 4  # fewer requests and less to list
    ROWS = 5  # the lake may not be what the source is


@dataclass(frozen=True)
class Recommendation:
    """`text` says what was found, `command` what to type (None where a person edits); `bytes` how much it concerns."""

    effect: Effect
    text: str
    command: str | None = None
    bytes: int = 0

    @property
    def sentence(self) -> str:
        return f"{self.text}: {self.command}" if self.command else self.text


def advice(found: Findings) -> list[Recommendation]:
    """What to do: by effect, then by the bytes concerned; nothing when all is well."""
    said = [*_memory(found), *_leaves(found), *_reads(found), *_files(found), *_rows(found)]
    return sorted(said, key=lambda each: (each.effect, -each.bytes))


def _memory(found: Findings) -> Iterator[Recommendation]:
    if found.budget_bytes and found.predicted_bytes > found.budget_bytes:
        yield Recommendation(
            Effect.FITS,
            f"the next flush is predicted to take {format_bytes(found.predicted_bytes)}, more than the budget of "
            f"{format_bytes(found.budget_bytes)}. Raise IMPORT_PLATFORM_MEMORY",
            bytes=found.predicted_bytes - found.budget_bytes,
        )
    if found.widest_row_group_bytes > WIDE_ROW_GROUP_BYTES:
        widest = max(found.row_groups, key=lambda group: group.decoded_bytes)
        yield Recommendation(
            Effect.MEMORY,
            f"a row group of {format_bytes(widest.decoded_bytes)} in {widest.path} is read in slices; other readers "
            "hold it whole. A backfill of its partition writes small ones",
            bytes=widest.decoded_bytes,
        )


def _leaves(found: Findings) -> Iterator[Recommendation]:
    leaves = found.files.group_by("leaf").agg(pl.col("size_bytes").sum()).sort("size_bytes", "leaf", descending=True)
    over = leaves.filter(pl.col("size_bytes") > found.limit_bytes)
    fixed = over.filter(pl.col("leaf").is_in(list(found.unsplittable)))
    over = over.filter(~pl.col("leaf").is_in(list(found.unsplittable)))
    if over.height:
        yield Recommendation(
            Effect.MEMORY,
            f"{over.height} of {counted(leaves.height, 'leaf')} over {format_bytes(found.limit_bytes)}, the largest is "
            f"{over['leaf'][0]} with {format_bytes(over['size_bytes'][0])}",
            f"import-platform repartition {found.table}",
            bytes=int(over["size_bytes"].sum()),
        )
    if fixed.height:
        yield Recommendation(
            Effect.MEMORY,
            f"one key fills {fixed['leaf'][0]} with {format_bytes(fixed['size_bytes'][0])}: it cannot be split by the "
            "partition it has. Another one may: import-platform repartition --to",
            bytes=int(fixed["size_bytes"].sum()),
        )
    tiny = leaves.filter(pl.col("size_bytes") < TINY_LEAF_BYTES)
    if tiny.height >= TINY_LEAVES and tiny.height > leaves.height / 2:
        yield Recommendation(
            Effect.FILES,
            f"{tiny.height:,} of {counted(leaves.height, 'leaf')} with less than {format_bytes(TINY_LEAF_BYTES)}",
            f"import-platform repartition {found.table}",
            bytes=int(tiny["size_bytes"].sum()),
        )


def _reads(found: Findings) -> Iterator[Recommendation]:
    total = int(found.files["size_bytes"].sum())
    if found.first_key is None:
        yield Recommendation(
            Effect.READS,
            "the table has no primary key, so rows cannot be replaced one by one. Name one in its declaration if it "
            "has any",
            bytes=total,
        )
        return
    pruned = found.prunable_share
    if found.files.height > 1 and not found.is_stable and (pruned is None or pruned < PRUNED_LITTLE):
        told = "have no bounds" if pruned is None else f"rule out {pruned:.0%} of the bytes for a key"
        yield Recommendation(
            Effect.READS,
            f"files {told} of {found.first_key}, so every flush asks key filters or reads keys. If a row's partition "
            "never changes, say partition: {stable: true} and only its own leaf is looked at",
            bytes=int(total * (1 - (pruned or 0))),
        )


def _files(found: Findings) -> Iterator[Recommendation]:
    small = compactable(found.files)
    if small:
        paths = [path for each in small.values() for path in each]
        size = int(found.files.filter(pl.col("path").is_in(paths))["size_bytes"].sum())
        yield Recommendation(
            Effect.FILES,
            f"{counted(len(paths), 'small file')} in {counted(len(small), 'leaf')}",
            f"import-platform maintain {found.table}",
            bytes=size,
        )
    elif found.files.height > MANY_FILES:
        yield Recommendation(
            Effect.FILES,
            f"the log lists {found.files.height:,} files, which every sync holds in memory. Larger leaves have fewer: "
            "import-platform repartition --to",
            bytes=int(found.files["size_bytes"].sum()),
        )


def _rows(found: Findings) -> Iterator[Recommendation]:
    lake, source = int(found.files["rows"].sum()), found.source.rows if found.source else -1
    if max(lake, source) >= SOURCE_ROWS_MIN and source >= 0 and abs(lake - source) > SOURCE_TOLERANCE * source:
        yield Recommendation(
            Effect.ROWS,
            f"the lake has {counted(lake, 'row')}, the source's own estimate was {source:,}. To see what differs",
            f"import-platform reconcile {found.table} --dry-run",
        )
