"""A table looked at from the inside: its files, their row groups and keys, and the merge that waits for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow.parquet as pq

from import_platform.core.budget import MemoryBudget
from import_platform.core.diagnosis import Findings, RowGroup
from import_platform.core.merge import MergePlan
from import_platform.core.state import AttemptKind
from import_platform.io.delta import Snapshot
from import_platform.io.key_filter import KeyFilters
from import_platform.io.lake import Lake
from import_platform.io.store import REQUESTS, Store
from import_platform.pipeline.context import LakeTable, open_lake_table
from import_platform.pipeline.flush import StagedRows
from import_platform.pipeline.merge import Merge, Target

FOOTERS_MAX = 500
"""Footers read, of the largest files: a footer is one request."""


@dataclass(frozen=True)
class Waiting:
    """The plan of a flush whose rows are staged: `staged_rows` of the attempt `attempt_id`."""

    attempt_id: str
    staged_rows: int
    plan: MergePlan


@dataclass(frozen=True)
class Diagnosis:
    """`waiting` is None where nothing that merges by key is staged."""

    snapshot: Snapshot
    findings: Findings
    filter_bytes: int
    waiting: Waiting | None


def diagnose(lake: Lake, source: str, table: str, *, budget: MemoryBudget, limit_bytes: int) -> Diagnosis:
    """Reads the log, footers, and for a staged flush the key columns it needs. Writes key filters only.

    Raises:
        ConfigError: the lake has no such table (sync it first), or it is somebody else's.
    """
    opened = open_lake_table(lake, source, table)
    snapshot = opened.snapshot
    assert snapshot is not None
    filters = KeyFilters(opened.store, opened.path).sizes()
    names = {path: path.rsplit("/", 1)[-1] for path in snapshot.files["path"]}
    sizes = {path.rsplit("/", 1)[-1]: size for path, size in filters.items()}
    partition = opened.identity.partition
    findings = Findings(
        table=opened.id,
        first_key=opened.identity.primary_key[0] if opened.identity.primary_key else None,
        is_stable=partition.stable,
        files=snapshot.files,
        row_groups=_row_groups(opened, snapshot),
        filtered_paths=frozenset(path for path, name in names.items() if name in sizes),
        limit_bytes=limit_bytes,
    )
    filter_bytes = sum(sizes[name] for name in names.values() if name in sizes)
    return Diagnosis(snapshot, findings, filter_bytes, _waiting(opened, snapshot, budget, limit_bytes))


def _row_groups(table: LakeTable, snapshot: Snapshot) -> list[RowGroup]:
    largest = snapshot.files.sort("size_bytes", descending=True)["path"].head(FOOTERS_MAX).to_list()
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="footer") as pool:
        found = pool.map(lambda path: _of_file(table.store, table.path, path), largest)
        return [group for groups in found for group in groups]


def _of_file(store: Store, table_path: str, path: str) -> list[RowGroup]:
    with store.open_input(f"{table_path}/{path}") as file:
        footer = pq.ParquetFile(file).metadata
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    return [RowGroup(path, group.num_rows, group.total_byte_size) for group in groups]


def _waiting(table: LakeTable, snapshot: Snapshot, budget: MemoryBudget, limit_bytes: int) -> Waiting | None:
    progress = table.staging.state(snapshot.transaction).progress
    for attempt in reversed(table.staging.attempts()):
        done = table.staging.checkpoints(attempt.id)
        chunks = [chunk for chunk in done if chunk.number > progress.get(attempt.id, 0)]
        if attempt.kind is AttemptKind.INCREMENTAL and chunks and table.identity.primary_key:
            rows = StagedRows(table.staging, attempt.id, chunks)
            target = Target(table.store, table.path, snapshot.schema, table.identity, None)
            merge = Merge(target, rows, by_key=True, budget=budget, limit_bytes=limit_bytes)
            return Waiting(attempt.id, sum(chunk.rows for chunk in chunks), merge.plan(snapshot))
    return None
