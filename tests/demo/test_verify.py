"""The comparison behind the demo's "rows equal": it must notice every way in which a lake can be wrong."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from import_platform.demo.verify import Comparison, compare


def rows(**changes: object) -> pl.DataFrame:
    base = pl.DataFrame(
        {
            "origin": ["EWR", "EWR", "JFK", "LGA"],
            "hour": [1, 2, 1, 1],
            "temp": [1.5, None, float("nan"), 4.0],
        }
    )
    return base.with_columns(**{name: pl.Series(values) for name, values in changes.items()})


def reader(frame: pl.DataFrame, batch_rows: int) -> pa.RecordBatchReader:
    table = frame.to_arrow()
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=batch_rows))


def compared(source: pl.DataFrame, lake: pl.DataFrame, *, batch_rows: tuple[int, int] = (2, 3)) -> Comparison:
    return compare("weather", reader(source, batch_rows[0]), reader(lake, batch_rows[1]), key=("origin", "hour"))


@pytest.mark.parametrize("batch_rows", [(1, 1), (1, 4), (4, 1), (2, 3), (3, 2)])
def test_equal_tables_are_equal_however_their_batches_fall(batch_rows: tuple[int, int]) -> None:
    found = compared(rows(), rows(), batch_rows=batch_rows)
    assert found.is_equal
    assert found.rows_equal == 4
    assert found.sentence() == "4 rows equal"


@pytest.mark.parametrize("batch_rows", [(1, 1), (1, 4), (4, 1), (2, 3)])
def test_each_missing_surplus_and_doubled_row_is_counted_once(batch_rows: tuple[int, int]) -> None:
    without_second = rows().filter(pl.col("hour") != 2)
    assert compared(rows(), without_second, batch_rows=batch_rows).rows_missing == 1
    assert compared(without_second, rows(), batch_rows=batch_rows).rows_surplus == 1
    doubled = pl.concat([rows(), rows().tail(1), rows().head(1)]).sort("origin", "hour")
    found = compared(rows(), doubled, batch_rows=batch_rows)
    assert (found.rows_equal, found.rows_surplus, found.rows_missing, found.is_equal) == (4, 2, 0, False)


def test_a_missing_row_does_not_make_the_rows_after_it_differ() -> None:
    found = compared(rows(), rows().slice(1))
    assert (found.rows_missing, found.rows_equal, found.rows_differing) == (1, 3, 0)


def test_another_value_and_a_lost_null_are_named_by_column() -> None:
    found = compared(rows(), rows(temp=[1.5, 0.0, float("nan"), 4.25]))
    assert found.differing == {"temp": 2}
    assert found.rows_differing == 2
    assert found.sentence() == "2 rows equal, 2 with other values (temp 2)"


def test_an_empty_lake_misses_every_row_and_an_empty_source_makes_every_row_surplus() -> None:
    assert compared(rows(), rows().clear()).rows_missing == 4
    assert compared(rows().clear(), rows()).rows_surplus == 4


def test_a_column_of_another_type_is_never_called_equal() -> None:
    found = compared(rows(), rows().with_columns(pl.col("hour").cast(pl.Int32), extra=pl.lit(1, pl.Int64)))
    assert not found.is_equal
    assert found.columns == ("hour int64 / int32", "extra absent / int64")
