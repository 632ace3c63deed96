"""Rows on their way into the lake given the columns of their table's enrichments.

What was answered is remembered before the rows are staged, so nobody is asked twice for a key whose chunk is there. A
row without an answer is stored all the same, with the reason; it is asked for again by `backfill --only-missing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from import_platform.core.enriched_rows import Distinct, distinct, filled
from import_platform.core.enrichment import Answer, Blame, Enrichment, Refusal, enriched_schema
from import_platform.io.enrichment_cache import EnrichmentCache
from import_platform.pipeline.context import OpenTable
from import_platform.sources.enrichment.caller import Caller, open_caller
from import_platform.sources.enrichment.shape import shaped

STRAIN: Mapping[Blame, int] = {Blame.ROWS: 1, Blame.CALL: 7, Blame.OWNER: 21}
STRAIN_MAX = 21
"""Nobody is asked any more in this run after one refusal that its owner has to mend, three batches in a row that were
not answered, or 21 single rows."""


class Asking:
    """One enrichment asked for rows. A batch that is refused for its rows is halved until the row is found that is to
    blame. Mutable: it counts what it was told."""

    def __init__(self, enrichment: Enrichment, caller: Caller) -> None:
        self._enrichment = enrichment
        self._caller = caller
        self._strain = 0
        self._given_up: Refusal | None = None
        self.answered = self.failed = 0

    @property
    def given_up(self) -> str:
        """Why nobody is asked any more in this run; empty while somebody is."""
        return self._given_up.sentence if self._given_up is not None else ""

    def answers(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """One per row. Raises Interrupted: stopped on request."""
        found = self._asked(rows)
        failed = sum(isinstance(answer, Refusal) for answer in found)
        self.failed += failed
        self.answered += len(found) - failed
        return found

    def _asked(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        if self._given_up is not None:
            return [self._given_up] * len(rows)
        found = self._caller.ask(rows)
        if not isinstance(found, Refusal):
            self._strain = 0
            return shaped(found, self._enrichment.outputs)
        if found.blame is Blame.ROWS and len(rows) > 1:
            half = len(rows) // 2
            return [*self._asked(rows[:half]), *self._asked(rows[half:])]
        self._strain += STRAIN[found.blame]
        if self._strain >= STRAIN_MAX:
            self._given_up = Refusal(f"not asked, after: {found.sentence}", found.blame)
        return [found] * len(rows)


class _Each:
    """One enrichment of a table, open for one pass."""

    def __init__(self, table: OpenTable, enrichment: Enrichment, stop: Callable[[], bool]) -> None:
        folder = table.context.lake.staging_path(table.spec.source, table.spec.name)
        self.enrichment = enrichment
        self.cache = EnrichmentCache(table.store, folder, enrichment)
        self.caller = open_caller(enrichment, stop)
        self.asking = Asking(enrichment, self.caller)
        self.remembered = 0

    def columns(self, rows: pa.RecordBatch) -> list[pa.Array]:
        found = distinct(rows, self.enrichment.key)
        answers: dict[bytes, Answer] = dict(self.cache.find(found.digests))
        self.remembered += len(answers)
        self._ask(rows, found, answers)
        return filled(self.enrichment, found, answers)

    def _ask(self, rows: pa.RecordBatch, found: Distinct, answers: dict[bytes, Answer]) -> None:
        """Adds the answers that are not there. Memory: one batch of rows as Python values."""
        open_ = [place for place, digest in enumerate(found.digests) if digest not in answers]
        asked = rows.select([name for name in self.enrichment.inputs if name in rows.schema.names])
        for start in range(0, len(open_), self.enrichment.batch_rows):
            places = open_[start : start + self.enrichment.batch_rows]
            batch = asked.take(pa.array([found.rows[place] for place in places])).to_pylist()
            for place, answer in zip(places, self.asking.answers(batch), strict=True):
                answers[found.digests[place]] = answer
                if not isinstance(answer, Refusal):
                    self.cache.put(found.digests[place], answer)
            if self.cache.is_due:
                self.cache.save()

    def told(self, table_id: str) -> str:
        asking, name = self.asking, self.enrichment.name
        said = f"{name}: {asking.answered:,} keys answered, {self.remembered:,} known before, {asking.failed:,} failed"
        if asking.given_up:
            said += f" ({asking.given_up})"
        return said + (f"; again: import-platform backfill {table_id} --only-missing" if asking.failed else "")


class Enriching:
    """The enrichments of a table for one pass; a context manager, because what was answered is saved as it ends.

    Memory: the keys and answers of one batch of rows.
    """

    def __init__(self, table: OpenTable, stop: Callable[[], bool]) -> None:
        """Raises ConfigError: a function cannot be imported, or an address is no URL."""
        self._table = table
        self._each = [_Each(table, enrichment, stop) for enrichment in table.spec.enrich]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._each:
            each.caller.close()
            each.cache.save()
            if each.asking.answered or each.asking.failed:
                self._table.context.observer.note(self._table.id, each.told(self._table.id))

    def enrich(self, rows: pa.RecordBatch, names: Collection[str] | None = None) -> pa.RecordBatch:
        """The rows with the columns of their enrichments (those of these names), whatever they had in them.

        Raises Interrupted: stopped on request; what was answered is remembered.
        """
        chosen = [each for each in self._each if names is None or each.enrichment.name in names]
        if not chosen:
            return rows
        added = enriched_schema([each.enrichment for each in chosen])
        arrays = [array for each in chosen for array in (each.columns(rows) if rows.num_rows else ())]
        if not rows.num_rows:
            arrays = [pa.nulls(0, field.type) for field in added]
        kept = [field for field in rows.schema if field.name not in added.names]
        columns = [*(rows.column(field.name) for field in kept), *arrays]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*kept, *added]))

    def save(self) -> None:
        """Makes every answer durable, before the rows that have it are."""
        for each in self._each:
            each.cache.save()
