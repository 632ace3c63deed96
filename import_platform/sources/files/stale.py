"""Rows that the lake has of earlier versions of files, for tables whose key is the place of a row in its file."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from import_platform.sources.files.declaration import FILE, ROW, Files
from import_platform.sources.protocol import ParentTables


class StaleRows:
    """Places of rows, read from the lake once per pass and only where a file has changed.

    Memory: the places of the changed files' rows, 16 bytes each and the name of their part.
    """

    def __init__(self, table: Files, lake: ParentTables | None, paths: Sequence[str]) -> None:
        self._table = table
        self._lake = lake
        self._paths = list(paths)
        self._places: pl.DataFrame | None = None
        self._seen: list[pl.DataFrame] = []

    def saw(self, batch: pa.RecordBatch) -> None:
        """Rows that the file still has."""
        self._seen.append(pl.DataFrame(pl.from_arrow(batch.select(list(self._table.place)))))

    def left(self, part: str, *, behind: int) -> pl.DataFrame:
        """Places of a part behind row `behind` that were not seen."""
        seen, self._seen = self._seen, []
        places = self._all().filter((pl.col(FILE) == part) & (pl.col(ROW) > behind))
        return places.join(pl.concat(seen), on=list(self._table.place), how="anti") if seen else places

    def members_gone(self, path: str, parts: Sequence[str]) -> pl.DataFrame:
        """Places of members that a zip has no longer; of the file itself where it is a zip now."""
        of_file = (pl.col(FILE) == path) | pl.col(FILE).str.starts_with(f"{path}/")
        return self._all().filter(of_file & ~pl.col(FILE).is_in(list(parts)))

    def _all(self) -> pl.DataFrame:
        if self._places is None:
            columns = list(self._table.place)
            of_files = pl.any_horizontal(
                [(pl.col(FILE) == path) | pl.col(FILE).str.starts_with(f"{path}/") for path in self._paths]
            )
            found = self._lake.rows(self._table.name, columns) if self._lake is not None and self._paths else ()
            frames = [pl.DataFrame(pl.from_arrow(batch)).filter(of_files) for batch in found]
            empty = pl.DataFrame({name: [] for name in columns}, schema_overrides=_schema(columns))
            self._places = pl.concat([empty, *frames])
        return self._places


def _schema(columns: Sequence[str]) -> dict[str, pl.DataType]:
    return {name: pl.String() if name == FILE else pl.Int64() for name in columns}
