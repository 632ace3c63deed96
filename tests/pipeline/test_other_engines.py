"""Whatever was done to a table, DuckDB, Polars, deltalake and Spark see the same rows in it: those of the source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from import_platform.core.lattice import join, widened
from import_platform.core.schema import stored_schema
from import_platform.core.table import UNPARTITIONED, HashPartition
from import_platform.pipeline.convert import convert
from import_platform.pipeline.maintain import compact_leaf, maintain
from import_platform.pipeline.split import coarsen
from tests.pipeline.engines import Reader, readers, rows_of, spark_session
from tests.pipeline.lake_table import files_in_log, files_on_disk, in_lake, split
from tests.pipeline.synced_table import EPOCH, ROOMY, SyncedTable, rows
from tests.pipeline.test_schema_evolution import PAIRS, VALUES

INSTANT = pa.timestamp("us", "UTC")
NARROW = {"n": pa.int32(), "f": pa.float32(), "amount": pa.decimal128(10, 2), "code": pa.int64(), "day": pa.date32()}
WIDE = {"n": pa.int64(), "f": pa.float64(), "amount": pa.decimal128(18, 2), "code": pa.string(), "day": INSTANT}
PLACE = ["id", "_partition"]
CONDITIONS = [
    "id >= 0",
    "id >= 690 AND id < 760",
    "_partition = '2025-01'",
    "n IS NULL",
    "created IS NULL",
    "text = 'x7'",
]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reader]]:
    with spark_session(tmp_path_factory.mktemp("spark") / "log") as session:
        yield readers(session)


def shop(ids: range, *, day: int = 0, types: dict[str, pa.DataType] = NARROW, text: str = "x") -> pa.Table:
    """An hour of `created` per id, every 50th without one; values at the edges of their types, and nulls."""
    hours = [None if i % 50 == 49 else EPOCH + timedelta(hours=i) for i in ids]
    low, high = (-(2**31), 2**31 - 1) if types["n"] == pa.int32() else (-(2**63), 2**63 - 1)
    some = [[low, high, 0, None][i % 4] for i in ids]
    coded = [f"c{i}" for i in ids] if types["code"] == pa.string() else list(ids)
    days = [date(2024, 2, 29) + timedelta(days=i % 7) for i in ids]
    instants = [datetime(d.year, d.month, d.day, 23, 59, 59, 999999, UTC) for d in days]
    return pa.table({
        "id": pa.array(ids, pa.int64()),
        "created": pa.array(hours, INSTANT),
        "updated": pa.array([EPOCH + timedelta(days=day, seconds=i) for i in ids], INSTANT),
        "text": pa.array([f"{text}{i}" if i % 3 else "ü '\n\x00\\ %41" for i in ids], pa.string()),
        "flag": pa.array([[True, False, None][i % 3] for i in ids], pa.bool_()),
        "blob": pa.array([bytes([i % 256, 255]) if i % 5 else None for i in ids], pa.binary()),
        "n": pa.array(some, types["n"]),
        "f": pa.array([[0.5, float("nan"), float("inf"), None][i % 4] for i in ids], types["f"]),
        "amount": pa.array([Decimal("99999999.99") if i % 2 else Decimal("-0.01") for i in ids], types["amount"]),
        "code": pa.array(coded, types["code"]),
        "day": pa.array(days if types["day"] == pa.date32() else instants, types["day"]),
    })  # fmt: skip


def changed(table: SyncedTable, rows: pa.Table) -> pa.Table:
    """The source's rows in the types of the new ones, which take the place of those with their ids."""
    ids = set(rows["id"].to_pylist())
    kept = table.source.rows.filter(pa.array([i not in ids for i in table.source.rows["id"].to_pylist()]))
    return pa.concat_tables([kept.cast(rows.schema), rows])


def agree(table: SyncedTable, engines: dict[str, Reader]) -> None:
    """Every engine has the source's rows, and all have the same leaf for each; also where they skip files by statistics."""
    columns = table.source.rows.column_names
    expected = rows_of(table.source.rows.cast(stored_schema(table.source.rows.schema)), columns)
    found = {name: read(table.uri, "id >= 0") for name, read in engines.items()}
    for name, read in found.items():
        assert sorted(read.column_names) == sorted([*columns, "_partition"]), name
        assert rows_of(read, columns) == expected, name
    whole = found["polars"]
    for condition in CONDITIONS:
        want = rows_of(duckdb.sql(f"SELECT id, _partition FROM whole WHERE {condition}").to_arrow_table(), PLACE)
        for name, read in engines.items():
            assert rows_of(read(table.uri, condition), PLACE) == want, (name, condition, whole.num_rows)


@pytest.fixture
def table(synced) -> SyncedTable:
    """Two months and the leaf `null`, merged into once: updates, inserts, and rows that move to another leaf."""
    made: SyncedTable = synced(shop(range(900)), settled=True)
    made.sync()
    late = shop(range(880, 1000), day=1, text="y")
    moved = shop(range(10), day=2).set_column(1, "created", pa.array([EPOCH + timedelta(days=40)] * 10, INSTANT))
    made.sync(changed(made, late))
    made.sync(changed(made, moved))
    return made


def test_after_merges(table: SyncedTable, engines: dict[str, Reader]) -> None:
    assert set(table.leaves()) == {"2025-01", "2025-02", "null"}
    agree(table, engines)


def test_after_a_merge_that_deletes(synced, engines: dict[str, Reader]) -> None:
    gone = pa.array([None] * 900, INSTANT)
    table = synced(shop(range(900)).append_column("gone", gone), settled=True, declared={"deleted": "gone"})
    table.sync()
    marked = shop(range(100, 200), day=1).append_column("gone", pa.array([EPOCH] * 100, INSTANT))
    table.sync(changed(table, marked))
    table.source.rows = table.source.rows.filter(
        pa.array([not 100 <= i < 200 for i in table.source.rows["id"].to_pylist()])
    )
    agree(table, engines)


def test_after_a_split_into_days_hours_and_hash_bits_and_back(table: SyncedTable, engines: dict[str, Reader]) -> None:
    split(table, "2025-01", limit_bytes=2_000)
    split(table, "null", limit_bytes=500)
    leaves = set(table.leaves())
    assert {"2025-01-01", "2025-02"} < leaves
    assert any(leaf.startswith("null.h") for leaf in leaves)
    agree(table, engines)
    coarsen(in_lake(table), "2025-01", budget=ROOMY)
    assert "2025-01" in table.leaves()
    agree(table, engines)


@pytest.mark.parametrize("partition", [UNPARTITIONED, HashPartition(2)], ids=["none", "hash"])
def test_after_a_change_of_partition(table: SyncedTable, engines: dict[str, Reader], partition) -> None:
    opened = in_lake(table)
    convert(opened, partition, limit_bytes=10**9, budget=ROOMY)
    assert not any(leaf.startswith("2025") for leaf in table.leaves())
    agree(table, engines)


def test_after_columns_were_added_and_widened(table: SyncedTable, engines: dict[str, Reader]) -> None:
    before = files_in_log(table)
    metadata_only = NARROW | {"n": pa.int64(), "f": pa.float64(), "amount": pa.decimal128(18, 2)}
    table.sync(changed(table, shop(range(1000, 1100), day=50, types=metadata_only)))
    assert before & files_in_log(table), "files of the narrower types stay, and every engine reads them as wider ones"
    agree(table, engines)
    added = shop(range(1100, 1150), day=60, types=metadata_only).append_column("extra", pa.array(["new"] * 50))
    table.source.rows = table.source.rows.append_column("extra", pa.nulls(table.source.rows.num_rows, pa.string()))
    table.sync(changed(table, added))
    agree(table, engines)


def test_after_a_widening_that_rewrites(table: SyncedTable, engines: dict[str, Reader]) -> None:
    before = files_in_log(table)
    table.sync(changed(table, shop(range(1000, 1100), day=50, types=WIDE)))
    assert before.isdisjoint(files_in_log(table))
    agree(table, engines)


def test_after_maintenance(table: SyncedTable, engines: dict[str, Reader]) -> None:
    for leaf in ("2025-01", "2025-02", "null"):
        compact_leaf(in_lake(table), leaf, budget=ROOMY)
    swept = maintain(in_lake(table), budget=ROOMY, vacuum_age=timedelta(0))
    assert swept.deleted_files > 0
    assert files_on_disk(table) == files_in_log(table)
    agree(table, engines)


def test_after_a_full_refresh(table: SyncedTable, engines: dict[str, Reader]) -> None:
    table.sync(shop(range(300, 700), day=3), full_refresh=True)
    assert table.raw_frame().height == 400
    agree(table, engines)


def test_after_every_widening_there_is(synced, engines: dict[str, Reader]) -> None:
    """A column per pair of types: a row in the old one, a null, a row in the new one."""
    names = [f"c{i}" for i in range(len(PAIRS))]
    plain = rows([1, 2]).select(["id", "created", "updated"])
    later = rows([3], day=1).select(["id", "created", "updated"])
    for name, (old, new) in zip(names, PAIRS, strict=True):
        plain = plain.append_column(name, pa.array([VALUES[old], None], old))
        later = later.append_column(name, pa.array([VALUES[new]], new))
    table = synced(plain, settled=True)
    table.sync()
    table.sync(later)
    met = [[widened(pa.array([VALUES[t]], t), join(*pair))[0].as_py() for t in pair] for pair in PAIRS]
    expected = [(1, *(old for old, _ in met)), (2, *(None for _ in met)), (3, *(new for _, new in met))]
    for name, read in engines.items():
        assert rows_of(read(table.uri, "id >= 0"), ["id", *names]) == expected, name


def test_an_engine_that_sees_a_row_less_is_told(table: SyncedTable, engines: dict[str, Reader]) -> None:
    short = {"short-sighted": lambda path, condition: engines["polars"](path, condition).slice(1)}
    with pytest.raises(AssertionError, match="short-sighted"):
        agree(table, engines | short)
