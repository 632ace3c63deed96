import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.diagnosis import WIDE_ROW_GROUP_BYTES, Findings, RowGroup, advice, overlaps
from import_platform.core.maintenance import COMPACT_FILES

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


def test_a_healthy_table_gets_no_advice():
    assert advice(findings(files([(0, 9), (10, 19)], size_bytes=GB // 2))) == []


def test_advice_comes_in_the_order_of_effect_and_names_the_command():
    mixed = pl.concat([files([(0, 99)] * 3), files([(0, 99)] * COMPACT_FILES, leaf="2026", size_bytes=1000)])
    wide = RowGroup("f0", 10, WIDE_ROW_GROUP_BYTES + 1)
    said = advice(findings(mixed, row_groups=[wide]))
    starts = [
        "1 of 2 leaves are over 2.0 GB",
        "a row group of",
        f"{COMPACT_FILES} small files in 1 leaves",
        "bounds of id",
    ]
    assert [text[: len(start)] for text, start in zip(said, starts, strict=True)] == starts
    assert "import-platform repartition s/t" in said[0]
    assert "import-platform maintain s/t" in said[2]
    assert not any("stable" in text for text in advice(findings(mixed, is_stable=True)))
