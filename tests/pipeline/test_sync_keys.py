import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal

import pyarrow as pa
import pytest

from import_platform.core.table import HashPartition, SyncMode
from tests.pipeline.synced_table import EPOCH, PAGE_BY_PAGE, ROOMY, STREAMED

UTC_US = pa.timestamp("us", "UTC")
KEYS = {
    "int16": (pa.int16(), lambda i: i - 50),
    "int32": (pa.int32(), lambda i: i - 50),
    "int64": (pa.int64(), lambda i: (i - 50) * 10**16),
    "text": (pa.string(), lambda i: ("ä" * 70 if i % 2 else "") + f"key {i}"),
    "uuid": (pa.string(), lambda i: str(uuid.UUID(int=(i * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))),
    "date": (pa.date32(), lambda i: date(1969, 12, 1) + timedelta(days=i)),
    "timestamp": (UTC_US, lambda i: datetime(1969, 12, 31, tzinfo=UTC) + timedelta(hours=i, microseconds=i)),
    "naive timestamp": (pa.timestamp("us"), lambda i: datetime(1969, 12, 31) + timedelta(hours=i, microseconds=i)),
    "decimal": (pa.decimal128(38, 10), lambda i: Decimal((i - 50) * 37) / 128 if i % 2 else Decimal(i) * 10**20),
    "binary": (pa.binary(), lambda i: bytes([255 - i, 0, i])),
    "bool": (pa.bool_(), lambda i: bool(i)),
    "float": (pa.float64(), lambda i: (i - 50) / 7),
}
COUNT = {"bool": 2}


def keyed(kind, numbers, *, day=0, text="x"):
    dtype, make = KEYS[kind]
    return pa.table({
        "id": pa.array([None if i is None else _quantized(make(i), dtype) for i in numbers], dtype),
        "updated": pa.array([EPOCH + timedelta(days=day)] * len(numbers), UTC_US),
        "text": pa.array([f"{text}{i}" for i in numbers]),
    })  # fmt: skip


def _quantized(value, dtype):
    return value.quantize(Decimal("1e-10"), context=Context(prec=40)) if pa.types.is_decimal(dtype) else value


@pytest.mark.parametrize("budget", [ROOMY, STREAMED], ids=["held", "streamed"])
@pytest.mark.parametrize("kind", list(KEYS))
def test_a_key_of_any_type_finds_its_row(synced, kind, budget):
    count = COUNT.get(kind, 100)
    numbers = [*range(count), None]
    table = synced(keyed(kind, numbers), partition=HashPartition(1), budget=budget)
    table.sync()
    assert table.matches()
    half = [*range(count // 2), None]
    report = table.sync(pa.concat_tables([keyed(kind, half, day=1, text="y"), keyed(kind, range(count // 2, count))]))
    assert table.matches(), "a NULL key matches the NULL key"
    assert (report.rows_updated, report.rows_inserted) == (len(half), 0)


def composite(pairs, *, day=0, text="x"):
    return pa.table({
        "a": pa.array([a for a, _ in pairs], pa.int64()),
        "b": pa.array([b for _, b in pairs], pa.string()),
        "updated": pa.array([EPOCH + timedelta(days=day)] * len(pairs), UTC_US),
        "text": pa.array([f"{text}{i}" for i in range(len(pairs))]),
    })  # fmt: skip


@pytest.mark.parametrize("key", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("bits", [0, 3])
def test_composite_keys_match_in_all_their_columns_and_null_matches_null(synced, bits, key):
    pairs = [(1, "a"), (1, "b"), (2, "a"), (None, "a"), (1, None), (None, None), (12, ""), (1, "2")]
    table = synced(composite(pairs), primary_key=key, partition=HashPartition(bits))
    table.sync()
    changed = composite([(1, "b"), (None, "a"), (None, None)], day=1, text="y")
    rest = composite([(2, "b"), (None, "b"), (1, "a"), (2, "a"), (1, None), (12, ""), (1, "2")], day=1, text="z")
    report = table.sync(pa.concat_tables([changed, rest]))
    assert table.matches()
    assert (report.rows_updated, report.rows_inserted) == (8, 2)


def test_a_key_may_be_the_cursor_as_well(synced):
    first = pa.table({"id": pa.array(range(10), pa.int64()), "text": [f"x{i}" for i in range(10)]})
    more = pa.table({"id": pa.array(range(15), pa.int64()), "text": [f"x{i}" for i in range(15)]})
    table = synced(first, cursor="id", partition=HashPartition(0))
    table.sync()
    table.sync(more)
    assert table.matches()


def duplicates(versions):
    """Rows (id, second of `updated` or None, text) in arrival order."""
    return pa.table({
        "id": pa.array([i for i, _, _ in versions], pa.int64()),
        "updated": pa.array([None if s is None else EPOCH + timedelta(seconds=s) for _, s, _ in versions], UTC_US),
        "text": pa.array([t for _, _, t in versions]),
    })  # fmt: skip


@pytest.mark.parametrize("budget", [ROOMY, STREAMED, PAGE_BY_PAGE], ids=["held", "streamed", "chunk by chunk"])
@pytest.mark.parametrize("mode", [SyncMode.INCREMENTAL, SyncMode.FULL_REFRESH])
def test_of_rows_with_one_key_the_greatest_cursor_wins_then_the_latest_arrival(synced, mode, budget):
    arrived = duplicates([
        (1, 5, "wins"), (1, 4, "older"), (1, None, "none"),
        (2, 3, "first"), (2, 3, "wins"),
        (3, None, "first"), (3, None, "wins"),
        (4, 1, "alone"),
    ])  # fmt: skip
    table = synced(arrived, mode=mode, primary_key=("id",), partition=HashPartition(0), budget=budget, page_rows=2)
    table.source.primary_key = ()
    table.mode = mode
    table.sync()
    found = dict(table.lake_frame().select("id", "text").iter_rows())
    if mode is SyncMode.INCREMENTAL:
        assert found == {1: "wins", 2: "wins", 3: "wins", 4: "alone"}
    else:
        assert found == {1: "none", 2: "wins", 3: "wins", 4: "alone"}, "without a cursor only arrival counts"
    assert table.lake_frame().height == 4


def test_columns_in_another_order_at_the_source_change_nothing(synced):
    table = synced(keyed("int64", range(50)), partition=HashPartition(1))
    table.sync()
    report = table.sync(keyed("int64", range(60), day=1, text="y").select(["text", "updated", "id"]))
    lake = table.raw_frame().sort("id").select("text", "updated", "id")
    assert lake.equals(table.source_frame().sort("id"))
    assert (report.rows_updated, report.rows_inserted) == (50, 10)


def test_column_names_that_look_like_patterns_expressions_or_internals_are_just_names(synced):
    odd = ["^a.*$", "a.b", "*", "__row", "__at", "__leaf", "k0", "leaf", "path", "rows", "min.id", "a b", "ü", "50%"]
    first = pa.table({"id": pa.array([1, 2, 3], pa.int64()), **{name: pa.array([1, 2, 3], pa.int64()) for name in odd}})
    then = pa.table({"id": pa.array([1, 2, 3], pa.int64()), **{name: pa.array([1, 5, 6], pa.int64()) for name in odd}})
    table = synced(first, primary_key=("id",), cursor="a.b", partition=HashPartition(1))
    table.sync()
    assert table.matches()
    table.sync(then)
    assert table.matches()


@pytest.mark.parametrize("name", ["^a.*$", "a.b", "__row", "__at", "__leaf", "k0", "leaf", "path", "value", "text"])
def test_a_key_of_any_name_works(synced, name):
    def named(values):
        return pa.table({name: pa.array(range(len(values)), pa.int64()), "v": pa.array(values, pa.int64())})

    table = synced(named([1, 2, 3]), primary_key=(name,), cursor="v", partition=HashPartition(1))
    table.source.primary_key = (name,)
    table.sync()
    table.sync(named([5, 2, 6, 7]))
    assert table.matches()
