"""The flush behind steps that share it: one commit of what they wrote, and of what has to be merged anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from import_platform.core.fan_out import PartDone, Share, intact
from import_platform.core.merge import MergePlan
from import_platform.core.state import Attempt, Checkpoint
from import_platform.core.table import TableSpec
from import_platform.core.wording import counted
from import_platform.io.delta import Snapshot
from import_platform.io.parquet import WrittenFile
from import_platform.pipeline.context import OpenTable
from import_platform.pipeline.fan_out import COUNTED, read_parts, read_plan
from import_platform.pipeline.flush import Flush
from import_platform.pipeline.incoming import Placing
from import_platform.pipeline.merge import Merge, Merged
from import_platform.pipeline.shares import LeafShare
from import_platform.pipeline.versioned import flush_of


class GatheredFlush(Flush):
    """A flush that takes parts where steps have handed some in, and is any other flush where none have.

    After a commit in between only the parts whose leaves it touched are merged anew, with every leaf that no part knew:
    so another writer's row with a key of this flush is found wherever it was put.
    """

    def __init__(
        self, table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(table, attempt, chunks, *args, **kwargs)
        plan = read_plan(table.staging, attempt)
        self._plan = plan if plan is not None and plan.chunks == tuple(chunk.id for chunk in chunks) else None
        self._parts = read_parts(table.staging, attempt, self._plan) if self._plan is not None else {}

    def _merged(self, snapshot: Snapshot | None, schema: pa.Schema, dropped: Sequence[str]) -> Merged:
        used = self._usable(snapshot, schema)
        if self._plan is None or not used:
            if self._plan is not None:
                self._table.context.observer.note(self._table.id, "nothing that steps wrote can be used; merging anew")
            return super()._merged(snapshot, schema, dropped)
        done = [self._parts[number] for number in sorted(used)]
        version = snapshot.version if snapshot is not None else -1
        if version == self._plan.version and len(used) == len(self._plan.parts):
            return _joined(done, None)
        missing = len(self._plan.parts) - len(used)
        self._table.context.observer.note(
            self._table.id,
            f"{missing} of {counted(len(self._plan.parts), 'part')} merged anew, and what no part knew",
        )
        merge = self._rest(snapshot, schema, used)
        return _joined(done, merge.write(merge.plan(snapshot, dropped=dropped)))

    def _rest(self, snapshot: Snapshot | None, schema: pa.Schema, used: set[int]) -> Merge:
        """A merge of the leaves of all parts but those used; it takes the place of an earlier round's."""
        assert self._plan is not None
        if self._merge is not None:
            self._merge.discard(())
        taken = frozenset(leaf for part in self._plan.parts if part.number in used for leaf in part.leaves)
        self._merging = None  # of no use to a round that merges everything
        leaves = snapshot.leaves if snapshot is not None else frozenset()
        self._merge = self._merge_of(schema, LeafShare(Share(taken, others=True), leaves))
        return self._merge

    def _usable(self, snapshot: Snapshot | None, schema: pa.Schema) -> set[int]:
        """Numbers of parts that were handed in and are true of this version."""
        plan, table = self._plan, self._table
        if plan is None or plan.schema != schema.serialize().to_pybytes().hex():
            return set()
        if plan.identity != table.identity.to_json() or (snapshot is None) != (plan.version < 0):
            return set()
        if snapshot is None or snapshot.version == plan.version:
            return set(self._parts)
        before = table.log.at(plan.version)
        if before is None:
            return set()
        known, now = set(before.files["path"]), set(snapshot.files["path"])
        changed = {leaf for path, leaf in _leaves(before, snapshot) if path in known ^ now}
        counts: dict[str, int] = dict(plan.counts)
        if snapshot.leaves != before.leaves:
            placing = Placing(self._rows(), schema, table.identity, table.context.budget)
            counts = dict(placing.count(snapshot.leaves, (), None))
        return intact(plan.parts, changed, plan.counts, counts) & set(self._parts)

    def _finish(self) -> None:
        super()._finish()
        if self._plan is not None and self._sent is not None:
            used = {file.path for file in self._sent[1].adds}
            written = {str(file["path"]) for part in self._parts.values() for file in part.adds}
            table = self._table
            table.store.delete(f"{table.path}/{path}" for path in sorted(written - used))


def flush_or_gather(attempt: Attempt, spec: TableSpec, *, gathers: bool) -> type[Flush]:
    """How the chunks of an attempt get into the table; one that went on from another may find parts of its flush."""
    flush = flush_of(attempt, spec)
    return GatheredFlush if gathers and flush is Flush else flush


def _leaves(*snapshots: Snapshot) -> set[tuple[str, str]]:
    return {(path, leaf) for each in snapshots for path, leaf in each.files.select("path", "leaf").iter_rows()}


def _joined(done: Sequence[PartDone], rest: Merged | None) -> Merged:
    """As if one merge had written it all."""
    counts = [part.counts for part in done]
    if rest is not None:
        counts.append({name: getattr(rest.plan, name) for name in COUNTED})
    total = {name: sum(each[name] for each in counts) for name in COUNTED}
    total["predicted_bytes"] = max(each["predicted_bytes"] for each in counts)
    removes = [path for part in done for path in part.removes] + (rest.plan.removes if rest is not None else [])
    adds = [WrittenFile(**file) for part in done for file in part.adds] + list(rest.adds if rest is not None else ())
    incoming = sum(part.incoming_rows for part in done) + (rest.incoming_rows if rest is not None else 0)
    return Merged(MergePlan((), tuple(removes), leaves=(), **total), tuple(adds), incoming)
