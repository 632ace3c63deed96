"""Numbers that are alike have the hash of their canonical text, however it was come by."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.core import hashing, quick_text
from import_platform.core.quick_text import equally_long

TYPES = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt32, pl.UInt64, pl.Date, pl.Boolean,
         pl.Datetime("us"), pl.Datetime("us", "UTC"), pl.Datetime("ms"), pl.Datetime("ns")]  # fmt: skip
RANGES = [(0, 1), (0, 100), (-100, 100), (-128, 127), (10**15, 10**16 - 1), (10**18, 2**63 - 1), (-(2**63), 2**63 - 1)]


def slowly(series):
    return hashing._text_hashes(hashing._canonical(series))


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_integers_instants_days_and_flags(dtype, range_, nulls):
    dice = np.random.default_rng(3)
    numbers = pl.Series("n", dice.integers(range_[0], range_[1], 3000, endpoint=True))
    values = (numbers % 2 == 0) if dtype == pl.Boolean else numbers.cast(dtype, strict=False)
    if dtype == pl.Date:
        values = numbers.cast(pl.Int32, strict=False).cast(pl.Date)
    if nulls:
        values = pl.select(pl.when(pl.Series(dice.random(3000) < 0.1)).then(None).otherwise(values)).to_series()
    assert (hashing.key_hashes(values.alias("n").to_frame(), ["n"]) == slowly(values)).all()


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
@pytest.mark.parametrize("special", [[], [None], [1.0], [float("nan")], [float("inf")], [-0.0], [-0.25], [5e-324]])
def test_fractions(dtype, special):
    values = pl.Series([*(np.random.default_rng(4).random(2000)), *special], dtype=dtype)
    assert (hashing.key_hashes(values.alias("n").to_frame(), ["n"]) == slowly(values)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.data())
def test_digits_of_every_length(width, data):
    low, high = (0 if width == 1 else 10 ** (width - 1)), min(10**width - 1, 2**64 - 1)
    numbers = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=50)) * quick_text.ROWS_MIN
    text = equally_long(np.array(numbers, np.uint64), prefix=b"f", suffix=b"us")
    if width <= 9:
        assert text is None, "short text lies inside its view"
    else:
        assert text.to_list() == [f"f{number}us".encode() for number in numbers]


def test_numbers_that_differ_in_length_or_sign_are_left_to_the_general_way():
    many = np.full(quick_text.ROWS_MIN, 99)
    assert equally_long(np.append(many, 100)) is None
    assert equally_long(np.append(many, -99)) is None
    assert equally_long(many[:5]) is None


def test_of_a_keyless_row_of_25_columns_no_number_is_spelled_by_itself(monkeypatch):
    """The general way spells every value of a column by itself."""
    dice, count = np.random.default_rng(7), 200_000
    frame = pl.DataFrame(
        {f"i{k}": dice.integers(10**12, 10**13, count) for k in range(6)}
        | {f"f{k}": dice.random(count) for k in range(4)}
        | {f"s{k}": pl.Series(dice.integers(0, 10**6, count)).cast(pl.String) for k in range(8)}
        | {f"t{k}": pl.Series(dice.integers(10**15, 2 * 10**15, count)).cast(pl.Datetime("us")) for k in range(4)}
        | {"d": pl.Series(dice.integers(0, 20_000, count)).cast(pl.Int32).cast(pl.Date), "b": dice.random(count) < 0.5}
        | {"code": dice.integers(-500, 500, count)}
    )
    spelled, canonical = [], hashing._canonical
    monkeypatch.setattr(hashing, "_canonical", lambda series: spelled.append(series) or canonical(series))
    hashing.key_hashes(frame, frame.columns)
    numbers = [(str(series.dtype), len(series)) for series in spelled if series.dtype != pl.String]
    assert frame.width == 25
    assert numbers == [("Date", 20_000), ("Boolean", 2), ("Int64", 1000)], (
        "few values once each, and none of the others"
    )
