"""The order of base partitions: by instant or number, `null` last."""

from __future__ import annotations

from collections.abc import Iterable

from import_platform.core.layout import NULL
from import_platform.core.leaf import width_and_index
from import_platform.core.table import NumberPartition, PartitionSpec


def in_order(keys: Iterable[str], partition: PartitionSpec) -> list[str]:
    def place(key: str) -> tuple[bool, int, str]:
        number = width_and_index(key)[1] if isinstance(partition, NumberPartition) and key != NULL else 0
        return key == NULL, number, key

    return sorted(keys, key=place)
