"""The demo's database: real rows, an application's columns and trigger, and changes that a sync must find."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from deltalake import write_deltalake

from import_platform.core.table import PARTITION_COLUMN
from import_platform.demo import source
from import_platform.demo.flights import FLIGHTS, TABLES, WEATHER, open_table
from import_platform.demo.place import SOURCE, DemoPlace
from import_platform.demo.reader import LakeReader, facts
from import_platform.demo.server import running_source
from import_platform.demo.verify import Comparison, compare


def asked(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    with dbapi.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def test_the_whole_year_is_336776_flights_with_distinct_ids_and_the_small_tables_beside() -> None:
    counts = {}
    for table in TABLES:
        with open_table(table) as rows:
            frames = [pl.DataFrame(batch) for batch in rows]
        keys = pl.concat(frame.select(*table.primary_key) for frame in frames)
        assert keys.n_unique() == keys.height, table.name
        counts[table.name] = keys.height
    assert counts == {"flights": 336_776, "weather": 26_115, "planes": 3_322, "airports": 1_458, "airlines": 16}


def test_a_flight_is_due_at_its_scheduled_minute_and_was_touched_when_it_landed(january: tuple[DemoPlace, str]) -> None:
    (row,) = asked(january[1], "SELECT created_at::text, updated_at::text, tailnum, dep_time FROM flights WHERE id = 1")
    # UA 1545 from Newark, 5:15 in New York, two minutes late, 227 minutes in the air.
    assert row == ("2013-01-01 10:15:00+00", "2013-01-01 14:04:00+00", "N14228", 517)


def test_absent_values_are_null_and_not_text(january: tuple[DemoPlace, str]) -> None:
    (row,) = asked(
        january[1],
        "SELECT count(*) FILTER (WHERE dep_time IS NULL), count(*) FILTER (WHERE tailnum = 'NA') FROM flights",
    )
    assert row[0] > 0
    assert row[1] == 0


def test_changes_are_counted_and_the_trigger_moves_the_cursor_past_the_history(place: DemoPlace) -> None:
    with running_source(place) as dsn:
        source.load(dsn, months=1, loaded=lambda name, rows: None)
        (before,) = asked(dsn, "SELECT count(*), max(updated_at), max(id) FROM flights")
        done = source.change(dsn)
        (after,) = asked(
            dsn,
            f"SELECT count(*), count(*) FILTER (WHERE updated_at > '{before[1]}'), "
            f"count(*) FILTER (WHERE id > {before[2]} AND created_at >= '2014-01-01') FROM flights",
        )
        (planes,) = asked(dsn, "SELECT count(*) FROM planes")
        assert source.touch_flights(dsn) > 0
    assert done.flights_inserted == after[0] - before[0] == after[2] == 2000
    assert done.flights_updated > 2000
    assert done.flights_moved > 0
    # A flight may be both corrected and put off.
    assert max(done.flights_updated, done.flights_moved) < after[1] - 2000 + 1
    assert after[1] <= done.flights_updated + done.flights_moved + done.flights_inserted
    assert planes[0] == 3_322 - done.planes_deleted < 3_322


def test_ctrl_c_still_ends_a_wait_for_a_child_after_the_database_was_used(january: tuple[DemoPlace, str]) -> None:
    source.version(january[1])
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with subprocess.Popen(["sleep", "120"]) as child:
        with pytest.raises(KeyboardInterrupt):
            timer.start()  # in here: a machine that stalls now gets its Ctrl-C where it is expected
            child.wait()
        assert child.poll() is None, "it was waited for to its end"
        child.kill()


@pytest.fixture(scope="module")
def lake(january: tuple[DemoPlace, str]) -> DemoPlace:
    """All five tables written by deltalake itself, without our engine."""
    place, dsn = january
    for table in TABLES:
        with dbapi.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table.name}")
            frame = pl.DataFrame(cursor.fetch_arrow_table())
        month = pl.col("created_at").dt.strftime("%Y-%m") if table is FLIGHTS else pl.lit("all")
        write_deltalake(
            place.lake.table_uri(SOURCE, table.name),
            frame.with_columns(month.alias(PARTITION_COLUMN)).to_arrow(),
            partition_by=[PARTITION_COLUMN],
        )
    return place


def compared(place: DemoPlace, dsn: str, table: Any) -> Comparison:
    with (
        LakeReader(place.lake, SOURCE, [table.name], spill_folder=place.folder / "scratch") as lake,
        source.ordered(dsn, table) as rows,
    ):
        return compare(
            table.name, rows, lake.ordered(f"{SOURCE}.{table.name}", table.primary_key), key=table.primary_key
        )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_faithful_copy_is_equal_in_every_row(january: tuple[DemoPlace, str], lake: DemoPlace, table: Any) -> None:
    found = compared(lake, january[1], table)
    assert found.is_equal, found.sentence()
    assert found.rows_equal == facts(lake.lake, SOURCE, table.name).rows > 0


def test_flights_of_one_local_month_lie_in_two_utc_months(lake: DemoPlace) -> None:
    assert facts(lake.lake, SOURCE, "flights").partitions == 2
    assert facts(lake.lake, SOURCE, "weather").partitions == 1


def test_one_changed_value_in_the_lake_is_found_and_named(january: tuple[DemoPlace, str], tmp_path: Any) -> None:
    place = DemoPlace(tmp_path)
    with open_table(WEATHER, months=1) as rows:
        frame = pl.DataFrame(rows.read_all())
    wrong = (
        frame.with_row_index()
        .with_columns(temp=pl.when(pl.col("index") == 700).then(-40.0).otherwise("temp"), _partition=pl.lit("all"))
        .drop("index")
    )
    write_deltalake(place.lake.table_uri(SOURCE, "weather"), wrong.slice(1).to_arrow(), partition_by=["_partition"])
    found = compared(place, january[1], WEATHER)
    assert (found.rows_missing, found.rows_differing, found.differing) == (1, 1, {"temp": 1})
    assert found.rows_equal == frame.height - 2
