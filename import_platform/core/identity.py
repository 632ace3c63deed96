"""What a table's leaf names do not say, as JSON in the Delta table's properties: fixed when the table is created.

Partition column, kind and base granularity, primary key and hash version decide where a row lies and which row it
replaces. A YAML file that says otherwise is refused rather than mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from import_platform.core.table import (
    Granularity,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    TableSpec,
    TimePartition,
)
from import_platform.errors import ConfigError, InvariantBroken

PROPERTY = "import_platform.identity"
HASH_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """The fixed part of a table. `primary_key` is empty for tables without one."""

    partition: PartitionSpec
    primary_key: tuple[str, ...]
    hash_version: int = HASH_VERSION

    def to_json(self) -> str:
        return json.dumps(
            {
                "partition": partition_as_dict(self.partition),
                "primary_key": list(self.primary_key),
                "hash_version": self.hash_version,
            },
            sort_keys=True,
        )


def partition_as_dict(partition: PartitionSpec) -> dict[str, Any]:
    """`{"column": .., "granularity": ..}`, `{"column": .., "width": ..}` or `{"hash": buckets}`, as YAML says it."""
    match partition:
        case TimePartition(column, granularity, stable):
            return {"column": column, "granularity": granularity.value, "stable": stable}
        case NumberPartition(column, width, stable):
            return {"column": column, "width": width, "stable": stable}
        case HashPartition(bits):
            return {"hash": 1 << bits}


def partition_from_dict(value: Mapping[str, Any]) -> PartitionSpec:
    """The reverse of `partition_as_dict`."""
    if "granularity" in value:
        return TimePartition(value["column"], Granularity(value["granularity"]), value.get("stable", False))
    if "width" in value:
        return NumberPartition(value["column"], int(value["width"]), value.get("stable", False))
    return HashPartition(int(value["hash"]).bit_length() - 1)


def identity_from_json(text: str) -> Identity:
    """Raises InvariantBroken for text that this release did not write (a newer hash version, foreign JSON)."""
    try:
        value = json.loads(text)
        identity = Identity(partition_from_dict(value["partition"]), tuple(value["primary_key"]), value["hash_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantBroken("the table's identity property cannot be read", found=text[:200]) from error
    if identity.hash_version != HASH_VERSION:
        raise InvariantBroken(
            "the table was written with another hash version",
            found=identity.hash_version,
            expected=HASH_VERSION,
            remedy="Use the release that wrote it.",
        )
    return identity


def check_identity(stored: Identity, spec: TableSpec) -> None:
    """Passes when the declared table is the one in the lake.

    Raises:
        ConfigError: partition or primary key differ (restore the YAML, or change the layout in place).
    """
    if _place(stored.partition) != _place(spec.partition):
        raise ConfigError(
            "the table in the lake is partitioned otherwise than declared",
            table=spec.id,
            lake=partition_as_dict(stored.partition),
            declared=partition_as_dict(spec.partition),
            remedy=f"Restore the YAML, or run: import-platform repartition {spec.id} --to ...",
        )
    if spec.primary_key and stored.primary_key != spec.primary_key:
        raise ConfigError(
            "the table in the lake has another primary key than declared",
            table=spec.id,
            lake=list(stored.primary_key),
            declared=list(spec.primary_key),
            remedy="Restore the YAML; a table with another key is another table.",
        )


def _place(partition: PartitionSpec) -> dict[str, Any]:
    # A promise of stability changes how merges search, not where rows lie, so it may change at any time.
    return {k: v for k, v in partition_as_dict(partition).items() if k != "stable"}
