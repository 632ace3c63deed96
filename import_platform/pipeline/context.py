"""One table about to be synced: what it is, where it comes from, where it goes, and what it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from import_platform.core.budget import MemoryBudget
from import_platform.core.choose import resolve
from import_platform.core.enrichment import without_enriched
from import_platform.core.fan_out import FanOut
from import_platform.core.identity import PROPERTY, Identity, check_identity, identity_from_json
from import_platform.core.report import Observer, Silent
from import_platform.core.run_record import RunOrder
from import_platform.core.sampled import with_known
from import_platform.core.table import DeclaredTable, TableSpec
from import_platform.core.wording import close_names
from import_platform.errors import ConfigError
from import_platform.io.delta import DeltaLog, Snapshot
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch
from import_platform.io.staging import Staging
from import_platform.io.store import Store
from import_platform.io.store_probe import probe_conditional_put
from import_platform.own_folder import own_folder
from import_platform.pipeline.parents import LakeParents
from import_platform.pipeline.run_notes import RunNotes
from import_platform.pipeline.step_sizes import StepSizes
from import_platform.pipeline.turns import Granting, Turns
from import_platform.sources.protocol import NoRowsYet, ReadsLake, SaysWhyEmpty, Source, UsesScratch


def _never() -> bool:
    return False


@dataclass(frozen=True)
class TableContext:
    """Everything a sync needs. `stop` is asked between pages; `max_run_seconds` ends a sync at a checkpoint.

    A leaf that a flush would push past `partition_max_bytes` (None: no limit) is split in the same commit. `grants`
    makes the steps of several tables share one budget, and `sizes` says how large this one's are. `order` says for whom
    it runs; `notes` are what it tells of itself. `tables` are those of the source that are imported; None means all.
    With `fan_out` the last flush of a pass may be left to steps.
    """

    source_name: str
    declared: DeclaredTable
    source: Source
    lake: Lake
    budget: MemoryBudget
    observer: Observer = field(default_factory=Silent)
    stop: Callable[[], bool] = _never
    max_run_seconds: float = 1800.0
    partition_max_bytes: int | None = None
    watch: MemoryWatch = field(default_factory=MemoryWatch)
    grants: Granting | None = None
    sizes: StepSizes | None = None
    order: RunOrder = field(default_factory=RunOrder)
    notes: RunNotes = field(default_factory=RunNotes)
    tables: frozenset[str] | None = None
    fan_out: FanOut | None = None

    @property
    def table_id(self) -> str:
        return f"{self.source_name}/{self.declared.name}"

    def turns(self) -> Turns:
        """The table's way to its share of the memory."""
        return Turns(self.grants, self.budget, self.stop, sizes=self.sizes)


@dataclass(frozen=True)
class LakeTable:
    """A table as the lake has it: what splits, coarsenings and compactions need, without its source.

    `path` is relative to the store; `snapshot` the version it was opened at, None where there is no table yet.
    """

    id: str
    store: Store
    path: str
    identity: Identity
    log: DeltaLog
    staging: Staging
    snapshot: Snapshot | None


@dataclass(frozen=True)
class OpenTable(LakeTable):
    """A table with its source: every choice made and checked against the lake's stored identity."""

    context: TableContext
    spec: TableSpec


def open_lake_table(lake: Lake, source: str, table: str) -> LakeTable:
    """A table that exists in the lake.

    Raises:
        ConfigError: there is no such table in the lake (sync it first), or it is somebody else's.
    """
    path = lake.table_path(source, table)
    log = DeltaLog(lake.store, path)
    snapshot = log.snapshot()
    identity = stored_identity(snapshot)
    if identity is None:
        raise ConfigError(
            "the lake has no such table",
            table=f"{source}/{table}",
            remedy=f"Import it first: import-platform sync {source}/{table}",
        )
    return LakeTable(
        f"{source}/{table}",
        lake.store,
        path,
        identity,
        log,
        Staging(lake.store, lake.staging_path(source, table)),
        snapshot,
    )


def open_table(context: TableContext) -> OpenTable:
    """Asks the source about the table and the lake about its past.

    Raises:
        ConfigError: no such table, a bad declaration, another layout in the lake than declared, or, for a new table,
            an object store that does not honour conditional put.
    """
    lake, name = context.lake, context.declared.name
    path = lake.table_path(context.source_name, name)
    log = DeltaLog(lake.store, path)
    snapshot = log.snapshot()
    if snapshot is None and not lake.store.is_local:
        probe_conditional_put(lake.store)  # a store that loses commits is refused before it holds the first one
    stored = stored_identity(snapshot)
    declared = context.declared
    if stored is not None and declared.partition is None:
        declared = replace(declared, partition=stored.partition)
    if isinstance(context.source, ReadsLake):
        context.source.use_parents(LakeParents(lake, context.source_name))
    if isinstance(context.source, UsesScratch):
        owner = f"{lake.store.uri}/{context.source_name}"
        context.source.use_scratch(own_folder("import-platform-files"), owner=owner)
    found = context.source.discover([name])
    if not found:
        raise _unknown(context)
    info = found[0]
    if snapshot is not None:
        info = with_known(info, without_enriched(snapshot.schema, declared.enrich))
    if info.sampled and not info.columns:
        why = context.source.why_empty(info) if isinstance(context.source, SaysWhyEmpty) else None
        raise why or NoRowsYet("the table has no row yet", remedy="Its first row makes the table")
    if declared.where is not None and not getattr(context.source, "takes_where", False):
        kind = context.source.kind
        raise ConfigError("this source takes no where:", table=context.table_id, kind=kind, remedy="Leave it out.")
    known = snapshot.schema.names if snapshot is not None else ()
    spec = resolve(context.source_name, declared, info, in_lake=known)
    if stored is not None:
        check_identity(stored, spec)
    identity = Identity(spec.partition, stored.primary_key if stored is not None else spec.primary_key)
    staging = Staging(lake.store, lake.staging_path(context.source_name, name))
    return OpenTable(spec.id, lake.store, path, identity, log, staging, snapshot, context, spec)


def stored_identity(snapshot: Snapshot | None) -> Identity | None:
    """The identity in the table's properties; None when there is no table yet."""
    if snapshot is None:
        return None
    if PROPERTY not in snapshot.properties:
        raise ConfigError(
            "the folder holds a Delta table of someone else", remedy="Move it away or import into another lake."
        )
    return identity_from_json(snapshot.properties[PROPERTY])


def _unknown(context: TableContext) -> ConfigError:
    names = [info.name_in_lake for info in context.source.discover()]
    close = close_names(context.declared.name, names) or names[:5]
    return ConfigError(
        "the source has no such table",
        table=context.table_id,
        found=close,
        remedy=f"See: import-platform tables {context.source_name}",
    )
