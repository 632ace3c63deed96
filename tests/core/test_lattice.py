"""Types meet in pairs: every pair is tried, with the values at the edges of each type."""

import itertools
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from import_platform.core.lattice import fitted, is_readable_as, join, kind, widened
from import_platform.core.schema import lake_type

INSTANT = pa.timestamp("us", "UTC")
VALUES = {
    pa.int8(): [-128, 127, 0],
    pa.int16(): [-(2**15), 2**15 - 1, 7],
    pa.int32(): [-(2**31), 2**31 - 1, 7],
    pa.int64(): [-(2**63), 2**63 - 1, 2**53 + 1],
    pa.decimal128(10, 2): [Decimal("-99999999.99"), Decimal("0.01"), Decimal("7.00")],
    pa.decimal128(38, 10): [Decimal("9" * 28 + "." + "9" * 10), Decimal("-1E-10"), Decimal(7)],
    pa.decimal128(38, 0): [Decimal("9" * 38), Decimal(-1), Decimal(7)],
    pa.float32(): [1.5, float("inf"), float("nan")],
    pa.float64(): [1e300, float("-inf"), 0.1],
    pa.bool_(): [True, False],
    pa.date32(): [date(1, 1, 1), date(9999, 12, 31)],
    INSTANT: [datetime(1, 1, 1, tzinfo=UTC), datetime(2025, 3, 4, 5, 6, 7, 8, tzinfo=UTC)],
    pa.string(): ["", "ä\U0001f600", "7"],
    pa.binary(): [b"", b"\xff\x00"],
}
PAIRS = list(itertools.product(VALUES, VALUES))


def array(dtype):
    return pa.array([*VALUES[dtype], None], dtype)


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
def test_two_types_meet_in_one_that_both_reach_and_that_is_the_same_from_either_side(a, b):
    meeting = join(a, b)
    assert meeting == join(b, a)
    assert join(meeting, a) == meeting
    assert join(meeting, b) == meeting
    assert join(a, a) == a


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
def test_values_survive_the_way_up(a, b):
    meeting = join(a, b)
    up = widened(array(a), meeting)
    assert up.type == meeting
    assert up.null_count == 1
    if pa.types.is_floating(meeting) and not pa.types.is_floating(a):
        assert up.to_pylist()[:-1] == [float(value) for value in VALUES[a]]
    elif meeting != pa.string():
        assert same(up.cast(a).to_pylist(), array(a).to_pylist())
    else:
        back, bad = fitted(up, a)  # text spells the value it was
        assert bad is None
        assert same(back.to_pylist(), array(a).to_pylist())


def same(left, right):
    return all(
        x == y or (isinstance(x, float) and math.isnan(x) and math.isnan(y)) for x, y in zip(left, right, strict=True)
    )


@pytest.mark.parametrize(("value", "stored"), PAIRS, ids=str)
def test_what_is_stored_equals_what_came_and_the_rest_is_told(value, stored):
    came = array(value)
    found, bad = fitted(came, stored)
    assert found.type == stored
    told = [False] * len(came) if bad is None else bad.to_pylist()
    for before, after, misfit in zip(came.to_pylist(), found.to_pylist(), told, strict=True):
        assert (after is None) == (before is None or misfit)
        if after is None or join(value, stored) == stored or pa.types.is_string(value):
            continue
        if kind(value) == "timestamp":
            assert before == datetime.combine(after, datetime.min.time(), UTC)
        else:
            assert same([float(after)], [float(before)]) if {kind(stored), kind(value)} & {"float"} else after == before


@pytest.mark.parametrize(
    ("text", "stored", "value"),
    [
        ("12", pa.int32(), 12),
        ("99999999999", pa.int32(), None),
        ("1.5", pa.int64(), None),
        ("", pa.int64(), None),
        ("1.50", pa.decimal128(4, 1), Decimal("1.5")),
        ("1.55", pa.decimal128(4, 1), None),
        (".", pa.decimal128(4, 1), None),
        ("1e3", pa.float64(), 1000.0),
        ("yes", pa.bool_(), None),
        ("T", pa.bool_(), True),
        ("2025-01-02", pa.date32(), date(2025, 1, 2)),
        ("2025-01-02T01:00:00Z", pa.date32(), None),
        ("2025-01-02 03:04", INSTANT, datetime(2025, 1, 2, 3, 4, tzinfo=UTC)),
        ("x", INSTANT, None),
        ("ff00", pa.binary(), b"\xff\x00"),
        ("fg", pa.binary(), None),
    ],
)
def test_text_fits_what_it_spells(text, stored, value):
    found, bad = fitted(pa.array([text]), stored)
    assert found.to_pylist() == [value]
    assert (bad is None) == (value is not None)


def test_a_number_fits_a_smaller_type_where_its_value_does():
    found, bad = fitted(pa.array([1.0, 1.5, 300.0, None]), pa.int8())
    assert found.to_pylist() == [1, None, None, None]
    assert bad.to_pylist() == [False, True, True, False]


def test_text_of_values_is_canonical():
    assert widened(pa.array([Decimal("1E-10")], pa.decimal128(20, 10)), pa.string()).to_pylist() == ["0.0000000001"]
    instant = pa.array([datetime(2025, 1, 2, 3, tzinfo=UTC)], INSTANT)
    assert widened(instant, pa.string()).to_pylist() == ["2025-01-02T03:00:00.000000Z"]
    assert widened(pa.array([b"\xff\x00"]), pa.string()).to_pylist() == ["ff00"]
    assert widened(pa.array([True]), pa.string()).to_pylist() == ["true"]


def test_a_decimal_that_needs_more_than_38_digits_becomes_text():
    assert join(pa.decimal128(38, 30), pa.int64()) == pa.string()
    assert join(pa.decimal128(20, 0), pa.decimal128(30, 20)) == pa.string()


@pytest.mark.parametrize(
    ("file", "table", "answer"),
    [
        (pa.int16(), pa.int64(), True),
        (pa.int64(), pa.int32(), False),
        (pa.int64(), pa.decimal128(19, 0), False),
        (pa.decimal128(10, 2), pa.decimal128(12, 2), True),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), False),
        (pa.float32(), pa.float64(), True),
        (pa.int32(), pa.float64(), False),
        (pa.date32(), INSTANT, False),
        (pa.int64(), pa.string(), False),
    ],
)
def test_old_files_stay_only_where_every_reader_takes_them(file, table, answer):
    assert is_readable_as(file, table) is answer


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([[1, None], [], None]), ["[1,null]", "[]", None]),
        (pa.array([{"a": 1, "b": 'x"y'}, None]), ['{"a":1,"b":"x\\"y"}', None]),
        (pa.array([[{"a": [True]}]]), ['[{"a":[true]}]']),
        (pa.array([time(12, 34, 56, 789000), None], pa.time64("us")), ["12:34:56.789000", None]),
        (
            pa.array([timedelta(hours=26, seconds=1.5), -timedelta(microseconds=1), timedelta(0), None]),
            ["PT93601.5S", "-PT0.000001S", "PT0S", None],
        ),
        (pa.array([Decimal("1" * 40 + ".5"), None], pa.decimal256(60, 2)), ["1" * 40 + ".50", None]),
    ],
)
def test_what_delta_has_no_type_for_is_text_by_a_stated_rule(array, texts):
    assert lake_type(array.type) == pa.string()
    assert widened(array, pa.string()).to_pylist() == texts
