"""Rows on their way into the lake given the columns of their table's enrichments.

What was answered is remembered before the rows are staged, so nobody is asked twice for a key whose chunk is there. A
row without an answer is stored all the same, with the reason; it is asked for again by `backfill --only-missing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from import_platform.core.enriched_rows import Distinct, distinct, filled
from import_platform.core.enrichment import Answer, Enrichment, Refusal, check_asked, enriched_schema
from import_platform.core.wording import counted
from import_platform.io.enrichment_cache import EnrichmentCache
from import_platform.pipeline.asking import Asking
from import_platform.pipeline.context import OpenTable


class _Each:
    """One enrichment of a table, open for one pass."""

    def __init__(self, table: OpenTable, enrichment: Enrichment, stop: Callable[[], bool]) -> None:
        folder = table.context.lake.staging_path(table.spec.source, table.spec.name)
        self.enrichment = enrichment
        self.cache = EnrichmentCache(table.store, folder, enrichment)
        self.asking = Asking(enrichment, stop)
        self.remembered = 0

    def columns(self, rows: pa.RecordBatch) -> list[pa.Array]:
        # A schema policy may leave a column out that the source has.
        check_asked(self.enrichment, self.enrichment.key, rows.schema.names)
        found = distinct(rows, self.enrichment.key)
        answers: dict[bytes, Answer] = dict(self.cache.find(found.digests))
        self.remembered += len(answers)
        self._ask(rows, found, answers)
        return filled(self.enrichment, found, answers)

    def _ask(self, rows: pa.RecordBatch, found: Distinct, answers: dict[bytes, Answer]) -> None:
        """Adds the answers that are not there. Memory: as many batches as are asked at a time, as Python values."""
        open_ = [place for place, digest in enumerate(found.digests) if digest not in answers]
        asked = rows.select([name for name in self.enrichment.inputs if name in rows.schema.names])
        size = self.enrichment.batch_rows

        def batches() -> Iterator[tuple[list[bytes], list[dict[str, Any]]]]:
            for start in range(0, len(open_), size):
                places = open_[start : start + size]
                batch = asked.take(pa.array([found.rows[place] for place in places])).to_pylist()
                yield [found.digests[place] for place in places], batch

        for digests, told in self.asking.answers(batches()):
            for digest, answer in zip(digests, told, strict=True):
                answers[digest] = answer
                if not isinstance(answer, Refusal):
                    self.cache.put(digest, answer)
            if self.cache.is_due:
                self.cache.save()

    def told(self, table_id: str) -> str:
        asking, name = self.asking, self.enrichment.name
        said = f"{name}: {counted(asking.answered, 'key')} answered, {self.remembered:,} known before"
        said += f", {asking.failed:,} failed"
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
            each.asking.close()
            each.cache.save()
            if each.asking.answered or each.asking.failed:
                self._table.context.observer.note(self._table.id, each.told(self._table.id))

    def enrich(self, rows: pa.RecordBatch, names: Collection[str] | None = None) -> pa.RecordBatch:
        """The rows with the columns of their enrichments (those of these names), whatever they had in them.

        Raises:
            ConfigError: the rows have not the columns of a key.
            Interrupted: stopped on request; what was answered is remembered.
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
