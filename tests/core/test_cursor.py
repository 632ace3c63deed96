"""Cursor values as text: what is stored is read back as the same value, and order is the order of the values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.cursor import decode, encode, later
from import_platform.errors import ConfigError

INSTANT = pa.timestamp("us", "UTC")
NAIVE = pa.timestamp("us")
DAY = pa.date32()
INTEGER = pa.int64()
DECIMAL = pa.decimal128(38, 10)

VALUES = {
    INSTANT: st.datetimes(timezones=st.just(UTC)),
    NAIVE: st.datetimes(),
    DAY: st.dates(),
    INTEGER: st.integers(-(2**63), 2**63 - 1),
    DECIMAL: st.decimals(-(10**27), 10**27, places=10, allow_nan=False, allow_infinity=False),
    pa.large_string(): st.text(),
}
PAIRS = st.sampled_from(list(VALUES)).flatmap(lambda dtype: st.tuples(st.just(dtype), VALUES[dtype], VALUES[dtype]))


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=UTC), INSTANT, "2025-01-02T03:04:05.000006Z"),
        (datetime(2025, 1, 2, 3, 4, 5), NAIVE, "2025-01-02T03:04:05.000000Z"),
        (datetime(2025, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), INSTANT, "2025-01-01T23:00:00.000000Z"),
        (datetime(1, 1, 1), NAIVE, "0001-01-01T00:00:00.000000Z"),
        (datetime.max, NAIVE, "9999-12-31T23:59:59.999999Z"),
        (date(44, 3, 15), DAY, "0044-03-15"),
        (-7, INTEGER, "-7"),
        (0, INTEGER, "0"),
        (Decimal("1E+5"), DECIMAL, "100000"),
        (Decimal("1.500"), DECIMAL, "1.5"),
        (Decimal("10.00"), DECIMAL, "10"),
        (Decimal("-0.0"), DECIMAL, "0"),
        (Decimal(12345678901234567890123456789012345678), DECIMAL, "12345678901234567890123456789012345678"),
        ("", pa.string(), ""),
    ],
)
def test_the_text_of_a_value_is_stored_for_ever(value: Any, dtype: pa.DataType, text: str) -> None:
    assert encode(value, dtype) == text


@given(PAIRS)
def test_a_value_survives_its_text(drawn: tuple[pa.DataType, Any, Any]) -> None:
    dtype, value, _ = drawn
    assert decode(encode(value, dtype), dtype) == value


@given(PAIRS)
def test_the_later_text_is_the_text_of_the_greater_value(drawn: tuple[pa.DataType, Any, Any]) -> None:
    dtype, a, b = drawn
    assert later(encode(a, dtype), encode(b, dtype), dtype) == encode(max(a, b), dtype)


def test_numbers_compare_as_numbers_and_not_as_text() -> None:
    assert later("9", "10", INTEGER) == "10"
    assert later("-9", "-10", INTEGER) == "-9"
    assert later("9.5", "10", DECIMAL) == "10"


def test_no_cursor_is_less_than_every_cursor() -> None:
    assert later(None, "-5", INTEGER) == "-5"
    assert later("-5", None, INTEGER) == "-5"
    assert later(None, None, INTEGER) is None


def test_a_type_without_zone_gives_a_naive_datetime() -> None:
    assert decode("2025-01-02T03:04:05.000000Z", NAIVE).tzinfo is None
    assert decode("2025-01-02T03:04:05.000000Z", pa.timestamp("us", "Europe/Berlin")).tzinfo is UTC


def test_digits_finer_than_microseconds_are_cut_towards_the_past_so_that_no_row_is_passed_by() -> None:
    nanoseconds = pa.scalar(1_735_787_045_000_006_789, pa.timestamp("ns", "UTC"))
    assert encode(nanoseconds.as_py(), nanoseconds.type) == "2025-01-02T03:04:05.000006Z"


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, pa.float64()),
        (True, pa.bool_()),
        (b"x", pa.binary()),
        (None, INTEGER),
        (timedelta(1), pa.duration("us")),
        (Decimal("NaN"), DECIMAL),
        (Decimal("Infinity"), DECIMAL),
    ],
)
def test_what_has_no_stored_order_is_refused_with_a_way_out(value: Any, dtype: pa.DataType) -> None:
    with pytest.raises(ConfigError) as caught:
        encode(value, dtype)
    assert caught.value.facts == {"type": str(dtype)}
    assert "full_refresh" in caught.value.remedy
