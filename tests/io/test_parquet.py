from __future__ import annotations

import gc
import json
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.parquet import (
    LeafWriter,
    conform,
    read_batches,
    slices,
    without_rows,
)
from import_platform.io.statistics import statistics_json
from import_platform.io.store import Store

US = pa.timestamp("us", "UTC")
NAIVE_EPOCH = datetime(1970, 1, 1)


@pytest.fixture
def local(tmp_path):
    return Store(str(tmp_path / "lake"))


def written(store, batches, schema=None, **options):
    writer = LeafWriter(store, "t", "all", schema or batches[0].schema, **options)
    for batch in batches:
        writer.write(batch)
    return writer.close()


def numbers(start, count, width=8):
    ids = pa.array(range(start, start + count), pa.int64())
    return pa.record_batch({"id": ids, "text": pa.array([f"{i:0{width}}" for i in range(start, start + count)])})


# Writing


def test_rows_come_back_in_the_order_they_went_in(store):
    [file] = written(store, [numbers(0, 1000), numbers(1000, 10)])
    assert (file.rows, file.leaf) == (1010, "all")
    assert file.size_bytes == store.size_bytes(f"t/{file.path}")
    read = [batch for _, batch in read_batches(store, f"t/{file.path}")]
    assert pa.Table.from_batches(read).column("id").to_pylist() == list(range(1010))


def test_no_row_makes_no_file(local):
    assert written(local, [numbers(0, 0)]) == []
    assert list(local.entries("t")) == []


@pytest.mark.parametrize("feed", [[2000], [1] * 50 + [1950], [700, 600, 700]])
def test_a_row_group_never_decodes_to_more_than_its_limit(local, feed):
    batches, start = [], 0
    for count in feed:
        batches.append(numbers(start, count, width=100))
        start += count
    limit = 20_000
    [file] = written(local, batches, row_group_bytes=limit)
    reader = pq.ParquetFile(local.local_path(f"t/{file.path}"))
    sizes = [reader.read_row_group(group).nbytes for group in range(reader.num_row_groups)]
    assert max(sizes) <= limit * 1.05
    assert len(sizes) <= 2000 * 112 / limit * 1.2 + 1, "and groups are full but for the last"


def test_a_row_wider_than_a_row_group_stands_alone(local):
    wide = pa.record_batch({"text": pa.array(["x" * 50_000, "y", "z" * 50_000])})
    [file] = written(local, [wide], row_group_bytes=10_000)
    reader = pq.ParquetFile(local.local_path(f"t/{file.path}"))
    assert reader.metadata.num_rows == 3
    assert reader.num_row_groups >= 2


def test_a_file_is_closed_once_it_is_large_enough(local, monkeypatch):
    monkeypatch.setattr("import_platform.io.parquet.TARGET_FILE_BYTES", 20_000)
    rng = np.random.default_rng(1)
    batches = [pa.record_batch({"v": pa.array(rng.random(500))}) for _ in range(40)]
    files = written(local, batches, row_group_bytes=8_000)
    assert len(files) > 3
    assert sum(file.rows for file in files) == 20_000
    assert all(file.size_bytes < 40_000 for file in files)


# Reading


@pytest.mark.parametrize("limit", [1, 5_000, 1 << 20])
def test_a_foreign_file_with_one_huge_row_group_is_read_in_slices(local, limit):
    path = local.local_path("foreign.parquet")
    table = pa.table({"id": range(5000), "text": ["w" * 50 + str(i) for i in range(5000)]})
    pq.write_table(table, path, row_group_size=5000, use_dictionary=False)
    got = list(read_batches(local, "foreign.parquet", limit_bytes=limit))
    assert [at for at, _ in got] == list(np.cumsum([0, *(b.num_rows for _, b in got)])[:-1])
    assert pa.Table.from_batches([b for _, b in got]).equals(table)
    assert all(batch.nbytes <= max(2.5 * limit, 200) for _, batch in got)


def test_a_dictionary_that_hides_how_wide_rows_are_is_still_read_in_slices(local):
    path = local.local_path("foreign.parquet")
    table = pa.table({"id": range(2000), "text": ["long " * 2000] * 2000})
    pq.write_table(table, path, row_group_size=2000)
    got = list(read_batches(local, "foreign.parquet", limit_bytes=1 << 20))
    assert max(batch.nbytes for _, batch in got) <= 2.5 * (1 << 20)
    assert sum(batch.num_rows for _, batch in got) == 2000


def test_positions_count_the_row_groups_that_are_left_out(local):
    path = local.local_path("f.parquet")
    pq.write_table(pa.table({"id": range(100)}), path, row_group_size=10)
    got = [(at, batch.column(0).to_pylist()) for at, batch in read_batches(local, "f.parquet", row_groups=[3, 7])]
    assert got == [(30, list(range(30, 40))), (70, list(range(70, 80)))]


def test_only_the_asked_columns_are_read(local):
    path = local.local_path("f.parquet")
    pq.write_table(pa.table({"a": [1], "a.b": [2], "c": [3]}), path)
    [(_, batch)] = read_batches(local, "f.parquet", columns=["a.b", "c"])
    assert sorted(batch.schema.names) == ["a.b", "c"]


@given(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)), st.integers(1, n + 1)))
)
def test_rows_are_left_out_by_position_however_batches_fall(case):
    count, gone, step = case
    positions = np.array(sorted(gone), dtype=np.int64)
    kept = []
    for at in range(0, count, step):
        batch = pa.record_batch({"i": pa.array(range(at, min(at + step, count)))})
        kept += without_rows(batch, at, positions).column("i").to_pylist()
    assert kept == [i for i in range(count) if i not in gone]


@given(st.integers(0, 500), st.integers(1, 5000))
def test_slices_lose_nothing_and_are_never_empty(rows, limit):
    batch = pa.record_batch({"i": pa.array(range(rows), pa.int64())})
    pieces = list(slices(batch, limit))
    assert [i for piece in pieces for i in piece.column("i").to_pylist()] == list(range(rows))
    assert all(piece.num_rows for piece in pieces)
    assert all(piece.nbytes <= max(limit, 8) for piece in pieces)


def test_conforming_orders_widens_and_fills_with_null():
    batch = pa.record_batch({"b": pa.array([1], pa.int32()), "gone": ["x"]})
    schema = pa.schema([("a", pa.string()), ("b", pa.int64())])
    assert conform(batch, schema).to_pylist() == [{"a": None, "b": 1}]
    assert conform(batch, schema).schema == schema


# Statistics

TEXT = st.text(max_size=80) | st.builds(lambda a, b: a * 64 + b, st.sampled_from("aä\U0010ffff\U0001f600"), st.text())
INSTANTS = st.integers(-(2**62), 2**62)
VALUES = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float64(), st.floats()),
    "text": (pa.string(), TEXT),
    "long text": (pa.string(), st.builds(lambda t, n: t * n, st.text(min_size=1, max_size=3), st.integers(0, 3000))),
    "binary": (pa.binary(), st.binary(max_size=80)),
    "date": (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    "timestamp": (US, INSTANTS),
    "decimal": (pa.decimal128(30, 5), st.decimals(-(10**24), 10**24, places=5)),
    "bool": (pa.bool_(), st.booleans()),
}


@pytest.mark.parametrize("kind", list(VALUES))
def test_logged_bounds_hold_every_value(kind):
    dtype, values = VALUES[kind]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(st.one_of(st.none(), values), min_size=1, max_size=5), min_size=1, max_size=4))
    def bounds_hold(groups):
        check_bounds(dtype, groups)

    bounds_hold()


@given(groups=st.just(0))
@example(groups=[["a" * 64 + "\U0010ffffz"]])
@example(groups=[["\U0010ffff" * 70]])
@example(groups=[["a" * 63 + "\ud7ff" + "\U0010ffff" * 2, ""]])
def test_text_at_the_very_end_of_unicode_is_within_its_bounds(groups):
    if groups:
        check_bounds(pa.string(), groups)


def check_bounds(dtype, groups):
    sink = pa.BufferOutputStream()
    footers = []
    with pq.ParquetWriter(sink, pa.schema([("v", dtype)]), metadata_collector=footers) as writer:
        for group in groups:
            writer.write_table(pa.table({"v": pa.array(group, dtype)}), row_group_size=len(group))
    statistics = json.loads(statistics_json(footers[0], ["v"]))
    every = [value for group in groups for value in pa.array(group, dtype)]
    present = [value for value in every if value.is_valid]
    assert statistics["numRecords"] == len(every)
    assert statistics["nullCount"].get("v", len(every) - len(present)) == len(every) - len(present)
    low, high = statistics["minValues"].get("v"), statistics["maxValues"].get("v")
    assert (low is None) == (high is None)
    if low is None or not present:
        return
    if pa.types.is_string(dtype):
        texts = [value.as_py().encode() for value in present]
        assert low.encode() <= min(texts)
        assert high.encode() >= max(texts)
    elif pa.types.is_timestamp(dtype):
        ticks = [value.value for value in present]
        assert _micros(low) <= min(ticks)
        assert _micros(high) >= max(ticks)
    elif pa.types.is_date(dtype):
        assert date.fromisoformat(low) <= min(value.as_py() for value in present)
        assert date.fromisoformat(high) >= max(value.as_py() for value in present)
    else:
        assert low <= min(value.as_py() for value in present)
        assert high >= max(value.as_py() for value in present)


def _micros(text):
    return (datetime.fromisoformat(text.removesuffix("Z")) - NAIVE_EPOCH) // timedelta(microseconds=1)


def test_ordinary_values_do_have_bounds(local):
    batch = pa.record_batch({
        "i": pa.array([3, None, -1], pa.int32()), "t": ["b", "a" * 100, None],
        "d": [date(1969, 12, 31), None, date(2025, 1, 1)],
        "ts": pa.array([-1, 5, None], US),
        "f": [float("nan"), 1.0, None], "dec": [Decimal("1.50"), None, None], "none": pa.nulls(3, pa.int64()),
    })  # fmt: skip
    [file] = written(local, [batch])
    found = json.loads(file.statistics)
    assert found["minValues"] == {"i": -1, "t": "a" * 64, "d": "1969-12-31", "ts": "1969-12-31T23:59:59.999999Z"}
    assert found["maxValues"] == {"i": 3, "t": "b", "d": "2025-01-01", "ts": "1970-01-01T00:00:00.000005Z"}
    assert found["nullCount"] == {"i": 1, "t": 1, "d": 1, "ts": 1, "f": 1, "dec": 2, "none": 3}


def test_keys_have_bounds_in_a_table_of_many_columns(local):
    columns = {f"c{i}": pa.array([i]) for i in range(60)}
    [file] = written(local, [pa.record_batch(columns)], statistics_first=("c50", "c59"))
    found = json.loads(file.statistics)["minValues"]
    assert len(found) == 32
    assert found["c50"] == 50
    assert found["c59"] == 59


# Readers

COLUMNS = {
    "int": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "big": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float64(), st.floats(allow_nan=False)),
    "text": (pa.string(), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5) | TEXT.filter(lambda t: "\0" not in t)),
    "date": (pa.date32(), st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "at": (US, st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda d: d.replace(tzinfo=UTC))),
    "dec": (pa.decimal128(20, 3), st.decimals(-(10**16), 10**16, places=3)),
    "flag": (pa.bool_(), st.booleans()),
    "bin": (pa.binary(), st.binary(max_size=5)),
}  # fmt: skip
ROWS = st.lists(
    st.tuples(*(st.one_of(st.none(), values) for _, values in COLUMNS.values())), min_size=1, max_size=12
)  # fmt: skip


def delta_extension():
    import duckdb_extension_delta

    [path] = Path(duckdb_extension_delta.__file__).parent.glob("extensions/*/delta.duckdb_extension")
    return path


@pytest.fixture(scope="module")
def duck():
    connection = duckdb.connect()
    connection.execute(f"LOAD '{delta_extension()}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def lake_of(folder, rows, cuts=3):
    """A table of several leaves and files with these rows."""
    schema = pa.schema([("n", pa.int64()), *((name, dtype) for name, (dtype, _) in COLUMNS.items())])
    store = Store(folder)
    files = []
    for part in range(cuts):
        chosen = rows[part::cuts]
        if chosen:
            arrays = [pa.array(range(part, len(rows), cuts), pa.int64())]
            arrays += [pa.array([row[i] for row in chosen], f.type) for i, f in enumerate(list(schema)[1:])]
            writer = LeafWriter(store, "t", ["2025", "null", "2025-01-13T05"][part], schema)
            writer.write(pa.record_batch(arrays, schema=schema))
            files += writer.close()
    log = DeltaLog(store, "t")
    log.create(schema, Commit(files, [], number=1), identity="{}")
    return log.uri, pa.schema([*schema, ("_partition", pa.string())])


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(rows=ROWS)
def test_every_reader_sees_the_same_rows_and_types_and_filters_alike(duck, rows):
    with tempfile.TemporaryDirectory() as folder:
        uri, schema = lake_of(folder, rows)
        ours = pl.read_delta(uri).sort("n")
        assert [row[1:-1] for row in ours.iter_rows()] == rows
        deltas = DeltaTable(uri).to_pyarrow_table().select(schema.names).sort_by("n")
        ducks = duck.sql(f"SELECT * FROM delta_scan('{uri}') ORDER BY n").to_arrow_table().select(schema.names)
        for found in (deltas, ducks):
            found = found.cast(schema)
            assert pl.DataFrame(pl.from_arrow(found)).equals(ours, null_equal=True)
        names = {"polars": ours.schema, "deltalake": pl.DataFrame(pl.from_arrow(deltas)).schema}
        assert names["polars"] == names["deltalake"] == pl.DataFrame(pl.from_arrow(ducks)).schema
        for name in COLUMNS:
            check_filters(duck, uri, ours, name)


def check_filters(duck, uri, ours, name):
    """Equality, ranges and nulls on every value of a column: bounds in the log must never hide a row."""
    column = pl.col(name)
    lazy = pl.scan_delta(uri)
    for value in [*ours[name].drop_nulls().unique(maintain_order=True).head(1), None]:
        literal = pl.lit(value, ours.schema[name])
        for made in ("eq", "le", "ge"):
            want = {"eq": ours.filter(column == literal), "le": ours.filter(column <= literal),
                    "ge": ours.filter(column >= literal)}[made]  # fmt: skip
            if value is None:
                want = ours.filter(column.is_null())
                assert lazy.filter(column.is_null()).select("n").collect()["n"].sort().to_list() == want["n"].to_list()
                sql, parameters = f'"{name}" IS NULL', []
            else:
                got = lazy.filter({"eq": column == literal, "le": column <= literal, "ge": column >= literal}[made])
                assert got.select("n").collect()["n"].sort().to_list() == want["n"].to_list()
                sql, parameters = f'"{name}" {dict(eq="=", le="<=", ge=">=")[made]} ?', [value]
            found = duck.execute(f"SELECT n FROM delta_scan('{uri}') WHERE {sql} ORDER BY n", parameters).fetchall()
            assert [n for (n,) in found] == want["n"].to_list(), (name, made, value)


@pytest.mark.parametrize("step", ["create", "commit"])
def test_bounds_of_rare_characters_are_what_readers_parse(local, step):
    """deltalake reads the JSON escapes of these as other characters; written as UTF-8 they are right."""
    schema = pa.schema([("text", pa.string())])
    log = DeltaLog(local, "t")
    log.create(schema, Commit(written(local, [_texts("a")]) if step == "commit" else [], [], number=1), identity="{}")
    if step == "create":
        local.remove_folder("t")
    text = "\U000b4983\U000ccfd7\U0010ffff\U0001f600"
    files = written(local, [_texts(text)])
    if step == "create":
        log = DeltaLog(local, "t")
        log.create(schema, Commit(files, [], number=1), identity="{}")
    else:
        log.commit(log.snapshot(), Commit(files, [], number=2))
    assert text in log.snapshot().files["min.text"]
    assert pl.scan_delta(log.uri).filter(pl.col("text") == text).collect().height == 1


def _texts(*texts):
    return pa.record_batch({"text": pa.array(texts)})


def test_deltalake_prunes_by_our_bounds_and_misses_nothing(local):
    rows = [(i, i * 2**40, i / 3, "x" * 64 + f"{i:03}", date(1960, 1, 1) + timedelta(i), None, Decimal(i), True, b"")
            for i in range(30)]  # fmt: skip
    uri, _ = lake_of(str(local.uri), rows)
    table = DeltaTable(uri)
    for sql in ('"int" = 7', f"big >= {20 * 2**40}", f"text = '{'x' * 64}011'", "date = DATE '1960-01-08'"):
        found = pa.table(QueryBuilder().register("t", table).execute(f"SELECT n FROM t WHERE {sql}").read_all())
        assert found.num_rows == (10 if sql.startswith("big") else 1), sql


def test_a_file_that_a_stop_leaves_unfinished_goes_without_a_word(local, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    writer = LeafWriter(local, "t", "all", numbers(0, 100).schema, row_group_bytes=500)
    writer.write(numbers(0, 100))
    del writer
    gc.collect()
    assert said == []
