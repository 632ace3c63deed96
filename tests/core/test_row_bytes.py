import numpy as np
import pyarrow as pa
import pytest

from import_platform.core.row_bytes import row_bytes


@pytest.mark.parametrize(
    ("column", "want"),
    [
        (pa.array([1, None, 3], pa.int64()), [8, 8, 8]),
        (pa.array([True, None, False]), [1, 1, 1]),
        (pa.array(["abc", None, ""]), [7, 4, 4]),
        (pa.array([b"x" * 100, b"", None], pa.large_binary()), [104, 4, 4]),
        (pa.array(["ab", "c", None], pa.string_view()), [10, 9, 8]),
        (pa.array(["ab", "abcdef", None]).dictionary_encode(), [6, 10, 0]),
        (pa.array([[1, 2], [], None], pa.list_(pa.int32())), [12, 4, 4]),
        (pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())), [4 + 5 + 8, 4, 4]),
        (pa.array([{"q": "xyz"}, {"q": None}, {"q": ""}]), [7, 4, 4]),
    ],
)
def test_a_row_counts_its_values_and_offsets(column, want):
    assert row_bytes(pa.record_batch([column], names=["c"])).tolist() == want


def test_rows_together_are_about_what_arrow_says():
    text = pa.array([f"value {i}" * (i % 7) for i in range(1000)])
    batch = pa.record_batch({"n": pa.array(np.arange(1000)), "t": text})
    assert row_bytes(batch).sum() == pytest.approx(batch.nbytes, rel=0.01)


def test_a_slice_counts_its_own_rows():
    lists = pa.array([[1], [1, 2, 3], [4, 5]], pa.list_(pa.int64()))
    batch = pa.record_batch([lists, pa.array(["a", "bb", "ccc"])], names=["l", "t"]).slice(1, 2)
    assert row_bytes(batch).tolist() == [4 + 24 + 4 + 2, 4 + 16 + 4 + 3]
