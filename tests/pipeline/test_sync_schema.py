from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.table import Granularity, HashPartition, NumberPartition, SyncMode, TimePartition
from import_platform.errors import ConfigError
from tests.pipeline.synced_table import MONTHLY, rows


def wide(count, **columns):
    """Rows 0..count with the given columns (type, values)."""
    day = rows(range(count))
    table = day.select(["id", "created", "updated"])
    for name, (dtype, values) in columns.items():
        table = table.append_column(name, pa.array(values, dtype))
    return table


@pytest.mark.parametrize("mode", [SyncMode.INCREMENTAL, SyncMode.APPEND])
def test_a_new_column_is_added_and_null_in_older_rows(synced, mode):
    table = synced(wide(5), mode=mode, settled=True)
    table.sync()
    table.sync(wide(8, extra=(pa.string(), [None] * 5 + ["a", "b", "c"])))
    assert table.matches()
    assert table.log.snapshot().schema.field("extra").nullable


def test_a_full_refresh_brings_the_values_of_a_new_column(synced):
    table = synced(wide(5))
    table.sync()
    table.sync(wide(5, extra=(pa.int32(), range(5))), full_refresh=True)
    assert table.matches()


def test_a_column_gone_at_the_source_stays_and_is_null_in_newer_rows(synced):
    table = synced(wide(5, extra=(pa.int64(), range(5))), settled=True)
    table.sync()
    table.sync(wide(8))
    lake = table.raw_frame().sort("id")
    assert lake["extra"].to_list() == [0, 1, 2, 3, 4, None, None, None]


WIDER = [
    (pa.int16(), pa.int32()),
    (pa.int32(), pa.int64()),
    (pa.float32(), pa.float64()),
    (pa.decimal128(10, 2), pa.decimal128(20, 4)),
    (pa.int32(), pa.decimal128(30, 2)),
]


@pytest.mark.parametrize(("narrow", "stored"), WIDER)
def test_values_of_a_narrower_type_are_stored_in_the_wider_one(synced, narrow, stored):
    value = Decimal if pa.types.is_decimal(stored) else int
    table = synced(wide(3, x=(stored, [value(i) for i in range(3)])), settled=True)
    table.sync()
    value = Decimal if pa.types.is_decimal(narrow) else int
    table.sync(wide(5, x=(narrow, [value(i) for i in range(5)])))
    assert table.raw_frame().sort("id")["x"].cast(pl.Int64).to_list() == [0, 1, 2, 3, 4]


TYPES = {
    "int8": (pa.int8(), [-128, 127, None]),
    "int16": (pa.int16(), [-(2**15), 1, None]),
    "int32": (pa.int32(), [-(2**31), 1, None]),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1, None]),
    "uint8": (pa.uint8(), [0, 255, None]),
    "uint32": (pa.uint32(), [0, 2**32 - 1, None]),
    "uint64": (pa.uint64(), [0, 2**64 - 1, None]),
    "float32": (pa.float32(), [float("nan"), float("-inf"), 1.5]),
    "float64": (pa.float64(), [float("nan"), float("inf"), -0.0]),
    "decimal": (pa.decimal128(38, 10), [Decimal("-1e-10"), Decimal("9" * 28), None]),
    "bool": (pa.bool_(), [True, False, None]),
    "text": (pa.string(), ["", "ä\U0001f600" * 100, None]),
    "large_text": (pa.large_string(), ["", "x", None]),
    "text_view": (pa.string_view(), ["", "x", None]),
    "binary": (pa.binary(), [b"", b"\xff\x00", None]),
    "large_binary": (pa.large_binary(), [b"", b"\xff\x00", None]),
    "date": (pa.date32(), [-719162, 2932896, None]),
    "timestamp": (pa.timestamp("us", "UTC"), [-(2**50), 2**50 + 1, None]),
    "naive": (pa.timestamp("us"), [-1, 2**50 + 1, None]),
    "milliseconds": (pa.timestamp("ms"), [-1, 2**40 + 1, None]),
    "nulls": (pa.null(), [None, None, None]),
}


def test_every_type_comes_through_a_swap_and_a_merge(synced):
    columns = {name: (dtype, values) for name, (dtype, values) in TYPES.items()}
    table = synced(wide(3, **columns))
    table.sync()
    assert table.matches()
    table.sync(full_refresh=True)
    again = table.sync(wide(3, **columns).set_column(2, "updated", rows(range(3), day=5).column("updated")))
    assert again.rows_updated == 3
    assert table.matches()
    frame = table.lake_frame()
    assert frame.schema["naive"] == pl.Datetime("us", "UTC")


def test_another_partition_or_key_than_in_the_lake_is_refused(synced):
    table = synced(rows(range(5)))
    table.sync()
    for changed in (
        TimePartition("created", Granularity.DAY),
        TimePartition("updated", Granularity.MONTH),
        HashPartition(1),
    ):
        table.partition = changed
        with pytest.raises(ConfigError, match="partitioned otherwise"):
            table.sync()
    table.partition, table.primary_key = MONTHLY, ("id", "text")
    with pytest.raises(ConfigError, match="another primary key"):
        table.sync()
    assert table.version == 0


def test_a_partition_left_out_of_the_yaml_is_the_one_in_the_lake(synced):
    table = synced(rows(range(500)), partition=NumberPartition("id", 100))
    table.sync()
    table.partition = None
    table.sync(rows(range(700)))
    assert table.matches()
    assert len(table.leaves()) == 7


def test_a_promise_of_stability_may_come_and_go(synced):
    table = synced(rows(range(1000)))
    table.sync()
    for day, stable in enumerate([True, False, True], start=1):
        table.partition = TimePartition("created", Granularity.MONTH, stable=stable)
        table.sync(rows(range(day, 1000), day=day, text=f"v{day}"))
    assert table.lake_frame().height == 1000


def test_a_key_that_the_source_no_longer_reports_keeps_the_rows_where_they_are(synced):
    """Otherwise rows would be placed by their content, and once the key is back it would not find them."""
    table = synced(rows(range(100)), mode=SyncMode.FULL_REFRESH, partition=HashPartition(3))
    table.sync()
    table.source.primary_key = ()
    table.sync()
    table.source.primary_key, table.mode = ("id",), SyncMode.INCREMENTAL
    table.sync()
    table.sync(rows(range(100), day=3, text="y"))
    assert table.matches()


def test_a_folder_with_a_foreign_delta_table_is_refused(synced):
    table = synced(rows(range(5)))
    pl.DataFrame({"a": [1]}).write_delta(table.uri)
    with pytest.raises(ConfigError, match="someone else"):
        table.sync()


@pytest.mark.parametrize("leaf", ["2025", "2025-01-13", "2025-01-13T05"])
def test_leaf_names_that_look_like_numbers_or_dates_stay_text(synced, leaf):
    granularity = {4: Granularity.YEAR, 10: Granularity.DAY, 13: Granularity.HOUR}[len(leaf)]
    table = synced(rows([293]), partition=TimePartition("created", granularity))
    table.sync()
    assert table.leaves() == {leaf: 1}
    table.sync(rows([293, 294], day=3))
    assert table.matches()
