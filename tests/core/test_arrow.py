"""Arrow values without pandas, and batches joined."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.arrow import arrow_scalar, joined, numpy_mask

ROW_BYTES = 8


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 80))
def test_joined_batches_have_the_same_rows_in_order_and_no_more_than_their_limit(sizes, limit_bytes):
    numbers = iter(range(sum(sizes)))
    batches = [pa.record_batch({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    found = list(joined(batches, limit_bytes=limit_bytes))
    assert [n for batch in found for n in batch.column("n").to_pylist()] == list(range(sum(sizes)))
    widest = max((size * ROW_BYTES for size in sizes), default=0)
    assert all(batch.nbytes <= max(limit_bytes, widest) for batch in found)
    assert all(one.nbytes + next_.nbytes > limit_bytes for one, next_ in pairwise(found))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (7, pa.int32()),
        ("x", pa.string()),
        (date(2025, 1, 2), pa.date32()),
        (datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=UTC), pa.timestamp("us", "UTC")),
        (datetime(2025, 1, 2, 3, 4, 5, 6), pa.timestamp("us")),
        (Decimal("1.50"), pa.decimal128(20, 2)),
    ],
)
def test_a_scalar_is_what_arrow_makes_of_it(value, dtype):
    assert arrow_scalar(value, dtype) == pa.scalar(value, dtype)


def test_a_mask_counts_null_as_false():
    assert numpy_mask(pa.array([True, None, False])).tolist() == [True, False, False]
