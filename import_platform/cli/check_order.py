"""`diagnose --parquet 'GLOB' --order-by a,b`: whether anybody's Parquet files are sorted, and what grouping takes."""

from __future__ import annotations

from typing import Any

from import_platform.cli.terminal import EXIT_FAILED, Failed, Terminal
from import_platform.core.budget import format_bytes
from import_platform.core.ordering import Extent, Grouping, Place
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.memory import tame_allocators
from import_platform.io.parquet_files import find
from import_platform.pipeline.check_order import BATCH_BYTES, CheckedFiles, check_order
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import read_settings

_HOW = {
    Grouping.STREAM: "read the files in name order, one group after the other",
    Grouping.MERGE: "every file is in order by itself, so merge them and take one group after the other",
    Grouping.SORT: "equal values are not neighbours, so this is what holding everything takes; sort the files first",
}


def run(screen: Terminal, pattern: str, order_by: str | None) -> None:
    """Exit code 0 when the files are sorted, 1 when they are not.

    Raises:
        ConfigError: no file, no such column, or a file that cannot be read (exit code 2).
    """
    columns = [name.strip() for name in (order_by or "").split(",") if name.strip()]
    if not columns or len(set(columns)) < len(columns):
        raise ConfigError(
            "--parquet needs the columns of the order, each once",
            found=order_by,
            remedy="Write --order-by a,b with names of columns.",
        )
    tame_allocators()
    budget = memory_budget(read_settings().memory)
    found = check_order(find(pattern), columns, budget=budget)
    safe_bytes = budget.base_bytes + found.ordering.group_bytes(BATCH_BYTES)
    if screen.is_json:
        screen.emit(as_json(found, safe_bytes))
    else:
        _print(screen, found, safe_bytes)
    if not found.ordering.is_sorted:
        raise Failed(EXIT_FAILED)


def as_json(found: CheckedFiles, safe_bytes: int) -> dict[str, Any]:
    """Rows are counted from 0 in their file; sizes in bytes, decoded but for `bytes`."""
    ordering = found.ordering
    return {
        "order_by": list(ordering.columns),
        "sorted": ordering.is_sorted,
        "nulls": ordering.nulls,
        "violations": ordering.violations,
        "violations_between_files": ordering.between_files,
        "first_violation": _place_json(ordering.first) if ordering.first is not None else None,
        "changes": ordering.changes,
        "files": ordering.files,
        "row_groups": found.row_groups,
        "rows": ordering.rows,
        "bytes": found.bytes,
        "decoded_bytes": ordering.decoded_bytes,
        "largest_row_group_bytes": found.largest_row_group_bytes,
        "widest_rows": [_extent_json(extent) for extent in ordering.widest],
        "largest_group": _extent_json(ordering.largest_group) if ordering.largest_group is not None else None,
        "grouping": ordering.grouping.value,
        "safe_memory_bytes": safe_bytes,
    }


def _place_json(place: Place) -> dict[str, Any]:
    return {"file": place.file, "row": place.row}


def _extent_json(extent: Extent) -> dict[str, Any]:
    return {**_place_json(extent.place), "rows": extent.rows, "bytes": extent.bytes}


def _print(screen: Terminal, found: CheckedFiles, safe_bytes: int) -> None:
    for line in _lines(found, safe_bytes):
        screen.out.print(line, markup=False, soft_wrap=True)


def _lines(found: CheckedFiles, safe_bytes: int) -> list[str]:
    ordering = found.ordering
    first_column, group = ordering.columns[0], ordering.largest_group
    sizes = f"{format_bytes(found.bytes)}, {format_bytes(ordering.decoded_bytes)} decoded"
    groups = counted(found.row_groups, "row group")
    lines = [
        f"files          {ordering.files:,} with {groups} and {counted(ordering.rows, 'row')}; {sizes}",
        f"order          {_verdict(found)}",
        f"changes        {first_column} changes {counted(ordering.changes, 'time')} from one row to the next",
        f"row groups     the largest {format_bytes(found.largest_row_group_bytes)} before compression",
    ]
    lines += [f"widest row     {format_bytes(extent.bytes)}, {_place(extent.place)}" for extent in ordering.widest[:3]]
    if group is not None:
        where = _place(group.place)
        size = format_bytes(group.bytes)
        lines.append(f"largest group  {counted(group.rows, 'neighbour')} with one {first_column}, {size}, from {where}")
    return [*lines, f"safe memory    {format_bytes(safe_bytes)} to group by {first_column}: {_HOW[ordering.grouping]}"]


def _verdict(found: CheckedFiles) -> str:
    ordering = found.ordering
    order = f"({', '.join(ordering.columns)})" + (f", nulls {ordering.nulls}" if ordering.nulls else "")
    if ordering.is_sorted:
        return f"sorted by {order}"
    where = f"the first at {_place(ordering.first)}" if ordering.first is not None else ""
    if not ordering.violations:
        return (
            f"every file is sorted by {order}, but {ordering.between_files:,} begin below the end of the one before, "
            f"{where}"
        )
    return (
        f"NOT sorted by {order}: {counted(ordering.violations, 'row')} below the one before, and "
        f"{counted(ordering.between_files, 'file')} with a beginning below the end of the one before, {where}"
    )


def _place(place: Place) -> str:
    return f"row {place.row:,} (from 0) of {place.file}"
