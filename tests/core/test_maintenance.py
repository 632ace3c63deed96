import polars as pl

from import_platform.core.maintenance import COMPACT_FILES, SMALL_FILE_BYTES, compactable


def files(**sizes: list[int]) -> pl.DataFrame:
    rows = [(f"{leaf}/{n}", leaf, size) for leaf, of_leaf in sizes.items() for n, size in enumerate(of_leaf)]
    return pl.DataFrame(rows, schema={"path": pl.String, "leaf": pl.String, "size_bytes": pl.Int64}, orient="row")


def test_a_leaf_with_many_small_files_is_compacted_and_its_large_ones_are_left_alone():
    found = compactable(files(a=[1] * COMPACT_FILES + [SMALL_FILE_BYTES], b=[1] * (COMPACT_FILES - 1)))
    assert found == {"a": [f"a/{n}" for n in range(COMPACT_FILES)]}


def test_large_files_are_never_compacted():
    assert compactable(files(a=[SMALL_FILE_BYTES] * 100)) == {}


def test_a_table_without_files_needs_nothing():
    assert compactable(files()) == {}
