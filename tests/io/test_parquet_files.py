import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.errors import ConfigError
from import_platform.io.parquet_files import find
from import_platform.io.store import Store
from tests.s3_server import new_bucket, s3_server


def write(path, table, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return str(path)


def test_a_pattern_finds_files_by_name_at_any_depth(tmp_path):
    rows = pa.table({"a": [1]})
    first, second = write(tmp_path / "a" / "1.parquet", rows), write(tmp_path / "b.parquet", rows)
    (tmp_path / "notes.txt").write_text("no data")
    assert find(f"{tmp_path}/**/*.parquet").names == (first, second)
    assert find(str(tmp_path)).names == (first, second)
    assert find(second).names == (second,)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [("nothing/*.parquet", "no file matches"), ("gs://bucket/*.parquet", "neither on this machine nor on S3")],
)
def test_a_pattern_without_files_is_a_sentence(pattern, sentence):
    with pytest.raises(ConfigError, match=sentence):
        find(pattern)


def test_batches_have_every_row_in_order_with_its_position(tmp_path):
    path = write(tmp_path / "f.parquet", pa.table({"a": range(1000), "t": ["x" * 100] * 1000}), row_group_size=300)
    found = list(find(path).batches(path, limit_bytes=5000))
    assert [at for at, _ in found] == [sum(b.num_rows for _, b in found[:i]) for i in range(len(found))]
    assert pa.Table.from_batches([batch for _, batch in found])["a"].to_pylist() == list(range(1000))
    assert max(batch.nbytes for _, batch in found) < 12_000


def test_a_dictionary_does_not_hide_how_wide_rows_decode(tmp_path):
    path = write(tmp_path / "f.parquet", pa.table({"t": ["x" * 10_000] * 2000}))
    assert max(batch.nbytes for _, batch in find(path).batches(path, limit_bytes=1 << 20)) < 2 << 20


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1" + os.urandom(500) + b"PAR1"])
def test_what_is_no_parquet_file_is_a_sentence(tmp_path, content):
    path = tmp_path / "f.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        find(str(path)).schema(str(path))


def test_damage_in_the_middle_of_a_file_is_a_sentence(tmp_path):
    path = write(tmp_path / "f.parquet", pa.table({"a": range(100_000)}), compression="zstd", use_dictionary=False)
    with Path(path).open("r+b") as file:
        file.seek(4)
        file.write(os.urandom(4000))
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        list(find(path).batches(path, limit_bytes=1 << 20))


def test_files_on_s3_are_found_and_read(tmp_path):
    with s3_server() as environ:
        bucket = new_bucket(environ).removesuffix("/lake")
        path = f"{bucket}/data/2025/f.parquet"
        local = write(tmp_path / "f.parquet", pa.table({"a": [1, 2, 3]}))
        for pattern in (f"{bucket}/data/*/f*.parquet", f"{bucket}/data", path):
            with pytest.raises(ConfigError, match="no file matches"):
                find(pattern, env=environ)
        files = _put(local, path, environ)
        assert files.names == (path,)
        assert [batch.num_rows for _, batch in files.batches(path, limit_bytes=1000)] == [3]
        for pattern in (f"{bucket}/data", f"{bucket}/data/2025/*.parquet", bucket):
            assert find(pattern, env=environ).names == (path,)
        [(name, size, _)] = files.marks()
        assert (name, size) == (path, Path(local).stat().st_size)
        other = write(tmp_path / "g.parquet", pa.table({"a": list(range(1000))}))
        assert _put(other, path, environ).marks() != [(name, size, _)]


def _put(local, address, environ):
    bucket, _, path = address.removeprefix("s3://").partition("/")
    Store(f"s3://{bucket}", env=environ).put(path, Path(local).read_bytes())
    return find(address, env=environ)
