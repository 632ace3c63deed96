"""Encodings: what each kind of column gets, and that other engines read it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.io.encoding import SAMPLE_ROWS, ascending_columns, dictionary_columns, even_columns
from import_platform.io.parquet import LeafWriter
from import_platform.io.store import Store

US = pa.timestamp("us", "UTC")


def test_a_dictionary_is_for_columns_that_repeat_themselves():
    table = pa.table({
        "same": ["a"] * 100, "unique": [str(i) for i in range(100)], "half": [i // 2 for i in range(100)],
        "flag": [True] * 100, "list": [[1]] * 100, "null": pa.nulls(100, pa.string()), "dec": [Decimal("1.5")] * 100,
        "bin": [b"x"] * 100,
    })  # fmt: skip
    assert dictionary_columns(table) == ["same", "half", "null", "dec", "bin"]


def test_ascending_numbers_and_times_are_stored_as_differences():
    day = datetime(2025, 1, 1)
    table = pa.table(
        {
            "id": [1, 2, 5],
            "same": [1, 1, 1],
            "down": [3, 2, 1],
            "null": pa.array([1, None, 3], pa.int64()),
            "at": pa.array([day, day, day], US),
            "text": ["a", "b", "c"],
            "float": [1.0, 2.0, 3.0],
        }
    )
    assert ascending_columns(table, ["same"]) == ["id", "at"]


def test_texts_of_one_length_are_stored_apart_from_their_lengths():
    table = pa.table(
        {
            "hash": ["aa", "bb", None],
            "digest": [b"aaa", b"bbb", b"ccc"],
            "umlaut": ["ä", "bb", "cc"],  # two bytes each
            "text": ["a", "bb", "c"],
            "same": ["x", "x", "x"],
            "null": pa.nulls(3, pa.string()),
            "id": [1, 2, 3],
        }
    )
    assert even_columns(table, ["same"]) == ["hash", "digest", "umlaut"]


def test_other_readers_see_every_encoding_as_the_rows_that_were_written(tmp_path):
    rows = 12_000
    hashes = [hashlib.md5(str(i).encode()).hexdigest() if i % 7 else None for i in range(rows)]
    hashes[SAMPLE_ROWS + 1000] = "of another length, behind the first ones, which decided"
    table = pa.table({"id": range(rows), "status": ["new", "old"] * (rows // 2), "hash": hashes})
    writer = LeafWriter(Store(str(tmp_path)), "table", "all", table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    [file] = writer.close()
    path = tmp_path / "table" / file.path
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = {group.column(i).path_in_schema: set(group.column(i).encodings) for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in found["id"]
    assert "RLE_DICTIONARY" in found["status"]
    assert "DELTA_LENGTH_BYTE_ARRAY" in found["hash"]
    assert pl.read_parquet(path, hive_partitioning=False).to_dicts() == table.to_pylist()
    read = duckdb.sql(f"SELECT id, status, hash FROM read_parquet('{path}') ORDER BY id")
    assert read.fetchall() == [tuple(row.values()) for row in table.to_pylist()]
