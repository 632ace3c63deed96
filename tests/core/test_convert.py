import pytest

from import_platform.core.convert import as_yaml, partition_from_text
from import_platform.core.table import UNPARTITIONED, Granularity, HashPartition, NumberPartition, TimePartition
from import_platform.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "partition", "yaml"),
    [
        (
            "created_at:month",
            TimePartition("created_at", Granularity.MONTH),
            "{column: created_at, granularity: month}",
        ),
        ("a:b:hour", TimePartition("a:b", Granularity.HOUR), "{column: a:b, granularity: hour}"),
        ("hash:day", TimePartition("hash", Granularity.DAY), "{column: hash, granularity: day}"),
        ("id:1000000", NumberPartition("id", 10**6), "{column: id, width: 1000000}"),
        ("id:1", NumberPartition("id", 1), "{column: id, width: 1}"),
        ("hash:16", HashPartition(4), "{hash: 16}"),
        ("none", UNPARTITIONED, "none"),
    ],
)
def test_a_partition_is_named_in_words(text, partition, yaml):
    assert partition_from_text(text) == partition
    assert as_yaml(partition) == yaml


@pytest.mark.parametrize(
    "text", ["", "month", ":month", "id:", "id:20", "id:0", "id:-1", "hash:3", "hash:0", "id:1e3", "x:1²", "x:²"]
)
def test_anything_else_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match="created_at:month"):
        partition_from_text(text)
