"""Makes Parquet files of invented measurements, ordered by (address, measured_at): `make_measurements.py FOLDER ROWS`.

Most addresses have a few measurements and some have thousands, as in real networks. The same arguments always make the
same rows. Memory: one row group, about 60 MB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 1_000_000
GROUPS_PER_FILE = 10
MEAN_PER_ADDRESS = 40
EPOCH_MICROS = 1_735_689_600_000_000  # 2025-01-01 UTC
SCHEMA = pa.schema(
    [
        ("address", pa.string()),
        ("measured_at", pa.timestamp("us", "UTC")),
        ("round_trip_ms", pa.float32()),
        ("hops", pa.int16()),
    ]
)


def make(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.Generator(np.random.PCG64(7))
    address, left = -1, 0  # the open address, and how many of its measurements are still to come
    made = number = 0
    clock = EPOCH_MICROS
    while made < rows:
        with pq.ParquetWriter(folder / f"measurements-{number:04d}.parquet", SCHEMA, compression="zstd") as writer:
            for _ in range(GROUPS_PER_FILE):
                count = min(ROWS_PER_GROUP, rows - made)
                if not count:
                    break
                sizes = np.minimum(dice.zipf(1.6, count // 8 + 1) + dice.geometric(1 / 25, count // 8 + 1), 50_000)
                ids = np.repeat(np.arange(address + 1, address + 1 + sizes.size), sizes)
                ids = np.concatenate([np.full(left, address), ids])
                ids, rest = ids[:count], ids[count:]
                steps = dice.integers(1, 60_000_000, count)
                begins = np.concatenate([[not left], ids[1:] != ids[:-1]])
                first = np.maximum.accumulate(np.where(begins, np.arange(count), 0))
                since = np.cumsum(steps) - np.cumsum(steps)[first] + steps[first]
                goes_on = ~np.logical_or.accumulate(begins)  # with the address of the row group before
                at = np.where(goes_on, clock + np.cumsum(steps), EPOCH_MICROS + since)
                clock, address = int(at[-1]), int(ids[count - 1])
                left = int((rest == address).sum())
                writer.write_table(_table(ids, at, dice))
                made += count
        number += 1


def _table(ids: np.ndarray, at: np.ndarray, dice: np.random.Generator) -> pa.Table:
    unique, codes = np.unique(ids, return_inverse=True)
    texts = [f"2001:db8:{i >> 32 & 0xFFFF:04x}:{i >> 16 & 0xFFFF:04x}:{i & 0xFFFF:04x}::1" for i in unique.tolist()]
    address = pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(texts)).cast(pa.string())
    stamps = pa.array(at).cast(SCHEMA.field("measured_at").type)
    trips = pa.array((dice.gamma(2.0, 20.0, len(ids)) * 100).round() / 100, pa.float32())
    hops = pa.array(dice.integers(1, 30, len(ids), dtype=np.int16))
    return pa.Table.from_arrays([address, stamps, trips, hops], schema=SCHEMA)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(float(sys.argv[2])))
