import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.ordering import Place
from import_platform.errors import ConfigError
from import_platform.io.parquet_files import find
from import_platform.pipeline.check_order import check_order

BUDGET = MemoryBudget(320 * MIB, 180 * MIB)


def check(tmp_path, *tables, columns=("a", "b"), **options):
    for number, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{number}.parquet", **options)
    return check_order(find(str(tmp_path)), columns, budget=BUDGET)


def test_the_first_violation_is_named_by_file_and_row(tmp_path):
    good = pa.table({"a": [1, 1, 2], "b": [1, 2, 0]})
    bad = pa.table({"a": [2, 2, 3, 3], "b": [0, 3, 5, 4]})
    found = check(tmp_path, good, bad, row_group_size=2).ordering
    assert (found.violations, found.between_files) == (1, 0)
    assert found.first == Place(str(tmp_path / "1.parquet"), 3)
    assert (found.changes, found.rows, found.files) == (2, 7, 2)


def test_files_of_many_kinds_of_columns_are_read(tmp_path):
    table = pa.table({
        "a": pa.array(["x", "y"]).dictionary_encode(),
        "b": pa.array([1, 2], pa.uint64()),
        "list": [[1], None],
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "nested": [{"q": [1]}, None],
        "length": pa.array([1, 2], pa.duration("s")),
        "nothing": pa.nulls(2),
    })  # fmt: skip
    assert check(tmp_path, table).ordering.is_sorted


def test_a_file_much_larger_than_the_budget_is_checked_inside_it(tmp_path):
    table = pa.table({"a": range(30_000), "text": [f"{i:010}" * 1000 for i in range(30_000)]})
    assert table.nbytes > 280 * MIB
    pq.write_table(table, tmp_path / "0.parquet", use_dictionary=False)
    del table
    held = []
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()

    found = check_order(
        find(str(tmp_path)), ["a"], budget=BUDGET, on_rows=lambda rows: held.append(pool.bytes_allocated() - before)
    )

    assert found.largest_row_group_bytes > 280 * MIB, "one row group, which nobody may hold whole"
    assert found.ordering.rows == 30_000
    assert max(held) < 64 * MIB


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (["a", "c"], "no such column"),
        (["list"], "values have no order"),
        (["a"], "a column has two types"),
    ],
)
def test_columns_that_cannot_be_ordered_by_are_sentences(tmp_path, columns, sentence):
    first = pa.table({"a": [1], "list": [[1]]})
    second = pa.table({"a": ["x"], "list": [[1]]})
    with pytest.raises(ConfigError, match=sentence):
        check(tmp_path, first, second, columns=columns)
