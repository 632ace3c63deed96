"""What is known of a table: as the source reveals it, as a person declared it, and as the platform resolved it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import pyarrow as pa

from import_platform.core.enrichment import Enrichment
from import_platform.core.fan_out import FanOut
from import_platform.core.publication import Publication
from import_platform.core.versions import Versions

PARTITION_COLUMN = "_partition"
"""The only partition column of every Delta table in the lake; a source column of this name is refused."""


class SyncMode(StrEnum):
    """How a table is read. How it is written follows: swap, merge by key, or append."""

    FULL_REFRESH = "full_refresh"
    INCREMENTAL = "incremental"
    APPEND = "append"


class SchemaPolicy(StrEnum):
    """What a table does when the source's columns change.

    EVOLVE follows: new columns are added, types widen. FREEZE stops the table with a sentence. DISCARD leaves new
    columns out and rejects rows with a value that does not fit.
    """

    EVOLVE = "evolve"
    FREEZE = "freeze"
    DISCARD = "discard"


class Mask(StrEnum):
    """What is done to the values of a column before anything of them is stored.

    HASH puts the SHA-256 of the value in its place, so that equal values stay equal; REDACT a fixed text, or null.
    """

    HASH = "hash"
    REDACT = "redact"


class Granularity(StrEnum):
    """Levels of the datetime tree, coarse to fine (UTC)."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True)
class TimePartition:
    """Leaves `2025` > `2025-01` > `2025-01-13` > `2025-01-13T05` of a date or timestamp column."""

    column: str
    granularity: Granularity
    stable: bool = False  # True promises that a row's value never changes, so a merge skips other leaves


@dataclass(frozen=True)
class NumberPartition:
    """Leaves `n<width>_<index>`: rows with floor(value / width) == index. Width is a power of ten."""

    column: str
    width: int
    stable: bool = False


@dataclass(frozen=True)
class HashPartition:
    """Leaves `all.h<bits>` by a hash of the primary key: 2**bits of them. Bits 0 means the single leaf `all`."""

    bits: int = 0

    stable: bool = field(default=True, init=False)  # a key never changes, so its hash leaf does not either


PartitionSpec = TimePartition | NumberPartition | HashPartition
UNPARTITIONED = HashPartition(0)


@dataclass(frozen=True)
class ColumnInfo:
    """One column as the source describes it; `type` is the Arrow type its values have in the lake.

    `minimum` and `maximum` are sampled extremes of date, timestamp and integer columns as cursor text, good for
    choosing a partition and for nothing that must be exact; None for unknown.
    """

    name: str
    type: pa.DataType
    source_type: str
    nullable: bool = True
    minimum: str | None = None
    maximum: str | None = None


@dataclass(frozen=True)
class TableInfo:
    """One table as the source describes it; estimates are the source's own and may be -1 for unknown.

    `schema` is "" where the source has no schemas. `name_in_lake` is the asset and folder name before escaping.
    `where` narrows every read and count to the rows that meet a condition.
    `cursors` are the columns by which the source can give changes only; None: by any. Columns of a `sampled` table are
    those seen so far, and a read may meet more or wider ones (`sources.protocol.ColumnsGrew`). `deleted` is the column
    by which the source itself marks rows that went away. A `synthetic` column is read only where it is the cursor.
    `key_repeats` says that the source gives rows of one key several times, `versions` which of them stays wherever that
    is not the one that came last. Of a sampled table without rows `columns` is empty, and `always` are those that its
    rows will have in any case.
    """

    schema: str
    name: str
    columns: tuple[ColumnInfo, ...]
    primary_key: tuple[str, ...] = ()
    row_estimate: int = -1
    bytes_estimate: int = -1
    default_schema: bool = True
    where: str | None = None
    cursors: tuple[str, ...] | None = None
    sampled: bool = False
    deleted: str | None = None
    synthetic: tuple[ColumnInfo, ...] = ()
    key_repeats: bool = False
    versions: Versions | None = None
    always: tuple[ColumnInfo, ...] = ()

    @property
    def name_in_lake(self) -> str:
        return self.name if self.default_schema else f"{self.schema}__{self.name}"

    def column(self, name: str) -> ColumnInfo | None:
        return next((c for c in self.columns if c.name == name), None)

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])


@dataclass(frozen=True)
class ColumnChoice:
    """The columns to read, as names or patterns (`*`, `?`), and those to mask. `include` None means all of them."""

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    mask: Mapping[str, Mask] = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """What Dagster shows of a table beside its data. `owners` are e-mail addresses or `team:name`."""

    owners: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    description: str | None = None

    def over(self, other: Labels) -> Labels:
        """These, and where they say nothing those of the other; tags of both."""
        return Labels(
            self.owners or other.owners,
            {**other.tags, **self.tags},
            self.group or other.group,
            self.description or other.description,
        )


@dataclass(frozen=True)
class CheckSettings:
    """How a table is verified after every sync; None is the source's setting, and then the default.

    `off` names checks that are not made. `row_tolerance` and `kept_share` are shares of 1, `fresh_within_seconds` the
    age at which data is stale, `key_seconds` and `count_seconds` the time limits of looking at keys and of counting at
    the source.
    """

    off: frozenset[str] | None = None
    row_tolerance: float | None = None
    kept_share: float | None = None
    fresh_within_seconds: float | None = None
    key_seconds: float | None = None
    count_seconds: float | None = None

    def over(self, other: CheckSettings) -> CheckSettings:
        """These, and where they say nothing those of the other."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **mine)


@dataclass(frozen=True)
class DeclaredTable:
    """One table as its owner declared it in YAML; None means "choose for me".

    `partition_max_bytes` None is the platform's own limit; a `pinned` table is split and merged back by hand only.
    `deleted` is the soft-delete column: rows that it marks go away in the lake. `where` is a condition in the
    source's own SQL; `reconcile` the cron of comparisons with the source. `lookback` is how far behind its cursor
    value every sync reads again (`core.cursor.looked_back`). `success_variable` names the variable that holds the
    address of a webhook. `fan_out` says from when on several steps share a flush.
    """

    name: str
    sync: SyncMode | None = None
    cursor: str | None = None
    primary_key: tuple[str, ...] | None = None
    partition: PartitionSpec | None = None
    schedule: str | None = None
    partition_max_bytes: int | None = None
    pinned: bool = False
    schema_policy: SchemaPolicy = SchemaPolicy.EVOLVE
    deleted: str | None = None
    choice: ColumnChoice = ColumnChoice()
    where: str | None = None
    reconcile: str | None = None
    lookback: str | None = None
    success_variable: str | None = None
    publish: Publication | None = None
    fan_out: FanOut | None = None
    enrich: tuple[Enrichment, ...] = ()
    labels: Labels = field(default_factory=Labels)
    checks: CheckSettings = field(default_factory=CheckSettings)


@dataclass(frozen=True)
class TableSpec:
    """One table with every choice made. `reasons` explains each choice in a sentence, for people.

    `cursor` is set exactly for incremental and append syncs; `primary_key` may be empty for full_refresh and append.
    `info` has the chosen columns only; `renamed` maps those that the lake cannot hold under their own names.
    """

    source: str
    name: str
    info: TableInfo
    sync: SyncMode
    cursor: str | None
    primary_key: tuple[str, ...]
    partition: PartitionSpec
    reasons: tuple[str, ...] = ()
    schema_policy: SchemaPolicy = SchemaPolicy.EVOLVE
    deleted: str | None = None
    choice: ColumnChoice = ColumnChoice()
    renamed: Mapping[str, str] = field(default_factory=dict)
    lookback: str | None = None
    enrich: tuple[Enrichment, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.source}/{self.name}"

    @property
    def filters(self) -> tuple[str, ...]:
        """What a pass leaves out, masks or adds, and which rows it lets stay, as text; a pass that began with others is
        not gone on with."""
        masks = (f"{mask} {name}" for name, mask in sorted(self.choice.mask.items()))
        versions = () if self.info.versions is None else (repr(self.info.versions),)
        renamed = (f"renamed {pair}" for pair in sorted(self.renamed.items()))
        enriched = (f"enriched {each.name} {each.cache_id}" for each in self.enrich)
        return (*masks, *versions, *renamed, *enriched, self.info.where or "")

    @property
    def fixed_columns(self) -> frozenset[str]:
        """Those that identify and place rows: their kind never changes in place."""
        partition = getattr(self.partition, "column", None)
        versions = self.info.versions.columns if self.info.versions is not None else ()
        return frozenset(name for name in (*self.primary_key, self.cursor, partition, *versions) if name is not None)
