"""Makes what a case starts from: `python -m bench.build CASE FOLDER`, in a process of its own.

    bases/<id>/_partition=<leaf>/part-00000.parquet + _delta_log/      a Delta table, the same bytes for every engine
    cases/<name>/batch-0.arrow                                         the rows to merge, Arrow IPC, with `_partition`
    cases/<name>/expected.json                                         checksum of the right result

`Case.warm_up` gets the same. Everything streams: one row group of the base is in memory at a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema
from pyarrow import ipc

from bench.cases import CASES, Base, Batch, Case, Places
from bench.rows import BATCH_ROWS, leaf, rows, schema
from bench.verify import expected_checksum

PARTITION = "_partition"
ROW_GROUP_ROWS = 1 << 20
STATISTICS = ("id", "created_at", "updated_at", "account_id", "status")


def build(case: Case, scratch: Path) -> None:
    """Makes the base, the batches and the expected checksum where they are missing."""
    at = Places(scratch, case)
    if not (at.base / "_delta_log").exists():
        _write_base(case.base, at.base)
    if not at.expected.exists():
        at.work.mkdir(parents=True, exist_ok=True)
        for index, batch in enumerate(case.batches):
            _write_batch(case.base, batch, at.work / f"batch-{index}.arrow", version=index + 1)
        at.expected.write_text(json.dumps(expected_checksum(at.base, at.batches)))


def _write_base(base: Base, folder: Path) -> None:
    adds = []
    for index in range(base.files):
        name = f"{PARTITION}={leaf(base, index * base.rows_per_file)}/part-{index:05d}.parquet"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = pq.ParquetWriter(path, schema(base.shape), compression="zstd", compression_level=1)
        for table in _row_groups(base, index):
            writer.write_table(table, row_group_size=table.num_rows)
        writer.close()
        adds.append(_add(base, index, name, path))
    log = folder / "_delta_log"
    log.mkdir()
    entries = [
        {"commitInfo": {"timestamp": 0, "operation": "CREATE TABLE AS SELECT", "operationParameters": {}}},
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        _metadata(base),
        *adds,
    ]
    (log / f"{0:020d}.json").write_text("\n".join(json.dumps(entry) for entry in entries))


def _row_groups(base: Base, index: int) -> Iterator[pa.Table]:
    pending: list[pa.RecordBatch] = []
    held_rows = held_bytes = 0
    first, last = index * base.rows_per_file, (index + 1) * base.rows_per_file
    for start in range(first, last, BATCH_ROWS[base.shape]):
        batch = rows(base, np.arange(start, min(start + BATCH_ROWS[base.shape], last)), version=0)
        if pending and (
            held_rows + batch.num_rows > ROW_GROUP_ROWS or held_bytes + batch.nbytes > base.row_group_bytes
        ):
            yield pa.Table.from_batches(pending)
            pending, held_rows, held_bytes = [], 0, 0
        pending.append(batch)
        held_rows += batch.num_rows
        held_bytes += batch.nbytes
    yield pa.Table.from_batches(pending)


def _metadata(base: Base) -> dict[str, object]:
    fields = Schema.from_arrow(pa.schema([*schema(base.shape), pa.field(PARTITION, pa.string())]))
    return {
        "metaData": {
            "id": "00000000-0000-0000-0000-000000000001",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": fields.to_json(),
            "partitionColumns": [PARTITION],
            "configuration": {},
            "createdTime": 0,
        }
    }


def _add(base: Base, index: int, name: str, path: Path) -> dict[str, object]:
    footer = pq.read_metadata(path)
    columns = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    lows, highs, nulls = {}, {}, {}
    for column in (c for c in STATISTICS if c in columns):
        found = [footer.row_group(g).column(columns[column]).statistics for g in range(footer.num_row_groups)]
        lows[column], highs[column] = _json(min(s.min for s in found)), _json(max(s.max for s in found))
        nulls[column] = 0
    statistics = {"numRecords": footer.num_rows, "minValues": lows, "maxValues": highs, "nullCount": nulls}
    return {
        "add": {
            "path": name,
            "partitionValues": {PARTITION: leaf(base, index * base.rows_per_file)},
            "size": path.stat().st_size,
            "modificationTime": 0,
            "dataChange": True,
            "stats": json.dumps(statistics),
        }
    }


def _json(value: object) -> object:
    return value if isinstance(value, int | str) else f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"


def _write_batch(base: Base, batch: Batch, path: Path, *, version: int) -> None:
    numbers = np.concatenate([_existing(base, batch, version), base.rows + np.arange(batch.inserted_rows)])
    np.random.Generator(np.random.PCG64([version, 99])).shuffle(numbers)
    table = rows(base, numbers, version=version)
    table = table.append_column(PARTITION, pa.array([leaf(base, int(n)) for n in numbers]))
    with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
        for start in range(0, table.num_rows, BATCH_ROWS[base.shape]):
            writer.write_batch(table.slice(start, BATCH_ROWS[base.shape]))


def _existing(base: Base, batch: Batch, version: int) -> np.ndarray:
    """Distinct row numbers, one at random out of each of `updated_rows` equal stretches of the files."""
    if not batch.updated_rows:
        return np.empty(0, dtype=np.int64)
    first = batch.first_file * base.rows_per_file
    span = (batch.files or base.files - batch.first_file) * base.rows_per_file
    dice = np.random.Generator(np.random.PCG64([version, 5]))
    stretch = span / batch.updated_rows
    starts = np.arange(batch.updated_rows) * stretch
    return first + np.floor(starts + dice.random(batch.updated_rows) * max(stretch - 1, 0)).astype(np.int64)


def main(name: str, scratch: str, size: str) -> None:
    case = next(c for c in CASES if c.name == name)
    case = case.quick() if size == "quick" else case
    build(case, Path(scratch))
    build(case.warm_up(), Path(scratch))


if __name__ == "__main__":
    main(*sys.argv[1:])
