import pyarrow as pa
import pytest

from import_platform.core.schema import evolve, fits, lake_type, stored_schema
from import_platform.errors import ConfigError

US = pa.timestamp("us", "UTC")


def test_a_new_table_has_the_sources_columns_all_nullable():
    source = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string())])
    assert stored_schema(source) == pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.mark.parametrize(
    ("source", "lake"),
    [
        (pa.timestamp("ms"), US),
        (pa.timestamp("ns", "Europe/Berlin"), US),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.null(), pa.string()),
        (pa.large_binary(), pa.binary()),
        (pa.binary(16), pa.binary()),
        (pa.uint8(), pa.int16()),
        (pa.uint32(), pa.int64()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.date64(), pa.date32()),
        (pa.float16(), pa.float32()),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.int8(), pa.int8()),
        (pa.decimal128(38, 9), pa.decimal128(38, 9)),
        (pa.bool_(), pa.bool_()),
    ],
)
def test_every_type_has_one_in_the_lake_and_that_is_its_own(source, lake):
    assert lake_type(source) == lake
    assert lake_type(lake) == lake


@pytest.mark.parametrize(
    ("value", "stored", "answer"),
    [
        (pa.int16(), pa.int64(), True),
        (pa.int64(), pa.int32(), False),
        (pa.int64(), pa.decimal128(19, 0), True),
        (pa.int64(), pa.decimal128(20, 2), False),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), True),
        (pa.decimal128(10, 2), pa.decimal128(12, 1), False),
        (pa.decimal128(10, 2), pa.decimal128(11, 4), False),
        (pa.float32(), pa.float64(), True),
        (pa.float64(), pa.float32(), False),
        (pa.int32(), pa.float64(), False),
        (pa.string(), pa.binary(), False),
        (US, pa.date32(), False),
        (pa.bool_(), pa.int8(), False),
    ],
)
def test_a_type_fits_where_no_value_is_lost(value, stored, answer):
    assert fits(value, stored) is answer


def test_order_and_nullability_do_not_count():
    lake = pa.schema([("a", pa.int64()), ("b", pa.string())])
    source = pa.schema([pa.field("b", pa.string(), nullable=False), ("a", pa.int32())])
    assert evolve(lake, source, table="s/t").schema == lake


def test_new_columns_come_last_and_may_be_null_and_gone_ones_stay():
    lake = pa.schema([("a", pa.int64()), ("gone", pa.string())])
    source = pa.schema([pa.field("new", pa.timestamp("ns"), nullable=False), ("a", pa.int64())])
    evolution = evolve(lake, source, table="s/t")
    assert evolution.added == (pa.field("new", US),)
    assert evolution.schema.names == ["a", "gone", "new"]


def test_a_refused_change_names_the_column_and_both_types():
    with pytest.raises(ConfigError) as refused:
        evolve(pa.schema([("a", pa.int32())]), pa.schema([("a", pa.string())]), table="s/t")
    assert refused.value.facts == {"table": "s/t", "column": "a", "lake": "int32", "source": "string"}
    assert refused.value.remedy
