"""Base partitions as every SQL database names and orders them: by instant or number, `null` last."""

from __future__ import annotations

from collections.abc import Collection

from import_platform.core.layout import NULL
from import_platform.core.leaf import width_and_index
from import_platform.core.table import Granularity, NumberPartition, PartitionSpec

NAME_FORMATS = {
    Granularity.YEAR: "%Y",
    Granularity.MONTH: "%Y-%m",
    Granularity.DAY: "%Y-%m-%d",
    Granularity.HOUR: "%Y-%m-%dT%H",
}
"""Names of instants for `strftime`, and for what MySQL calls DATE_FORMAT."""


def in_order(keys: Collection[str], partition: PartitionSpec, *, limit: int) -> list[str] | None:
    """None where there are more than `limit`."""
    if len(keys) > limit:
        return None

    def place(key: str) -> tuple[bool, int, str]:
        number = width_and_index(key)[1] if isinstance(partition, NumberPartition) and key != NULL else 0
        return key == NULL, number, key

    return sorted(keys, key=place)
