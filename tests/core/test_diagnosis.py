import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.diagnosis import (
    DELTA_RS_BASE_BYTES,
    DELTA_RS_FACTOR,
    Findings,
    RowGroup,
    ordered_share,
    overlaps,
    prunable_share,
)

GB = 10**9


def files(bounds, *, leaf="2025", size_bytes=GB):
    return pl.DataFrame({
        "path": [f"f{i}" for i in range(len(bounds))],
        "leaf": [leaf] * len(bounds),
        "size_bytes": [size_bytes] * len(bounds),
        "rows": [10] * len(bounds),
        "min.id": pl.Series([low for low, _ in bounds], dtype=pl.Int64),
        "max.id": pl.Series([high for _, high in bounds], dtype=pl.Int64),
    })  # fmt: skip


def findings(frame, **changed):
    facts = {
        "table": "s/t",
        "first_key": "id",
        "is_stable": False,
        "files": frame,
        "row_groups": [],
        "filtered_paths": frozenset(),
        "limit_bytes": 2 * GB,
    }
    return Findings(**(facts | changed))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), max_size=8))
def test_overlaps_counts_the_other_files_whose_bounds_meet_those_of_a_file(bounds):
    want = [
        sum(low <= other_high and other_low <= high for j, (other_low, other_high) in enumerate(bounds) if j != i)
        for i, (low, high) in enumerate(bounds)
    ]
    assert overlaps(files(bounds), "id").tolist() == want


def test_files_without_bounds_have_no_overlaps():
    assert overlaps(files([(1, 2), (None, None)]), "id") is None
    assert overlaps(files([(1, 2)]), "other") is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), min_size=1, max_size=8))
def test_what_bounds_rule_out_is_the_bytes_of_files_they_do_not_meet(bounds):
    frame = files(bounds).with_columns(pl.Series("size_bytes", [100 * (i + 1) for i in range(len(bounds))]))
    sizes = frame["size_bytes"].to_list()
    met = [
        sum(size for (low, high), size in zip(bounds, sizes, strict=True) if low <= own_high and own_low <= high)
        for own_low, own_high in bounds
    ]
    assert prunable_share(frame, "id") == pytest.approx(1 - sum(met) / len(met) / sum(sizes))


def test_files_of_their_own_ranges_are_ruled_out_and_files_of_one_range_are_not():
    assert prunable_share(files([(i * 10, i * 10 + 9) for i in range(10)]), "id") == pytest.approx(0.9)
    assert prunable_share(files([(0, 99)] * 10), "id") == pytest.approx(0.0)
    assert prunable_share(files([(1, 2), (None, None)]), "id") is None


def test_a_file_is_in_key_order_when_its_row_groups_do_not_overlap():
    ordered = [RowGroup("a", 1, 1, 0, 5), RowGroup("a", 1, 1, 5, 9)]
    mixed = [RowGroup("b", 1, 1, 0, 9), RowGroup("b", 1, 1, 5, 6)]
    untold = [RowGroup("c", 1, 1)]
    assert ordered_share([*ordered, *mixed, *untold]) == 0.5
    assert ordered_share(untold) is None


def test_the_decoded_size_of_files_whose_footer_was_not_read_is_told_from_the_others():
    frame = files([(0, 1), (2, 3)])
    assert findings(frame, row_groups=[RowGroup("f0", 5, 3 * GB), RowGroup("f0", 5, GB)]).decoded_bytes == 8 * GB
    assert findings(frame).decoded_bytes == 0


def test_delta_rs_needs_what_was_measured_of_the_files_it_scans():
    frame = pl.concat([files([(0, 1)] * 3), files([(2, 3)], leaf="2026")])
    found = findings(frame, row_groups=[RowGroup("f0", 5, 2 * GB)])
    assert found.largest_leaf == ("2025", 3 * GB)
    assert found.delta_rs_table_bytes == DELTA_RS_BASE_BYTES + int(DELTA_RS_FACTOR * found.decoded_bytes)
    assert found.delta_rs_leaf_bytes == DELTA_RS_BASE_BYTES + int(DELTA_RS_FACTOR * int(found.decoded_bytes * 0.75))
