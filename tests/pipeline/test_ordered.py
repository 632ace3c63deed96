import pyarrow as pa
import pytest

from import_platform.io.parquet import LeafWriter
from import_platform.io.store import Store
from import_platform.pipeline.ordered import ordered_batches

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.fixture
def written(tmp_path):
    """Writes files of keys, in row groups of about 100 rows, and gives store and paths."""
    store = Store(str(tmp_path))

    def write(*files):
        paths = []
        for keys in files:
            writer = LeafWriter(store, "t", "all", SCHEMA, statistics_first=("id",), row_group_bytes=2000)
            writer.write(pa.record_batch([pa.array(keys, pa.int64()), [f"t{key}" for key in keys]], schema=SCHEMA))
            paths += [f"t/{file.path}" for file in writer.close()]
        return store, paths

    return write


def ordered(store, paths, limit_bytes=1 << 20, primary_key=("id",)):
    batches = ordered_batches(store, paths, primary_key, schema=SCHEMA, limit_bytes=limit_bytes)
    return [row["id"] for batch in batches for row in batch.to_pylist()]


def test_sorted_files_that_overlap_come_out_as_one_sorted_run(written):
    assert ordered(*written(range(0, 2000, 2), range(1, 2000, 2))) == list(range(2000))


def test_row_groups_in_turn_are_sorted_within_little_memory(written):
    store, paths = written(range(5000), range(5000, 9000))
    assert ordered(store, paths, limit_bytes=10_000) == list(range(9000))


@pytest.mark.parametrize("limit_bytes", [1, 5_000, 1 << 20])
def test_rows_are_all_there_however_little_fits(written, limit_bytes):
    keys = [n * 7919 % 3001 for n in range(3001)]
    store, paths = written(keys[:1000], keys[1000:], [5, 5, 5])
    assert sorted(ordered(store, paths, limit_bytes)) == sorted([*keys, 5, 5, 5])


def test_null_keys_come_first_and_are_kept(written):
    store, paths = written([3, 1, None], [2, None])
    assert ordered(store, paths) == [None, None, 1, 2, 3]


def test_null_keys_are_kept_within_little_memory(written):
    store, paths = written([*range(500), None], [None, *range(500, 900)])
    found = ordered(store, paths, limit_bytes=3_000)
    assert sorted(found, key=lambda key: (key is not None, key or 0)) == [None, None, *range(900)]


def test_without_a_key_files_follow_one_another(written):
    store, paths = written([3, 1, 2], [0])
    assert ordered(store, paths, primary_key=()) == [3, 1, 2, 0]
