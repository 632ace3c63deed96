"""`repartition --to ...`: another partition for a table that has rows already. Pure."""

from __future__ import annotations

from import_platform.core.identity import partition_as_dict
from import_platform.core.table import Granularity, HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.errors import ConfigError

HASH_LEAVES_MAX = 1 << 16
WIDTH_MAX = 10**18
_REMEDY = "Write created_at:month (or year, day, hour), id:1000000 (a power of ten), hash:16 (a power of two) or none."


def partition_from_text(text: str) -> PartitionSpec:
    """The partition that `--to` names.

    Raises:
        ConfigError: the text names none.
    """
    if text == "none":
        return HashPartition(0)
    column, _, level = text.rpartition(":")
    if not column or not level:
        raise ConfigError("--to does not name a partition", found=text[:200], remedy=_REMEDY)
    if level in tuple(Granularity):
        return TimePartition(column, Granularity(level))
    count = int(level) if level.isascii() and level.isdigit() else 0
    if column == "hash" and 1 <= count <= HASH_LEAVES_MAX and count.bit_count() == 1:
        return HashPartition(count.bit_length() - 1)
    if column != "hash" and 1 <= count <= WIDTH_MAX and set(level[1:]) <= {"0"} and level[0] == "1":
        return NumberPartition(column, count)
    raise ConfigError("--to does not name a partition", found=text[:200], remedy=_REMEDY)


def as_yaml(partition: PartitionSpec) -> str:
    """What a defs.yaml says of it: `{column: id, width: 1000000}`."""
    value = {name: each for name, each in partition_as_dict(partition).items() if name != "stable"}
    if value == {"hash": 1}:
        return "none"
    return "{" + ", ".join(f"{name}: {each}" for name, each in value.items()) + "}"
