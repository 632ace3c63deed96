"""The same rows in other files: splits, coarsenings and compactions as one streaming rewrite and one commit.

Inputs are rewritten in groups with outputs of their own, so a sync that commits in between costs only the groups it
touched. Readers see the same rows before and after; `data_change` is False.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.identity import Identity
from import_platform.core.layout import check_prefix_free
from import_platform.core.merge import FOLD_FILE_BYTES
from import_platform.errors import CommitConflict, CommitOutcomeUnknown, InvariantBroken
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import LeafWriter, WrittenFile
from import_platform.pipeline.context import LakeTable, stored_identity
from import_platform.pipeline.ordered import ordered_batches
from import_platform.pipeline.scatter import OnRows, Scatter, buffered_bytes, ignore_rows

GROUP_BYTES = 256 << 20
TRIES = 20
LOSSES_BEFORE_LEASE = 3
BACKOFF_SECONDS = 0.1

Select = Callable[[Snapshot], Sequence[str]]
Place = Callable[[pa.RecordBatch, Snapshot], pl.Series]


@dataclass(frozen=True)
class Scattered:
    """Rows go where `place` says, `targets` being the leaves expected; their order within an input is kept."""

    place: Place
    targets: Sequence[str]


@dataclass(frozen=True)
class Gathered:
    """All rows go into one leaf, in primary key order where there is a key."""

    leaf: str


@dataclass(frozen=True)
class Relayouted:
    """What a relayout did; zero files when there was nothing to do. Bytes are at rest.

    `rewritten_bytes` counts every file written, those of lost rounds included; `bytes_written` those committed.
    """

    files_removed: int = 0
    files_added: int = 0
    rows: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    rewritten_bytes: int = 0
    rounds: int = 0
    leaves: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Try:
    snapshot: Snapshot
    inputs: list[str]
    adds: list[WrittenFile]


class Relayout:
    """One relayout of a table. `select` names the input files of a snapshot and is asked again after a lost race.

    Memory: `buffered_bytes` of source rows, about two decoded batches, and the encoder's one row group.
    """

    def __init__(
        self,
        table: LakeTable,
        select: Select,
        how: Scattered | Gathered,
        *,
        kind: str,
        budget: MemoryBudget,
        watch: MemoryWatch | None = None,
        on_rows: OnRows = ignore_rows,
    ) -> None:
        self._table = table
        self._select = select
        self._how = how
        self._kind = kind
        self._budget = budget
        self._watch = watch or MemoryWatch()
        self._on_rows = on_rows
        children = len(how.targets) if isinstance(how, Scattered) else 1
        # A group leaves one file in every child: large enough not to be folded by the next merge, if the leaf allows.
        self._group_bytes = max(GROUP_BYTES, children * FOLD_FILE_BYTES)
        self._id = uuid.uuid4().hex
        self._seen: set[str] = set()
        self._done: dict[frozenset[str], list[WrittenFile]] = {}
        self._schema: pa.Schema | None = None
        self._doubtful: dict[int, _Try] = {}
        self._leased = False

    def run(self) -> Relayouted:
        """Rewrites and commits.

        Raises:
            CommitConflict: twenty rounds were lost, the last ones while holding the table's lease (try later).
            InvariantBroken: the rewrite would change the number of rows; nothing was committed.
        """
        try:
            for round_ in range(1, TRIES + 1):
                done = self._round(round_)
                if done is not None:
                    return done
                self._ask_for_quiet(round_)
                time.sleep(random.uniform(0, BACKOFF_SECONDS * min(round_, 10)))
        finally:
            if self._leased:
                self._table.staging.release_lease(self._id)
        self._delete_uncommitted(())
        raise CommitConflict(
            "other writers won every round",
            table=self._table.id,
            rounds=TRIES,
            remedy="Try again when the table is quieter.",
        )

    def _round(self, number: int) -> Relayouted | None:
        """What was done; None when the race was lost."""
        snapshot = self._table.log.snapshot()
        landed = self._landed()
        if landed is not None:
            return self._finished(landed, number)
        inputs = list(self._select(snapshot)) if snapshot is not None else []
        if snapshot is None or self._is_done(snapshot, inputs):
            self._delete_uncommitted(())
            return Relayouted(rounds=number)
        if stored_identity(snapshot) != self._stored():
            raise CommitConflict(
                "the table got another partition meanwhile", table=self._table.id, remedy="Run it again."
            )
        if self._schema is not None and self._schema != snapshot.schema:
            self._delete_uncommitted(())
            self._done.clear()
        self._schema = snapshot.schema
        adds = [file for group in self._groups(snapshot, inputs) for file in self._written(snapshot, group)]
        self._check(snapshot, inputs, adds)
        commit = Commit(adds, inputs, data_change=False, facts=self._facts())
        try:
            self._commit(snapshot, commit)
        except (CommitConflict, CommitOutcomeUnknown):
            self._doubtful[snapshot.version + 1] = _Try(snapshot, inputs, adds)
            return None
        self._verify(snapshot, inputs, adds)
        return self._finished(_Try(snapshot, inputs, adds), number)

    def _is_done(self, snapshot: Snapshot, inputs: Sequence[str]) -> bool:
        return not inputs

    def _stored(self) -> Identity:
        """The identity that the table in the lake must have."""
        return self._table.identity

    def _commit(self, base: Snapshot, commit: Commit) -> None:
        self._table.log.commit(base, commit)

    def _facts(self) -> dict[str, str]:
        return {"import_platform.kind": self._kind, "import_platform.relayout": self._id}

    def _landed(self) -> _Try | None:
        """The commit of ours that is in the log after all.

        A store that lost its acknowledgement may report our own commit as somebody else's, or write it later.
        """
        for version, tried in list(self._doubtful.items()):
            found = self._table.log.holds(version, self._id)
            if found:
                self._doubtful.clear()
                return tried
            if found is False:
                del self._doubtful[version]
        return None

    def _finished(self, done: _Try, rounds: int) -> Relayouted:
        rewritten_bytes = sum(file.size_bytes for files in self._done.values() for file in files)
        self._delete_uncommitted(done.adds)
        chosen = done.snapshot.files.filter(pl.col("path").is_in(done.inputs))
        return Relayouted(
            files_removed=len(done.inputs),
            files_added=len(done.adds),
            rows=int(chosen["rows"].sum()),
            bytes_read=int(chosen["size_bytes"].sum()),
            bytes_written=sum(file.size_bytes for file in done.adds),
            rewritten_bytes=rewritten_bytes,
            rounds=rounds,
            leaves=tuple(sorted({file.leaf for file in done.adds})),
        )

    def _ask_for_quiet(self, losses: int) -> None:
        """Takes the table's lease after some losses, and keeps it fresh once it is ours."""
        if self._leased:
            self._table.staging.renew_lease(self._id)
        elif losses >= LOSSES_BEFORE_LEASE:
            self._leased = self._table.staging.take_lease(self._id)

    def _groups(self, snapshot: Snapshot, inputs: Sequence[str]) -> list[frozenset[str]]:
        """Groups already written whose inputs are all still there, and new ones for the rest.

        Files that appeared while we were writing get groups of their own: they are the ones that will change again.
        """
        wanted = set(inputs)
        kept = [group for group in self._done if group <= wanted]
        left = [path for path in inputs if not any(path in group for group in kept)]
        stable = [path for path in left if path in self._seen or not self._seen]
        fresh = [path for path in left if path not in stable]
        self._seen |= wanted
        sizes = dict(snapshot.files.select("path", "size_bytes").iter_rows())
        return [*kept, *self._cut(stable, sizes), *self._cut(fresh, sizes)]

    def _cut(self, paths: Sequence[str], sizes: dict[str, int]) -> list[frozenset[str]]:
        groups: list[list[str]] = []
        total = 0
        for path in paths:
            if not groups or total + sizes[path] > self._group_bytes:
                groups.append([])
                total = 0
            groups[-1].append(path)
            total += sizes[path]
        return [frozenset(group) for group in groups]

    def _written(self, snapshot: Snapshot, group: frozenset[str]) -> list[WrittenFile]:
        if group not in self._done:
            modified = dict(snapshot.files.select("path", "modified_ms").iter_rows())
            paths = sorted(group, key=lambda path: (modified[path], path))
            write = self._scatter if isinstance(self._how, Scattered) else self._gather
            self._done[group] = write(snapshot, paths)
        return self._done[group]

    def _scatter(self, snapshot: Snapshot, paths: Sequence[str]) -> list[WrittenFile]:
        assert isinstance(self._how, Scattered)
        place = self._how.place
        return Scatter(
            self._table,
            snapshot.schema,
            lambda batch: place(batch, snapshot),
            targets=self._how.targets,
            statistics_first=self._table.identity.primary_key,
            budget=self._budget,
            watch=self._watch,
            on_rows=self._on_rows,
        ).write(paths)

    def _gather(self, snapshot: Snapshot, paths: Sequence[str]) -> list[WrittenFile]:
        assert isinstance(self._how, Gathered)
        table = self._table
        primary_key = table.identity.primary_key
        writer = LeafWriter(table.store, table.path, self._how.leaf, snapshot.schema, statistics_first=primary_key)
        for batch in ordered_batches(
            table.store,
            [f"{table.path}/{path}" for path in paths],
            primary_key,
            schema=snapshot.schema,
            limit_bytes=buffered_bytes(self._budget) // 2,
        ):
            with self._watch.breathe():
                writer.write(batch)
            self._on_rows(batch.num_rows)
        return writer.close()

    def _check(self, snapshot: Snapshot, inputs: Sequence[str], adds: Sequence[WrittenFile]) -> None:
        before = int(snapshot.files.filter(pl.col("path").is_in(list(inputs)))["rows"].sum())
        after = sum(file.rows for file in adds)
        if before != after:
            raise InvariantBroken(
                "a rewrite would change the number of rows", table=self._table.id, rows_before=before, rows_after=after
            )
        kept = snapshot.files.filter(~pl.col("path").is_in(list(inputs)))["leaf"].unique().to_list()
        check_prefix_free({*kept, *(file.leaf for file in adds)}, self._table.identity.partition)

    def _verify(self, before: Snapshot, inputs: Sequence[str], adds: Sequence[WrittenFile]) -> None:
        after = self._table.log.snapshot()
        if after is None or after.version != before.version + 1:
            return  # others committed meanwhile; their snapshots build on ours
        present = set(after.files["path"].to_list())
        if after.rows != before.rows or present & set(inputs) or not present.issuperset(f.path for f in adds):
            raise InvariantBroken(
                "a rewrite is not in the log as it was committed",
                table=self._table.id,
                expected_rows=before.rows,
                found_rows=after.rows,
            )

    def _delete_uncommitted(self, committed: Sequence[WrittenFile]) -> None:
        """Deletes what this relayout wrote and never committed; after a kill, or in doubt, vacuum does it."""
        if self._doubtful:
            return
        written = {file.path for files in self._done.values() for file in files}
        orphans = written - {file.path for file in committed}
        self._table.store.delete(f"{self._table.path}/{path}" for path in sorted(orphans))
