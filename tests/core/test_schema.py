import pyarrow as pa
import pytest

from import_platform.core.schema import evolve, lake_type, needs_rewrite, stored_schema
from import_platform.core.table import SchemaPolicy
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


def test_a_column_widens_to_where_both_types_meet_and_never_narrows():
    lake = pa.schema([("a", pa.int32()), ("b", pa.string()), ("c", pa.int64())])
    source = pa.schema([("a", pa.decimal128(12, 2)), ("b", pa.int64()), ("c", pa.int16())])
    evolution = evolve(lake, source, table="s/t")
    assert evolution.widened == (pa.field("a", pa.decimal128(12, 2)),)
    assert evolution.schema == pa.schema([("a", pa.decimal128(12, 2)), ("b", pa.string()), ("c", pa.int64())])
    assert evolution.checked == ()


@pytest.mark.parametrize("policy", list(SchemaPolicy))
def test_a_key_cursor_or_partition_column_widens_within_its_kind_only(policy):
    lake = pa.schema([("a", pa.int32())])
    for changed in (pa.string(), pa.float64(), pa.decimal128(20, 0)):
        with pytest.raises(ConfigError, match="identifies or places rows") as refused:
            evolve(lake, pa.schema([("a", changed)]), table="s/t", policy=policy, fixed={"a"})
        assert refused.value.facts == {"table": "s/t", "column": "a", "lake": "int32", "source": str(changed)}
    if policy is not SchemaPolicy.FREEZE:
        wider = evolve(lake, pa.schema([("a", pa.int64())]), table="s/t", policy=policy, fixed={"a"})
        assert wider.schema == pa.schema([("a", pa.int64())])


def test_a_frozen_table_refuses_new_columns_and_other_types_but_not_narrower_ones():
    lake = pa.schema([("a", pa.int64())])
    for changed in (pa.schema([("a", pa.string())]), pa.schema([("a", pa.int64()), ("b", pa.int64())])):
        with pytest.raises(ConfigError, match="frozen") as refused:
            evolve(lake, changed, table="s/t", policy=SchemaPolicy.FREEZE)
        assert "schema_policy" in refused.value.remedy
    assert evolve(lake, pa.schema([("a", pa.int8())]), table="s/t", policy=SchemaPolicy.FREEZE).schema == lake
    assert evolve(lake, pa.schema([]), table="s/t", policy=SchemaPolicy.FREEZE).schema == lake


def test_discarding_leaves_new_columns_out_and_checks_values_of_changed_ones():
    lake = pa.schema([("a", pa.int32()), ("c", pa.int64())])
    source = pa.schema([("a", pa.string()), ("b", pa.int8()), ("c", pa.int8())])
    evolution = evolve(lake, source, table="s/t", policy=SchemaPolicy.DISCARD)
    assert (evolution.schema, evolution.left_out, evolution.checked) == (lake, ("b",), ("a",))


def test_a_file_is_rewritten_for_columns_that_it_has_and_readers_would_refuse():
    table = pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert not needs_rewrite(pa.schema([("a", pa.int32())]), table)
    assert needs_rewrite(pa.schema([("b", pa.int32())]), table)
    assert not needs_rewrite(pa.schema([("b", pa.large_string()), ("gone", pa.int8())]), table)
