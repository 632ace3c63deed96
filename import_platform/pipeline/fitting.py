"""Pages made what the lake stores: columns in their stored types, and rows with a value that does not fit set apart."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.columns import masked, masked_rejected, read_schema
from import_platform.core.enrichment import enriched_schema
from import_platform.core.lattice import fitted
from import_platform.core.rejected import RejectedRow, rejected_rows
from import_platform.core.schema import Evolution, evolve, stored_schema
from import_platform.core.table import TableSpec
from import_platform.core.wording import type_text
from import_platform.io.delta import Snapshot
from import_platform.io.parquet import conform
from import_platform.sources.protocol import Page


def evolution_of(spec: TableSpec, snapshot: Snapshot | None) -> Evolution:
    """What the lake's columns must become for this table's rows. Raises as `core.schema.evolve`.

    The policy is about the source's columns: those of an enrichment were declared here.
    """
    added = enriched_schema(spec.enrich)
    if snapshot is None:
        return Evolution(pa.schema([*stored_schema(read_schema(spec)), *added]))
    lake, source = snapshot.schema, read_schema(spec)
    read = evolve(lake, source, table=spec.id, policy=spec.schema_policy, fixed=spec.fixed_columns)
    if not spec.enrich:
        return read
    told = evolve(read.schema, added, table=spec.id)
    return replace(read, schema=told.schema, added=read.added + told.added, widened=read.widened + told.widened)


class Fitting:
    """How pages of one table become rows of the lake, fixed when a pass begins or goes on.

    `schema` is that of the staged rows: the source's columns in the lake's types, those that are left out missing. The
    flush widens them again when the lake's types have gone on since.
    """

    def __init__(self, spec: TableSpec, snapshot: Snapshot | None) -> None:
        self._spec = spec
        evolution = evolution_of(spec, snapshot)
        left_out = set(evolution.left_out) - {spec.deleted}  # staged all the same: it decides which rows are stored
        read = read_schema(spec)
        fields = {field.name: field for field in (*stored_schema(read), *evolution.schema)}
        self.schema = pa.schema([fields[name] for name in read.names if name not in left_out])
        self._checked = frozenset(evolution.checked)

    def fit(self, page: Page) -> tuple[pa.RecordBatch, tuple[RejectedRow, ...]]:
        """The page's rows that fit, and all its rejected ones."""
        batch, rejected = masked(page.batch, self._spec), masked_rejected(page.rejected, self._spec)
        if not self._checked:
            return conform(batch, self.schema), rejected
        stored = conform(
            batch.select([name for name in self.schema.names if name not in self._checked]), self._unchecked
        )
        columns: list[pa.Array] = []
        misfits: dict[int, tuple[str, str]] = {}
        for field in self.schema:
            if field.name not in self._checked:
                columns.append(stored.column(field.name))
                continue
            values, bad = fitted(batch.column(field.name), field.type)
            columns.append(values)
            for position in () if bad is None else pc.indices_nonzero(bad).to_pylist():
                misfits.setdefault(position, (field.name, f"the value does not fit {type_text(field.type)}"))
        rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        if not misfits:
            return rows, rejected
        keep = pa.array([position not in misfits for position in range(rows.num_rows)])
        return rows.filter(keep), rejected + rejected_rows(batch, misfits, self._spec.primary_key)

    @property
    def _unchecked(self) -> pa.Schema:
        return pa.schema([field for field in self.schema if field.name not in self._checked])
