"""An open table whose columns grow while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from import_platform.core.columns import narrowed
from import_platform.core.enrichment import without_enriched
from import_platform.core.sampled import with_known
from import_platform.core.state import Attempt, Checkpoint
from import_platform.core.table import TableInfo
from import_platform.pipeline.context import OpenTable


def grown(table: OpenTable, info: TableInfo) -> OpenTable:
    """The open table with more or wider columns; every choice made for it stays."""
    kept = {*table.spec.fixed_columns, *([table.spec.deleted] if table.spec.deleted else [])}
    chosen = replace(narrowed(info, table.spec.choice, kept=kept), where=table.spec.info.where)
    return replace(table, spec=replace(table.spec, info=chosen))


def as_staged(table: OpenTable, attempt: Attempt, done: Sequence[Checkpoint]) -> OpenTable:
    """The open table with every column that chunks staged by an earlier process have."""
    last = next((checkpoint for checkpoint in reversed(done) if checkpoint.rows), None)
    if last is None or not table.spec.info.sampled:
        return table
    staged = without_enriched(table.staging.schema(attempt.id, last), table.spec.enrich)
    return grown(table, with_known(table.spec.info, staged))
