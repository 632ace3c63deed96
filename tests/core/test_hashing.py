"""The key hash is a file format: golden values, one canonical text per value, and speed."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.core.hashing import NULL_HASH, key_hashes

seeded = settings(deadline=None, derandomize=True)
MASK = 2**64 - 1


def hashes(values: list[Any], dtype: Any) -> list[int]:
    found: list[int] = key_hashes(pl.DataFrame({"k": pl.Series(values, dtype=dtype, strict=True)}), ["k"]).tolist()
    return found


def xxh3(text: str | bytes) -> int:
    return xxhash.xxh3_64_intdigest(text.encode() if isinstance(text, str) else text)


def mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


CANONICAL: list[tuple[Any, Any, str | bytes]] = [
    (pl.Int8, -5, "-5"),
    (pl.Int16, 5, "5"),
    (pl.Int32, 0, "0"),
    (pl.Int64, -(2**63), "-9223372036854775808"),
    (pl.Int128, 2**100, str(2**100)),
    (pl.UInt8, 5, "5"),
    (pl.UInt64, 2**64 - 1, "18446744073709551615"),
    (pl.Decimal(10, 0), Decimal(500), "500"),
    (pl.Decimal(10, 2), Decimal("5.00"), "5"),
    (pl.Decimal(10, 2), Decimal("-0.50"), "-0.5"),
    (pl.Decimal(38, 10), Decimal("100.1"), "100.1"),
    (pl.Decimal(10, 2), Decimal("0.00"), "0"),
    (pl.Decimal(10, 2), Decimal("100.00"), "100"),
    (pl.Float64, 5.0, "5"),
    (pl.Float32, 5.0, "5"),
    (pl.Float64, -0.0, "0"),
    (pl.Float64, 0.5, "f4602678819172646912"),
    (pl.Float32, 0.5, "f4602678819172646912"),
    (pl.Float64, float("nan"), "nan"),
    (pl.Float64, float("inf"), "inf"),
    (pl.Float64, float("-inf"), "-inf"),
    (pl.Float64, 2.0**63, "f4890909195324358656"),
    (pl.Float64, -(2.0**62), str(-(2**62))),
    (pl.String, "", ""),
    (pl.String, "null", "null"),
    (pl.String, "Käse", "Käse"),
    (pl.String, "x" * 1000, "x" * 1000),
    (pl.String, "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d", "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"),
    (pl.Categorical, "a", "a"),
    (pl.Enum(["b", "a"]), "a", "a"),
    (pl.Binary, b"", b""),
    (pl.Binary, b"\x00\xff", b"\x00\xff"),
    (pl.Boolean, True, "true"),
    (pl.Boolean, False, "false"),
    (pl.Date, date(1970, 1, 2), "1d"),
    (pl.Date, date(1, 1, 1), "-719162d"),
    (pl.Datetime("us"), datetime(1970, 1, 1, 0, 0, 1, 5), "1000005us"),
    (pl.Datetime("us", "UTC"), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "-1000000us"),
    (pl.Datetime("ms"), datetime(1970, 1, 1, 0, 0, 1), "1000000us"),
    (pl.Datetime("ns"), datetime(1970, 1, 1, 0, 0, 1), "1000000us"),
    (pl.Time, clock(1), "3600000000us"),
    (pl.Duration("us"), timedelta(seconds=-1), "-1000000us"),
]


@pytest.mark.parametrize(("dtype", "value", "text"), CANONICAL)
def test_the_hash_of_a_value_is_xxh3_of_its_canonical_text(dtype: Any, value: Any, text: str | bytes) -> None:
    assert hashes([value, None, value], dtype) == [xxh3(text), NULL_HASH, xxh3(text)]


GOLDEN = [
    (["5"], 0xDEDB980100C87E72),
    ([""], 0x2D06800538D394C2),
    (["2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"], 0x5C20401D6554C6B7),
    ([None], 0x9E3779B97F4A7C15),
    (["5", None], 0x34F8D0EB1AFD736E),
    ([None, "5"], 0xB0A3066BA1711B86),
    (["5", "5"], 0x74143153657F7109),
    (["a", "b", "c"], 0xE1B043EDE2CF7956),
]


@pytest.mark.parametrize(("row", "expected"), GOLDEN)
def test_golden_values(row: list[str | None], expected: int) -> None:
    frame = pl.DataFrame({f"k{n}": pl.Series([value], dtype=pl.String) for n, value in enumerate(row)})
    assert hex(key_hashes(frame, frame.columns)[0]) == hex(expected)


def test_nanoseconds_that_microseconds_cannot_hold_are_kept_apart() -> None:
    ticks = pl.Series([1000, 1001, -1], dtype=pl.Int64).cast(pl.Datetime("ns"))
    assert key_hashes(ticks.to_frame("k"), ["k"]).tolist() == [xxh3("1us"), xxh3("1001ns"), xxh3("-1ns")]


def test_milliseconds_beyond_any_calendar_do_not_overflow() -> None:
    ticks = pl.Series([2**63 - 1], dtype=pl.Int64).cast(pl.Datetime("ms"))
    assert key_hashes(ticks.to_frame("k"), ["k"]).tolist() == [xxh3(f"{(2**63 - 1) * 1000}us")]


@seeded
@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_widening_an_integer_key_keeps_its_hash(values: list[int]) -> None:
    narrow = hashes(values, pl.Int32)
    wide: list[Any] = [pl.Int64, pl.Int128, pl.Float64, pl.Decimal(38, 0), pl.Decimal(38, 6), pl.String]
    integers = pl.Series(values, dtype=pl.Int64)
    for dtype in wide:
        assert key_hashes(integers.cast(dtype).to_frame("k"), ["k"]).tolist() == narrow


@seeded
@given(st.lists(st.decimals(-(10**9), 10**9, places=3)))
def test_a_greater_scale_keeps_the_hash_of_a_decimal(values: list[Decimal]) -> None:
    assert hashes(values, pl.Decimal(20, 3)) == hashes(values, pl.Decimal(38, 12))


def test_null_is_none_of_the_texts_it_resembles() -> None:
    assert len(set(hashes([None, "", "null", "None", "NULL", "0"], pl.String))) == 6
    assert hashes([None], pl.Null) == hashes([None], pl.Int64) == [NULL_HASH]


_cells = st.one_of(st.none(), st.text("ab", max_size=3))


@seeded
@given(st.lists(st.tuples(_cells, _cells, _cells), unique=True))
def test_composite_keys_are_unambiguous(rows: list[tuple[str | None, ...]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "c": pl.String}, orient="row")
    assert len(set(key_hashes(frame, ["a", "b", "c"]).tolist())) == len(rows)


@seeded
@given(st.lists(st.tuples(st.integers(-9, 9), _cells)))
def test_a_row_folds_its_columns_from_left_to_right(rows: list[tuple[int, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.String}, orient="row")
    expected = [mixed(xxh3(str(a))) ^ (NULL_HASH if b is None else xxh3(b)) for a, b in rows]
    assert key_hashes(frame, ["a", "b"]).tolist() == expected
    assert rows == [] or key_hashes(frame, ["b", "a"]).tolist() != expected


@seeded
@given(st.lists(st.one_of(st.none(), st.text())), st.integers(1, 5))
def test_a_row_hashes_alike_in_any_batch(values: list[str | None], rows: int) -> None:
    frame = pl.DataFrame({"k": pl.Series(values, dtype=pl.String)})
    slices = [key_hashes(frame[start : start + rows], ["k"]) for start in range(0, frame.height, rows)]
    whole = key_hashes(frame, ["k"]).tolist()
    assert np.concatenate([np.empty(0, np.uint64), *slices]).tolist() == whole
    assert key_hashes(pl.concat([frame, frame], rechunk=False), ["k"]).tolist() == whole * 2


def test_the_content_of_nested_columns_counts() -> None:
    lists = [[1, 2], [2, 1], [1], [], None, [None], [12]]
    assert len(set(hashes(lists, pl.List(pl.Int64)))) == len(lists)
    expected = [xxh3(f"[{xxh3('1')},{xxh3('2')}]")]
    assert hashes([[1, 2]], pl.Array(pl.Int8, 2)) == hashes([[1, 2]], pl.List(pl.Int64)) == expected
    structs = [{"a": 1, "b": "x"}, {"a": 1, "b": None}, {"a": None, "b": None}, None]
    found = hashes(structs, pl.Struct({"a": pl.Int64, "b": pl.String}))
    assert len(set(found)) == len(structs)
    assert (found[0], found[3]) == (mixed(xxh3("1")) ^ xxh3("x"), NULL_HASH)
    assert len(set(hashes([[[1], []], [[], [1]], [None]], pl.List(pl.List(pl.Int64))))) == 3


def test_no_column_and_no_row_are_allowed() -> None:
    assert key_hashes(pl.DataFrame({"k": [1, 2]}), []).tolist() == [0, 0]
    assert key_hashes(pl.DataFrame({"k": pl.Series([], dtype=pl.Float64)}), ["k"]).tolist() == []
    assert key_hashes(pl.DataFrame({"k": pl.Series([], dtype=pl.List(pl.Int64))}), ["k"]).tolist() == []


def test_every_bit_is_mixed_for_sequential_keys() -> None:
    found = key_hashes(pl.DataFrame({"k": range(100_000), "l": [7] * 100_000}), ["k", "l"])
    shares = [((found >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    assert all(0.49 < share < 0.51 for share in shares)
    assert len(np.unique(found)) == 100_000


@pytest.mark.parametrize("columns", [["number"], ["uuid"], ["time"], ["number", "time"]])
def test_a_third_of_three_million_keys_a_second(columns: list[str]) -> None:
    count = 500_000
    random = np.random.default_rng(7)
    frame = pl.DataFrame({"number": random.integers(0, 10**12, count)}).with_columns(
        uuid=pl.format("{}-4d5c-8f7e-9a0b1c2d3e4f", pl.col("number") + 10**12),
        time=pl.col("number").cast(pl.Datetime("us")),
    )
    best = 0.0
    for _ in range(4):
        start = time.process_time()
        key_hashes(frame, columns)
        best = max(best, count / (time.process_time() - start))
    assert best > 3_000_000 / 3
