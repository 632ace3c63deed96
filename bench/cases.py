"""What is measured: tables, batches and cases as values. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

MIB = 1 << 20


class Shape(StrEnum):
    """Kinds of rows; see `bench.rows` for their columns."""

    NARROW = "narrow"
    UUID = "uuid"  # narrow rows under a random text key
    WIDE = "wide"  # 10 kB of JSON that compresses about seven times


@dataclass(frozen=True)
class Base:
    """A table before the merge: `files` files, each one day of rows in key order (UUIDs: in order of arrival).

    Row groups hold at most 1,048,576 rows and `row_group_bytes` decoded, which is what delta-rs and Spark write by
    default; nothing about the files favours our own reader.
    """

    shape: Shape
    files: int
    rows_per_file: int
    leaf_per_file: bool = False
    row_group_bytes: int = 128 * MIB

    @property
    def rows(self) -> int:
        return self.files * self.rows_per_file

    @property
    def id(self) -> str:
        """A folder name: bases of one id have the same bytes."""
        return f"{self.shape}-{self.files}x{self.rows_per_file}{'-leaves' if self.leaf_per_file else ''}"


@dataclass(frozen=True)
class Batch:
    """Rows to merge: `updated_rows` existing keys spread evenly over `files` files from `first_file` on, and
    `inserted_rows` new keys behind the last one. `files` 0 means all."""

    updated_rows: int
    inserted_rows: int = 0
    first_file: int = 0
    files: int = 0


@dataclass(frozen=True)
class Case:
    """One row of the table of results. `latency_ms` above 0: on an S3 server that answers so much later. `on_ceph`: where
    Debian's Ceph is installed, and only when it is named.

    `batches` has one batch per writer; two batches are merged at the same time. `budget_bytes` is what engines that
    take a limit are given.
    """

    name: str
    title: str
    base: Base
    batches: tuple[Batch, ...]
    engines: tuple[str, ...]
    latency_ms: int = 0
    on_ceph: bool = False
    budget_bytes: int = 512 * MIB

    def warm_up(self) -> Case:
        """A tiny table of the same kind: merged into first, so that what an engine imports late is not on the clock."""
        base = replace(self.base, files=1, rows_per_file=200)
        return replace(self, base=base, batches=(Batch(20),))

    def quick(self) -> Case:
        """The same case small enough for a smoke test."""
        shrink = 40 if self.base.shape is Shape.WIDE else 30
        base = replace(
            self.base,
            files=min(self.base.files, 20 if self.base.leaf_per_file else 3),
            rows_per_file=max(self.base.rows_per_file // shrink, 200),
        )
        engines = tuple(e for e in self.engines if e != "delta-rs-literal" or base.leaf_per_file)
        return replace(
            self, base=base, engines=engines, batches=tuple(_shrunk(b, self.base, base) for b in self.batches)
        )


def _shrunk(batch: Batch, before: Base, after: Base) -> Batch:
    first = after.files - min(before.files - batch.first_file, after.files) if batch.first_file else 0
    return Batch(
        max(batch.updated_rows // 30, 20) if batch.updated_rows else 0,
        batch.inserted_rows // 30,
        min(first, after.files - 1),
        min(batch.files, after.files),
    )


@dataclass(frozen=True)
class Places:
    """Where a case's files are under the scratch folder; bases are shared by cases."""

    scratch: Path
    case: Case

    @property
    def base(self) -> Path:
        return self.scratch / "bases" / self.case.base.id

    @property
    def work(self) -> Path:
        return self.scratch / "cases" / f"{self.case.name}-{self.case.base.id}"

    @property
    def expected(self) -> Path:
        return self.work / "expected.json"

    @property
    def batches(self) -> list[Path]:
        return sorted(self.work.glob("batch-*.arrow"))


@dataclass(frozen=True)
class TableAt:
    """Where an engine process finds its table. `partition_column` decides the leaf; "" for the single leaf `all`."""

    uri: str
    key: str
    partition_column: str
    budget_bytes: int
    scratch: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


NARROW_ROWS = 2_050_000  # about 125 MB at rest
WIDE_ROWS = 83_000  # about 125 MB at rest, 830 MB decoded
NARROW = Base(Shape.NARROW, 12, NARROW_ROWS)
LEAVES = Base(Shape.NARROW, 200, 20_000, leaf_per_file=True)

EVERY = ("ours", "delta-rs", "delta-rs-literal", "deltalite", "polars", "duckdb", "ducklake")
ON_S3 = ("ours", "delta-rs", "delta-rs-literal", "delta-rs-per-leaf", "deltalite")
GROWTH = ("ours", "deltalite", "delta-rs")


def _growth(megabytes: int) -> Case:
    files, rows = max(megabytes // 125, 1), NARROW_ROWS // 2 if megabytes < 125 else NARROW_ROWS
    return Case(
        f"g{megabytes}",
        f"growth: random updates over {megabytes} MB",
        Base(Shape.NARROW, files, rows),
        (Batch(50_000),),
        GROWTH,
    )


CASES = (
    Case("a", "random updates over 1.5 GB of narrow rows", NARROW, (Batch(50_000),), EVERY),
    Case(
        "b",
        "random updates over wide JSON, 1.5 GB at rest, 10 GB decoded",
        Base(Shape.WIDE, 12, WIDE_ROWS),
        (Batch(5_000),),
        EVERY,
    ),
    Case("c", "updates of keys in one file only", NARROW, (Batch(50_000, first_file=5, files=1),), EVERY),
    Case("d", "inserts only", NARROW, (Batch(0, 50_000),), EVERY),
    Case("e", "2,000 rows over 200 leaves", LEAVES, (Batch(2_000),), (*EVERY, "delta-rs-per-leaf")),
    Case("e-s3", "2,000 rows over 200 leaves, 20 ms more per request", LEAVES, (Batch(2_000),), ON_S3, latency_ms=20),
    Case(
        "e-ceph",
        "2,000 rows over 200 leaves on Ceph's gateway, 20 ms more per request",
        LEAVES,
        (Batch(2_000),),
        ON_S3,
        latency_ms=20,
        on_ceph=True,
    ),
    Case(
        "f",
        "UUID keys: recent rows updated, new ones inserted",
        Base(Shape.UUID, 12, NARROW_ROWS * 4 // 5),
        (Batch(40_000, 10_000, first_file=10, files=2),),
        EVERY,
    ),
    *(_growth(megabytes) for megabytes in (60, 125, 250, 500, 1000, 3000)),
    Case(
        "w",
        "two writers, different leaves of one table",
        LEAVES,
        (Batch(500, first_file=10, files=20), Batch(500, first_file=110, files=20)),
        EVERY,
    ),
)


def select(names: list[str], *, quick: bool) -> list[Case]:
    """Cases by name in the order above; `g` stands for the whole sweep, no name for everything.

    Raises:
        SystemExit: no such case.
    """
    unknown = [n for n in names if n != "g" and n not in {c.name for c in CASES}]
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}. Cases: {', '.join(c.name for c in CASES)}, g")
    chosen = [
        c
        for c in CASES
        if c.name in names or ("g" in names and c.name.startswith("g")) or (not names and not c.on_ceph)
    ]
    if quick:
        chosen = [c.quick() for c in chosen if c.name not in {"g125", "g250", "g500", "g3000"}]
    return chosen
