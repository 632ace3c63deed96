"""What may be written under `attributes`, and what it becomes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from import_platform.components.declaration import SourceYaml, TableYaml
from import_platform.core.imported import TablePatterns
from import_platform.core.table import (
    UNPARTITIONED,
    ColumnChoice,
    DeclaredTable,
    Granularity,
    HashPartition,
    Mask,
    NumberPartition,
    SchemaPolicy,
    SyncMode,
    TimePartition,
)

CONNECTION = {"kind": "sqlite", "path": "{{ env.SHOP_DB }}"}


def _table(**attributes):
    return TableYaml.model_validate({"name": "orders", **attributes}).declared()


def test_a_name_alone_leaves_every_choice_open():
    assert _table() == DeclaredTable("orders")


def test_everything_written_is_taken():
    declared = _table(
        sync="incremental",
        cursor="updated_at",
        primary_key=["id", "line"],
        schedule="0 3 * * *",
        partition={"column": "created_at", "granularity": "month"},
    )
    assert declared == DeclaredTable(
        "orders",
        SyncMode.INCREMENTAL,
        "updated_at",
        ("id", "line"),
        TimePartition("created_at", Granularity.MONTH),
        "0 3 * * *",
    )


@pytest.mark.parametrize(
    ("partition", "spec"),
    [
        ({"column": "id", "width": 1_000_000}, NumberPartition("id", 1_000_000)),
        ({"column": "at", "granularity": "hour", "stable": True}, TimePartition("at", Granularity.HOUR, stable=True)),
        ({"hash": 16}, HashPartition(4)),
        ({"hash": 1}, UNPARTITIONED),
        ("none", UNPARTITIONED),
        (None, None),
    ],
)
def test_each_kind_of_partition(partition, spec):
    assert _table(partition=partition).partition == spec


@pytest.mark.parametrize(
    ("partition", "reason"),
    [
        ({"column": "id"}, "must be"),
        ({"granularity": "day"}, "must be"),
        ({"column": "id", "width": 10, "granularity": "day"}, "must be"),
        ({"column": "id", "hash": 4}, "must be"),
        ({"column": "id", "width": 25}, "power of ten"),
        ({"column": "id", "width": 10**19}, "power of ten"),
        ({"hash": 12}, "power of two"),
        ({"hash": 0}, "power of two"),
        ({"hash": "16"}, "valid integer"),
        ("month", "valid dictionary"),
    ],
)
def test_a_partition_that_means_nothing_is_refused_with_the_reason(partition, reason):
    with pytest.raises(ValidationError, match=reason):
        _table(partition=partition)


@pytest.mark.parametrize("name", ["Shop", "1shop", "sh-op", "", "shop/x", "_shop"])
def test_a_source_name_is_lower_case_letters_digits_and_underscores(name):
    with pytest.raises(ValidationError, match="must start with a letter"):
        SourceYaml.model_validate({"name": name, "connection": CONNECTION})


def test_a_table_may_not_stand_twice():
    with pytest.raises(ValidationError, match="tables lists orders more than once"):
        SourceYaml.model_validate({"name": "shop", "connection": CONNECTION, "tables": [{"name": "orders"}] * 2})


@pytest.mark.parametrize("cron", ["every day", "* * * *", "61 * * * *", "@reboot"])
def test_a_schedule_is_a_cron_of_five_parts(cron):
    with pytest.raises(ValidationError, match="cron schedule of five parts"):
        _table(schedule=cron)


@pytest.mark.parametrize(
    "connection",
    [
        "postgres://reader:hunter2@db/shop",
        ["hunter2"],
        {"dsn": "hunter2"},
        None,
        {"kind": "sqlite", "path": "{{ secrets.hunter2 }}"},
        {"kind": "sqlite", "pahth": "hunter2"},
        {"kind": "nosuch", "password": "hunter2"},
    ],
)
def test_a_wrong_connection_is_refused_without_quoting_it(connection):
    with pytest.raises(ValidationError) as raised:
        SourceYaml.model_validate({"name": "shop", "connection": connection})
    assert "hunter2" not in str(raised.value)


def test_the_schema_names_the_wrong_value_and_never_a_choice_of_types():
    """`anyOf` makes a schema validator blame a whole block; a type of a connection would make it quote a secret."""
    schema = SourceYaml.model_json_schema()
    assert "anyOf" not in str(schema["$defs"]["TableYaml"])
    assert "type" not in schema["properties"]["connection"]


def test_columns_rows_and_masks_are_taken():
    declared = _table(
        columns={"include": ["id", "name*"], "exclude": ["name_old"]},
        where="country = 'NL'",
        mask={"email": "hash", "phone": "redact"},
        deleted="deleted_at",
        schema_policy="discard",
    )
    assert declared.choice == ColumnChoice(("id", "name*"), ("name_old",), {"email": Mask.HASH, "phone": Mask.REDACT})
    assert (declared.where, declared.deleted, declared.schema_policy) == (
        "country = 'NL'",
        "deleted_at",
        SchemaPolicy.DISCARD,
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"columns": ["id"]},
        {"columns": {"include": []}},
        {"columns": {"only": ["id"]}},
        {"where": " "},
        {"where": "1 = 1; DROP TABLE orders"},
        {"where": ["id > 1"]},
        {"mask": {"email": "rot13"}},
        {"mask": ["email"]},
        {"schema_policy": "ignore"},
        {"deleted": True},
    ],
)
def test_what_cannot_be_meant_is_refused(attributes):
    with pytest.raises(ValidationError):
        _table(**attributes)


@pytest.mark.parametrize(
    ("attributes", "patterns"),
    [
        ({}, TablePatterns()),
        ({"tables": [{"name": "orders"}]}, None),
        ({"exclude": ["tmp_*"]}, TablePatterns(exclude=("tmp_*",))),
        ({"tables": [{"name": "orders"}], "include": ["sales_*"]}, TablePatterns(("sales_*",))),
    ],
)
def test_tables_are_all_found_or_all_named_or_chosen_by_patterns(attributes, patterns):
    source = SourceYaml.model_validate({"name": "shop", "connection": CONNECTION, **attributes})
    assert source.patterns() == patterns


@pytest.mark.parametrize("attributes", [{"include": "sales_*"}, {"include": []}, {"exclude": [""]}, {"exclude": [1]}])
def test_patterns_that_cannot_be_meant_are_refused(attributes):
    with pytest.raises(ValidationError):
        SourceYaml.model_validate({"name": "shop", "connection": CONNECTION, **attributes})
