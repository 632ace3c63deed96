"""Which of some rows the lake has, and in which version."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from import_platform.core.merge import candidate_files
from import_platform.io.delta import Snapshot
from import_platform.io.parquet import read_batches
from import_platform.pipeline.context import OpenTable

BATCH_BYTES = 4 << 20


def newer_than_lake(table: OpenTable, snapshot: Snapshot, rows: pa.RecordBatch) -> pl.Series:
    """True for rows that the lake lacks, or has with a lesser cursor value; without a cursor, for those it lacks.

    `rows` are in the lake's types. Memory: keys and cursors of `rows`, and one batch of the files that can hold them.
    """
    key, cursor = table.identity.primary_key, table.spec.cursor
    asked = _frame(rows, key, cursor)
    on = [f"k{i}" for i in range(len(key))]
    first = asked["k0"].sort(nulls_last=False).alias(key[0])
    known = [asked.clear()]
    for path in candidate_files(snapshot.files, first, leaves=None)["path"]:
        columns = [*key, *([cursor] if cursor is not None and cursor not in key else [])]
        full = f"{table.path}/{path}"
        for _, batch in read_batches(table.store, full, columns=columns, limit_bytes=BATCH_BYTES):
            frame = _frame(batch, key, cursor).cast(asked.schema)
            known.append(frame.join(asked, on=on, how="semi", nulls_equal=True))
    lake = pl.concat(known).group_by(on).agg(pl.col("cursor").max().alias("lake"), pl.lit(True).alias("held"))
    joined = asked.join(lake, on=on, how="left", nulls_equal=True, maintain_order="left")
    newer = joined["held"].is_null()
    return newer | (joined["cursor"] > joined["lake"]).fill_null(False)


def _frame(rows: pa.RecordBatch, key: tuple[str, ...], cursor: str | None) -> pl.DataFrame:
    columns = {f"k{i}": pl.Series(values=pl.from_arrow(rows.column(name))) for i, name in enumerate(key)}
    values = pl.from_arrow(rows.column(cursor)) if cursor is not None else pa.nulls(rows.num_rows, pa.int64())
    return pl.DataFrame(columns | {"cursor": pl.Series(values=values)})
