"""Tables whose columns are only known from rows: what the lake and staged chunks hold counts as known too."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from import_platform.core.lattice import join
from import_platform.core.schema import lake_type
from import_platform.core.table import PARTITION_COLUMN, ColumnInfo, TableInfo


def with_known(info: TableInfo, known: pa.Schema) -> TableInfo:
    """The table with the columns of a schema as well, each in the type that holds the values of both."""
    if not info.sampled:
        return info
    found = {column.name: column for column in (*info.always, *info.columns)}
    columns = []
    for field in known:
        if field.name == PARTITION_COLUMN:
            continue
        mine = found.pop(field.name, None)
        if mine is None:
            columns.append(ColumnInfo(field.name, field.type, "known from earlier rows"))
        else:
            columns.append(replace(mine, type=join(lake_type(mine.type), field.type)))
    return replace(info, columns=(*columns, *found.values()))
