"""Which columns are read and under which names; what a mask leaves of a value."""

import hashlib
import json

import pyarrow as pa
import pytest

from import_platform.core.choose import resolve
from import_platform.core.columns import masked, masked_rejected, read_schema, stored_names
from import_platform.core.rejected import RejectedRow
from import_platform.core.table import ColumnChoice, ColumnInfo, DeclaredTable, Mask, TableInfo
from import_platform.errors import ConfigError

TYPES = {
    "id": pa.int64(),
    "updated_at": pa.timestamp("us", "UTC"),
    "email": pa.string(),
    "secret_a": pa.string(),
    "secret_b": pa.int32(),
}


def table(*names, key=("id",)):
    columns = tuple(ColumnInfo(n, TYPES.get(n, pa.string()), "t", nullable=False) for n in names or TYPES)
    return TableInfo("", "t", columns, key)


def spec(choice, info=None, **declared):
    return resolve("s", DeclaredTable("t", choice=choice, **declared), info or table())


def names(choice, **declared):
    return [column.name for column in spec(choice, **declared).info.columns]


def test_columns_are_chosen_by_name_and_pattern_and_keys_and_cursor_stay():
    assert names(ColumnChoice(exclude=("secret_*", "id"))) == ["id", "updated_at", "email"]
    assert names(ColumnChoice(include=("email",)), cursor="updated_at") == ["id", "updated_at", "email"]
    assert names(ColumnChoice(include=("secret_?",), exclude=("secret_b",))) == ["id", "secret_a"]
    assert names(ColumnChoice(exclude=("nothing_*",))) == list(TYPES)
    assert names(ColumnChoice(include=("id",)), deleted="secret_b") == ["id", "secret_b"]


@pytest.mark.parametrize(
    "choice", [ColumnChoice(("emial",)), ColumnChoice(exclude=("emial",)), ColumnChoice(mask={"emial": Mask.HASH})]
)
def test_a_misspelt_column_is_an_error_that_names_the_closest(choice):
    with pytest.raises(ConfigError, match="column does not exist") as refused:
        spec(choice)
    assert refused.value.remedy == "Did you mean email?"


@pytest.mark.parametrize(
    ("column", "declared"),
    [("id", {}), ("updated_at", {"cursor": "updated_at"}), ("secret_b", {"deleted": "secret_b"})],
)
def test_what_identifies_orders_or_deletes_rows_cannot_be_masked(column, declared):
    with pytest.raises(ConfigError, match="cannot be masked"):
        spec(ColumnChoice(mask={column: Mask.HASH}), **declared)


def test_a_mask_leaves_nothing_readable_and_null_null():
    made = spec(
        ColumnChoice(("email", "secret_?"), mask={"email": Mask.HASH, "secret_a": Mask.REDACT, "secret_b": Mask.REDACT})
    )
    batch = pa.record_batch({
        "id": pa.array([1, 2]),
        "email": ["a@b.c", None],
        "secret_a": ["x", None],
        "secret_b": pa.array([1, None], pa.int32()),
    })  # fmt: skip
    found = masked(batch, made)
    assert found.to_pydict() == {
        "id": [1, 2],
        "email": [hashlib.sha256(b"a@b.c").hexdigest(), None],
        "secret_a": ["[redacted]", None],
        "secret_b": [None, None],
    }
    assert [found.schema.field(f.name).type for f in read_schema(made)] == [f.type for f in read_schema(made)]


def test_a_hashed_number_is_text():
    made = spec(ColumnChoice(mask={"secret_b": Mask.HASH}))
    assert read_schema(made).field("secret_b").type == pa.string()
    batch = pa.record_batch({name: pa.nulls(1, dtype) for name, dtype in TYPES.items()})
    assert masked(batch.set_column(4, "secret_b", pa.array([7], pa.int32())), made).column("secret_b").to_pylist() == [
        hashlib.sha256(b"7").hexdigest()
    ]


def test_rejected_rows_of_a_connector_are_masked_too():
    made = spec(ColumnChoice(mask={"email": Mask.HASH, "secret_a": Mask.REDACT, "secret_b": Mask.REDACT}))
    row = json.dumps({"id": "1", "email": "a@b.c", "secret_a": "x", "secret_b": "1"})
    [found] = masked_rejected([RejectedRow({"id": "1"}, "email", "odd", row)], made)
    assert json.loads(found.row) == {
        "id": "1",
        "email": hashlib.sha256(b"a@b.c").hexdigest(),
        "secret_a": "[redacted]",
        "secret_b": None,
    }


def test_of_names_that_differ_by_case_only_one_keeps_its_own():
    info = table("id", "name", "Name", "NAME", "name__2")
    assert stored_names(info, kept=()) == {"Name": "Name__3", "name": "name__4"}
    assert stored_names(info, kept={"Name"}) == {"NAME": "NAME__3", "name": "name__4"}
    assert stored_names(info, kept=(), in_lake={"name"}) == {"NAME": "NAME__3", "Name": "Name__4"}
    assert stored_names(table(), kept=()) == {}


def test_a_renaming_is_said():
    made = spec(ColumnChoice(), table("id", "name", "Name"))
    assert "column name is stored as name__2: its name differs from another only by case" in made.reasons
    assert read_schema(made).names == ["id", "name__2", "Name"]


def test_two_keys_that_differ_by_case_only_are_refused():
    with pytest.raises(ConfigError, match="differ only by case"):
        spec(ColumnChoice(), table("id", "ID", key=("id", "ID")))
