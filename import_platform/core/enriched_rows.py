"""Rows and the answers of an enrichment: which are missing, which keys they have, and the columns that come of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.enrichment import FAILED, OK, Answer, Enrichment, Refusal
from import_platform.core.lattice import widened

DIGEST_BYTES = 16


def missing(rows: pa.RecordBatch, enrichment: Enrichment) -> pa.Array:
    """A mask of the rows that have a key and no answer."""
    answered = pc.fill_null(pc.equal(rows.column(enrichment.status), OK), False)
    return pc.and_not(_has_key(rows, enrichment.key), answered)


def _has_key(rows: pa.RecordBatch, key: Sequence[str]) -> pa.Array:
    found = rows.column(key[0]).is_valid()
    for name in key[1:]:
        found = pc.or_(found, rows.column(name).is_valid())
    return found


@dataclass(frozen=True)
class Distinct:
    """The keys of some rows, each once: `digests` of them, `rows` the first row of each, and `places`, which key each
    row has (null: none, for a key of nulls only)."""

    digests: tuple[bytes, ...]
    rows: tuple[int, ...]
    places: pa.Array


def distinct(rows: pa.RecordBatch, key: Sequence[str]) -> Distinct:
    """Memory: the keys as text, twice."""
    texts = {f"k{i}": pl.Series(values=pl.from_arrow(widened(rows.column(n), pa.string()))) for i, n in enumerate(key)}
    names = list(texts)
    frame = pl.DataFrame(texts).with_row_index("row")
    present = frame.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names))
    first = present.group_by(names, maintain_order=True).agg(pl.col("row").first()).with_row_index("place")
    joined = frame.join(first.drop("row"), on=names, how="left", nulls_equal=True, maintain_order="left")
    digests = tuple(_digest(texts) for texts in first.select(names).iter_rows())
    return Distinct(digests, tuple(first["row"].to_list()), joined["place"].cast(pl.Int64).to_arrow())


def _digest(texts: Sequence[str | None]) -> bytes:
    return hashlib.sha256(json.dumps(texts).encode()).digest()[:DIGEST_BYTES]


def filled(enrichment: Enrichment, found: Distinct, answers: Mapping[bytes, Answer]) -> list[pa.Array]:
    """The columns of `enrichment.schema` for the rows that `found` tells of."""
    nothing = (None,) * len(enrichment.outputs)
    each = [answers[digest] for digest in found.digests]
    values = [nothing if isinstance(answer, Refusal) else answer for answer in each]
    columns = [pa.array([value[i] for value in values], output.type) for i, output in enumerate(enrichment.outputs)]
    status = pa.array([FAILED if isinstance(answer, Refusal) else OK for answer in each], pa.string())
    errors = pa.array([answer.sentence if isinstance(answer, Refusal) else None for answer in each], pa.string())
    return [column.take(found.places) for column in (*columns, status, errors)]
