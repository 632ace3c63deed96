"""A large flush shared among steps: planned, written part by part, and gathered in one commit.

    _staging/<source>/<table>/attempts/<id>/fan_out.plan          what the steps are to do
    _staging/<source>/<table>/attempts/<id>/<plan>-00000001.part  what step 1 has done

Nothing correct rests on these documents: a flush that finds none, or finds them out of date, merges what is missing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.fan_out import (
    MINIMUM_STEPS,
    FanOutPlan,
    Part,
    PartDone,
    divided,
    leaf_bytes,
    need_bytes,
    part_from_json,
    plan_from_json,
)
from import_platform.core.identity import identity_from_json
from import_platform.core.report import Observer, Silent, Stage, Status, SyncReport
from import_platform.core.state import Attempt, AttemptKind, Checkpoint
from import_platform.core.wording import counted
from import_platform.errors import StoreUnavailable
from import_platform.io.delta import DeltaLog, Snapshot
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch
from import_platform.io.staging import Staging
from import_platform.pipeline.context import OpenTable
from import_platform.pipeline.flush import StagedRows, by_key, evolved_schema
from import_platform.pipeline.incoming import Placing
from import_platform.pipeline.keys import ROW_BYTES
from import_platform.pipeline.merge import WORKER_BYTES, Merge, Merged, Target
from import_platform.pipeline.shares import LeafShare

PLAN = "fan_out.plan"

_READ = ("rows_read", "bytes_read", "rows_rejected", "seconds", "peak_memory_bytes")


def hand_over(table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint], report: SyncReport) -> bool:
    """True when the flush of these last chunks of a pass is left to steps, whose plan is durable now.

    False where it is small, where one leaf has it all, where versions decide, where it was left to steps before,
    or where the run does not want it. Adds and widens columns, which are commits of their own. Memory: a batch of the
    columns that place a row.
    """
    fan_out = table.context.fan_out
    rows = sum(chunk.rows for chunk in chunks)
    one_by_one = attempt.kind is not AttemptKind.BACKFILL and table.spec.info.versions is None
    if fan_out is None or not rows or not one_by_one:
        return False
    if table.staging.document(attempt.id, PLAN) is not None:
        return False
    snapshot = table.log.snapshot()
    schema = evolved_schema(table, attempt, snapshot)
    if schema is None:
        snapshot = table.log.snapshot()
        schema = evolved_schema(table, attempt, snapshot)
    plan = _planned(table, attempt, chunks, snapshot, schema) if schema is not None else None
    if plan is None:
        return False
    plan = replace(plan, read={name: getattr(report, name) for name in _READ})
    table.staging.put_document(attempt.id, PLAN, plan.to_json())
    table.context.notes.plan, report.status = plan, Status.CHECKPOINTED
    table.context.observer.note(
        table.id, f"its flush of {counted(rows, 'row')} is shared by {counted(len(plan.parts), 'step')}"
    )
    return True


def _planned(
    table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint], snapshot: Snapshot | None, schema: pa.Schema
) -> FanOutPlan | None:
    fan_out, budget = table.context.fan_out, table.context.budget
    assert fan_out is not None
    staged = StagedRows(table.staging, attempt.id, chunks)
    leaves = snapshot.leaves if snapshot is not None else frozenset[str]()
    counts = dict(Placing(staged, schema, table.identity, budget).count(leaves, (), None))
    rows = sum(chunk.rows for chunk in chunks)
    row_bytes = staged.decoded_bytes / rows
    swaps = attempt.kind is AttemptKind.FULL_REFRESH
    work = leaf_bytes(snapshot.files if snapshot else None, counts, row_bytes=row_bytes, swaps=swaps)
    shares = divided(work, fan_out.steps)
    if sum(work.values()) < fan_out.over_bytes or min(len(counts), len(shares)) < MINIMUM_STEPS:
        return None
    parts = []
    for number, names in enumerate(shares, start=1):
        mine = sum(counts.get(leaf, 0) for leaf in names)
        need = need_bytes(
            mine, all_rows=rows, row_bytes=row_bytes, remembered_bytes=ROW_BYTES, worker_bytes=WORKER_BYTES
        )
        parts.append(Part(number, names, mine, min(need, budget.total_bytes)))
    return FanOutPlan(
        id=uuid.uuid4().hex[:8],
        version=snapshot.version if snapshot is not None else -1,
        schema=schema.serialize().to_pybytes().hex(),
        identity=table.identity.to_json(),
        cursor=table.spec.cursor,
        deleted=table.spec.deleted,
        by_key=by_key(table, attempt),
        swaps=swaps,
        chunks=tuple(chunk.id for chunk in chunks),
        counts=counts,
        parts=tuple(parts),
        limit_bytes=table.context.partition_max_bytes,
    )


@dataclass(frozen=True)
class PlannedTable:
    """A table of which a pass has a plan: all that a step needs to know of it."""

    lake: Lake
    source: str
    name: str
    attempt: Attempt
    plan: FanOutPlan

    @property
    def staging(self) -> Staging:
        return Staging(self.lake.store, self.lake.staging_path(self.source, self.name))

    @property
    def id(self) -> str:
        return f"{self.source}/{self.name}"


def planned_table(lake: Lake, source: str, name: str) -> PlannedTable | None:
    """The table with the plan of its open pass; None where no flush was left to steps."""
    staging = Staging(lake.store, lake.staging_path(source, name))
    for attempt in reversed(staging.attempts()):
        plan = read_plan(staging, attempt)
        if plan is not None:
            return PlannedTable(lake, source, name, attempt, plan)
    return None


def read_plan(staging: Staging, attempt: Attempt) -> FanOutPlan | None:
    data = staging.document(attempt.id, PLAN)
    return plan_from_json(data) if data is not None else None


def read_parts(staging: Staging, attempt: Attempt, plan: FanOutPlan) -> dict[int, PartDone]:
    """What the steps have handed in so far, by number."""
    found = {part.number: staging.document(attempt.id, _part_name(plan, part)) for part in plan.parts}
    return {number: part_from_json(data) for number, data in found.items() if data is not None}


def write_part(
    table: PlannedTable,
    part: Part,
    budget: MemoryBudget,
    *,
    watch: MemoryWatch | None = None,
    observer: Observer | None = None,
) -> PartDone:
    """Merges the staged rows into one part's leaves, and hands in what it wrote; nothing is committed. A part that was
    handed in before is left as it is.

    Raises:
        StoreUnavailable: the version that the plan was made for is gone (the commit then merges anew).
    """
    name, plan, staging = _part_name(table.plan, part), table.plan, table.staging
    before = staging.document(table.attempt.id, name)
    if before is not None:
        return part_from_json(before)
    merge, snapshot = _merge(table, part, budget, watch=watch or MemoryWatch(), on_rows=_told(table.id, observer))
    dropped = snapshot.files["path"].to_list() if snapshot is not None and plan.swaps else []
    done = _handed_in(part, merge.write(merge.plan(snapshot, dropped=dropped)))
    staging.put_document(table.attempt.id, name, done.to_json())
    return done


def _merge(
    table: PlannedTable, part: Part, budget: MemoryBudget, *, watch: MemoryWatch, on_rows: Callable[[int], None]
) -> tuple[Merge, Snapshot | None]:
    plan, store = table.plan, table.lake.store
    path = table.lake.table_path(table.source, table.name)
    snapshot = DeltaLog(store, path).at(plan.version) if plan.version >= 0 else None
    if snapshot is None and plan.version >= 0:
        raise StoreUnavailable(
            "the table's version of a plan is gone",
            table=table.id,
            version=plan.version,
            remedy="Sync the table again.",
        )
    schema, identity = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(plan.schema))), identity_from_json(plan.identity)
    chunks = [chunk for chunk in table.staging.checkpoints(table.attempt.id) if chunk.id in plan.chunks]
    merge = Merge(
        Target(store, path, schema, identity, plan.cursor, plan.deleted),
        StagedRows(table.staging, table.attempt.id, chunks),
        by_key=plan.by_key,
        budget=budget,
        on_rows=on_rows,
        watch=watch,
        limit_bytes=plan.limit_bytes,
        share=LeafShare(part.share, snapshot.leaves if snapshot is not None else frozenset()),
    )
    return merge, snapshot


def _told(table: str, observer: Observer | None) -> Callable[[int], None]:
    rows_done, told = 0, observer or Silent()

    def on_rows(rows: int) -> None:
        nonlocal rows_done
        rows_done += rows
        told.progress(table, Stage.MERGING, rows=rows_done, bytes_=0, total_rows=None)

    return on_rows


def _handed_in(part: Part, merged: Merged) -> PartDone:
    counts = {name: getattr(merged.plan, name) for name in COUNTED}
    adds = tuple(asdict(file) for file in merged.adds)
    return PartDone(part.number, adds, tuple(merged.plan.removes), merged.incoming_rows, counts)


COUNTED = (
    "considered_files",
    "probed_files",
    "updated_rows",
    "removed_rows",
    "filtered_files",
    "filter_bytes",
    "predicted_bytes",
)
"""Of a merge's plan, what adds up over parts, but for the prediction, of which the greatest counts."""


def _part_name(plan: FanOutPlan, part: Part) -> str:
    return f"{plan.id}-{part.number:08d}.part"
