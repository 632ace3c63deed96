"""Everything a project wrote, as bytes to look for a secret in: databases, their compressed columns, Parquet, logs."""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq


def found_in(root: Path, secrets: list[str]) -> list[str]:
    """`file: secret` for every secret that stands in a file below `root`, in clear, in base64 or quoted for a URL."""
    spelled = {form: secret for secret in secrets for form in _spellings(secret)}
    return sorted(
        {
            f"{path.relative_to(root)}: {secret}"
            for path in root.rglob("*")
            if path.is_file()
            for content in contents(path)
            for form, secret in spelled.items()
            if form in content
        }
    )


def contents(path: Path) -> Iterator[bytes]:
    """The file, and what is inside it where it is compressed or spread over pages."""
    raw = path.read_bytes()
    yield raw
    if raw.startswith(b"SQLite format 3"):
        yield from _database(path)
    elif raw.startswith(b"PAR1"):
        yield str(pq.read_table(path).to_pylist()).encode()
    elif raw.startswith(b"ARROW1"):
        yield str(pa.ipc.open_file(path).read_all().to_pylist()).encode()


def _database(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'select * from "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                        with suppress(zlib.error):
                            yield zlib.decompress(value)  # Dagster's snapshots of jobs
                    elif isinstance(value, str):
                        yield value.encode()


def _spellings(secret: str) -> list[bytes]:
    whole = secret.encode()
    inside = base64.b64encode(b"xx" + whole)[4:-4], base64.b64encode(b"x" + whole)[4:-4], base64.b64encode(whole)[:-4]
    return [whole, quote(secret, safe="").encode(), *inside]
