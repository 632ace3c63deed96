import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core import splice
from import_platform.core.splice import NONE, NOTHING, Replaced, spliced

SCHEMA = pa.schema([("k", pa.int64()), ("text", pa.string()), ("list", pa.list_(pa.int64()))])


def rows(values):
    values = list(values)
    return pa.table([values, [f"t{v}" for v in values], [[v] for v in values]], schema=SCHEMA)


def ordinals(values):
    return np.array(sorted(values), np.int64)


@given(
    count=st.integers(1, 40),
    batch_rows=st.integers(1, 15),
    gone=st.sets(st.integers(0, 39)),
    replaced=st.dictionaries(st.integers(0, 39), st.integers(0, 9)),
    run_bytes=st.sampled_from([0, 60, 1 << 20]),
)
def test_a_spliced_file_has_its_rows_in_order_but_for_the_gone_and_the_replaced(
    count, batch_rows, gone, replaced, run_bytes
):
    old, splice.RUN_BYTES = splice.RUN_BYTES, run_bytes
    replaced = {at: row for at, row in replaced.items() if at not in gone}
    put = Replaced(ordinals(replaced), np.array([replaced[at] for at in sorted(replaced)], np.int64))
    got = []
    try:
        for start in range(0, count, batch_rows):
            [batch] = rows(range(start, min(start + batch_rows, count))).combine_chunks().to_batches()
            for piece in spliced(batch, start, gone=ordinals(gone), replaced=put, source=rows(range(100, 110))):
                assert piece.num_rows
                got += piece.to_pylist()
    finally:
        splice.RUN_BYTES = old
    want = [100 + replaced[at] if at in replaced else at for at in range(count) if at not in gone]
    assert got == rows(want).to_pylist()


def test_an_untouched_batch_is_passed_on_as_it_is():
    [batch] = rows(range(5)).to_batches()
    assert list(spliced(batch, 10, gone=ordinals([1, 99]), replaced=NOTHING, source=None)) == [batch]
    assert NONE.size == 0
