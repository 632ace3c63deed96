"""A table's partition keys in Dagster, kept in step with its leaves in the lake.

Deleting a key that a backfill targets kills the whole backfill, and a key that comes back is green with its old
history. So keys are added at once and deleted only while nothing else works on the table.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import dagster as dg

from import_platform.core.layout import sort_key
from import_platform.core.repartition import retired_keys
from import_platform.core.table import PartitionSpec
from import_platform.resources.in_flight import tables_in_flight
from import_platform.resources.naming import partitions_def, table_id


@dataclass(frozen=True)
class KeyChanges:
    """`waiting` are keys without rows that could not be deleted yet; `because` says what is in flight."""

    added: tuple[str, ...]
    retired: tuple[str, ...]
    waiting: tuple[str, ...] = ()
    because: str = ""


def reconcile_keys(
    instance: dg.DagsterInstance,
    source: str,
    table: str,
    *,
    bases: Collection[str],
    partition: PartitionSpec,
    run_id: str = "",
) -> KeyChanges:
    """Makes the keys those of the lake's bases; keys of ranges that the lake has nothing of stay.

    `run_id` is the run that asks, which is not counted as work on the table.
    """
    name = str(partitions_def(source, table).name)
    known = set(instance.get_dynamic_partitions(name))
    added = sorted(set(bases) - known, key=sort_key)
    if added:
        instance.add_dynamic_partitions(name, added)
    old = retired_keys(sorted(known), sorted(bases), partition)
    if not old:
        return KeyChanges(tuple(added), ())
    because = tables_in_flight(instance, {source: [table]}, besides=run_id).get(table_id(source, table))
    if because is not None:
        return KeyChanges(tuple(added), (), tuple(old), str(because))
    for key in old:
        instance.delete_dynamic_partition(name, key)
    return KeyChanges(tuple(added), tuple(old))
