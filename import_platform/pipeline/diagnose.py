"""A table looked at from the inside: its files, their row groups and keys, and the merge that waits for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.core.budget import MemoryBudget
from import_platform.core.diagnosis import Findings, RowGroup, SourceStatistics
from import_platform.core.merge import MergePlan
from import_platform.core.state import AttemptKind
from import_platform.io.delta import Snapshot
from import_platform.io.key_filter import KeyFilters
from import_platform.io.lake import Lake
from import_platform.io.store import REQUESTS, Store
from import_platform.pipeline.context import LakeTable, open_lake_table
from import_platform.pipeline.flush import StagedRows
from import_platform.pipeline.keys import ROW_BYTES
from import_platform.pipeline.merge import WORKER_BYTES, Merge, Target
from import_platform.pipeline.repartition import read_record

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
    """`waiting` is None where nothing that merges by key is staged; `cursor_value` is that of the last commit."""

    snapshot: Snapshot
    findings: Findings
    filter_bytes: int
    waiting: Waiting | None
    cursor_value: str | None


def diagnose(
    lake: Lake,
    source: str,
    table: str,
    *,
    budget: MemoryBudget,
    limit_bytes: int,
    statistics: SourceStatistics | None = None,
) -> Diagnosis:
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
    waiting = _waiting(opened, snapshot, budget, limit_bytes)
    groups = _row_groups(opened, snapshot)
    findings = Findings(
        table=opened.id,
        first_key=_first_key(opened),
        is_stable=opened.identity.partition.stable,
        files=snapshot.files,
        row_groups=groups,
        filtered_paths=frozenset(path for path, name in names.items() if name in sizes),
        limit_bytes=limit_bytes,
        budget_bytes=budget.total_bytes,
        predicted_bytes=waiting.plan.predicted_bytes if waiting is not None else one_chunk_bytes(groups, budget),
        unsplittable=frozenset(read_record(opened.store, opened.path).unsplittable),
        source=statistics,
    )
    filter_bytes = sum(sizes[name] for name in names.values() if name in sizes)
    cursor = opened.staging.state(snapshot.transaction).cursor
    return Diagnosis(snapshot, findings, filter_bytes, waiting, cursor)


def one_chunk_bytes(groups: list[RowGroup], budget: MemoryBudget) -> int:
    """The peak of a flush whose rows are one full chunk, as wide as those in the lake: they are held twice with what is
    remembered of each key, beside the workers that rewrite."""
    rows = sum(group.rows for group in groups)
    width = sum(group.decoded_bytes for group in groups) / max(rows, 1)
    held = min(2 * budget.chunk_bytes, budget.merge_bytes)
    remembered = budget.chunk_bytes / max(width, 1) * ROW_BYTES
    return int(budget.base_bytes + held + min(remembered, budget.merge_bytes)) + max(
        WORKER_BYTES, min(budget.rewrite_bytes, 2 * WORKER_BYTES)
    )


def _first_key(table: LakeTable) -> str | None:
    return table.identity.primary_key[0] if table.identity.primary_key else None


def _row_groups(table: LakeTable, snapshot: Snapshot) -> list[RowGroup]:
    largest = snapshot.files.sort("size_bytes", descending=True)["path"].head(FOOTERS_MAX).to_list()
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="footer") as pool:
        found = pool.map(lambda path: _of_file(table.store, table.path, path, _first_key(table)), largest)
        return [group for groups in found for group in groups]


def _of_file(store: Store, table_path: str, path: str, key: str | None) -> list[RowGroup]:
    with store.open_input(f"{table_path}/{path}") as file:
        footer = pq.ParquetFile(file).metadata
    widths = {field.name: _width(field.type) for field in footer.schema.to_arrow_schema()}
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    return [_row_group(path, group, widths, key) for group in groups]


def _row_group(path: str, group: pq.RowGroupMetaData, widths: dict[str, int], key: str | None) -> RowGroup:
    columns = [group.column(index) for index in range(group.num_columns)]
    decoded = sum(
        max(column.total_uncompressed_size, group.num_rows * widths.get(column.path_in_schema, 0)) for column in columns
    )
    bounds = next((column.statistics for column in columns if column.path_in_schema == key), None)
    if bounds is None or not bounds.has_min_max:
        return RowGroup(path, group.num_rows, decoded)
    return RowGroup(path, group.num_rows, decoded, bounds.min_raw, bounds.max_raw)


def _width(dtype: pa.DataType) -> int:
    """Bytes of a value where all have the same; 0 for text and nested values."""
    return dtype.bit_width // 8 if pa.types.is_primitive(dtype) or pa.types.is_decimal(dtype) else 0


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
