import json
from dataclasses import replace

import pyarrow as pa
import pytest

from import_platform.core.identity import (
    HASH_VERSION,
    Identity,
    check_identity,
    identity_from_json,
    partition_as_dict,
    partition_from_dict,
)
from import_platform.core.table import (
    ColumnInfo,
    Granularity,
    HashPartition,
    NumberPartition,
    SyncMode,
    TableInfo,
    TableSpec,
    TimePartition,
)
from import_platform.errors import ConfigError, InvariantBroken

PARTITIONS = [
    *(TimePartition("at", granularity, stable) for granularity in Granularity for stable in (False, True)),
    NumberPartition("id", 1),
    NumberPartition("id", 10**18, stable=True),
    *(HashPartition(bits) for bits in (0, 1, 4, 20)),
]


@pytest.mark.parametrize("partition", PARTITIONS, ids=str)
def test_an_identity_is_read_as_it_was_written(partition):
    identity = Identity(partition, ("a", "b"))
    assert identity_from_json(identity.to_json()) == identity
    assert partition_from_dict(json.loads(json.dumps(partition_as_dict(partition)))) == partition


def test_the_text_in_the_lake_is_pinned():
    """Tables carry this text: another spelling needs a reader for both."""
    assert Identity(TimePartition("created_at", Granularity.MONTH), ("id",)).to_json() == (
        '{"hash_version": 1, "partition": {"column": "created_at", "granularity": "month", "stable": false}, '
        '"primary_key": ["id"]}'
    )
    assert (
        Identity(HashPartition(4), ()).to_json() == '{"hash_version": 1, "partition": {"hash": 16}, "primary_key": []}'
    )


@pytest.mark.parametrize(
    "text",
    ["", "{}", "null", "[]", '{"partition": {"hash": "x"}}', '{"partition": 3, "primary_key": [], "hash_version": 1}'],
)
def test_foreign_text_is_refused(text):
    with pytest.raises(InvariantBroken):
        identity_from_json(text)


def test_a_newer_hash_is_refused_rather_than_misread():
    newer = Identity(HashPartition(1), ("id",), HASH_VERSION + 1).to_json()
    with pytest.raises(InvariantBroken, match="another hash version"):
        identity_from_json(newer)


INFO = TableInfo("", "t", (ColumnInfo("id", pa.int64(), "int8"),), ("id",))


def spec(partition, primary_key=("id",)):
    return TableSpec("s", "t", INFO, SyncMode.FULL_REFRESH, None, primary_key, partition)


@pytest.mark.parametrize("partition", PARTITIONS, ids=str)
def test_a_table_is_itself_whatever_it_promises_of_stability(partition):
    check_identity(Identity(partition, ("id",)), spec(partition))
    if not isinstance(partition, HashPartition):
        check_identity(Identity(partition, ("id",)), spec(replace(partition, stable=not partition.stable)))


DIFFERENT = [
    (TimePartition("at", Granularity.MONTH), TimePartition("at", Granularity.DAY)),
    (TimePartition("at", Granularity.MONTH), TimePartition("other", Granularity.MONTH)),
    (TimePartition("at", Granularity.MONTH), NumberPartition("at", 10)),
    (NumberPartition("id", 10), NumberPartition("id", 100)),
    (HashPartition(1), HashPartition(2)),
    (HashPartition(0), TimePartition("at", Granularity.YEAR)),
]


@pytest.mark.parametrize(("stored", "declared"), DIFFERENT, ids=str)
def test_another_partition_is_refused_with_the_way_out(stored, declared):
    with pytest.raises(ConfigError, match="repartition s/t"):
        check_identity(Identity(stored, ("id",)), spec(declared))


def test_another_key_is_refused_and_an_unknown_one_is_not():
    stored = Identity(HashPartition(1), ("id",))
    for key in (("id", "x"), ("x",)):
        with pytest.raises(ConfigError, match="another primary key"):
            check_identity(stored, spec(HashPartition(1), key))
    check_identity(stored, spec(HashPartition(1), ()))
