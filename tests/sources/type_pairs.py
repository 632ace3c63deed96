"""Every pair of a database's types as one column of one table: what the old and the new type meet in, in place.

What a pair's values become is worked out here from Python's own values, not by the code under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from import_platform.core.lattice import join
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.registry import open_source
from tests.pipeline.synced_table import ROOMY


@dataclass(frozen=True)
class Kind:
    """A type of a database with one value: its literal, what it is in the lake, and its text where it becomes text."""

    literal: str
    type: pa.DataType
    value: Any
    text: str = ""


INSTANT = pa.timestamp("us", "UTC")
DAY, MOMENT = date(2025, 1, 2), datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def pairs_of(kinds: Iterable[str]) -> Mapping[str, tuple[str, str]]:
    """A column for every ordered pair."""
    return {f"c{n}": pair for n, pair in enumerate(itertools.permutations(kinds, 2))}


class Follower:
    """A lake that follows table `t` of a source."""

    def __init__(self, connection: Mapping[str, Any], folder: Path) -> None:
        self._connection = connection
        self.lake = Lake(str(folder / "lake"))

    def sync(self) -> tuple[pa.Schema, pl.DataFrame]:
        with closing(open_source("s", self._connection)) as source:
            declared = DeclaredTable("t", SyncMode.INCREMENTAL, "updated_at", ("id",))
            sync_table(TableContext("s", declared, source, self.lake, ROOMY))
        frame = pl.read_delta(self.lake.table_uri("s", "t")).sort("id")
        snapshot = DeltaLog(self.lake.store, self.lake.table_path("s", "t")).snapshot()
        assert snapshot is not None
        return snapshot.schema, frame


def assert_old_types(kinds: Mapping[str, Kind], pairs: Mapping[str, tuple[str, str]], schema: pa.Schema) -> None:
    for name, (old, _) in pairs.items():
        assert schema.field(name).type == kinds[old].type, old


def assert_met(
    kinds: Mapping[str, Kind], pairs: Mapping[str, tuple[str, str]], schema: pa.Schema, frame: pl.DataFrame
) -> None:
    """Row 1 was written in the old types, row 2 in the new ones; both are whole in the type in which the two meet."""
    for name, (old, new) in pairs.items():
        meeting = join(kinds[old].type, kinds[new].type)
        assert schema.field(name).type == meeting, (old, new)
        wanted = [moved(kinds[kind], meeting) for kind in (old, new)]
        found = frame[name].to_list()
        assert all(map(same, found, wanted)), (old, new, found, wanted)


def moved(kind: Kind, meeting: pa.DataType) -> Any:
    value = kind.value
    if pa.types.is_string(meeting):
        return kind.text or str(value)
    if pa.types.is_decimal(meeting):
        return Decimal(value)
    if pa.types.is_floating(meeting):
        return float(value)
    if pa.types.is_timestamp(meeting):
        return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isnan(wanted):
        return isinstance(found, float) and isnan(found)
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)
