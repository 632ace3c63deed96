"""Rows and tables that are wide, within a few pages of memory."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.sources.contract.world import (
    START,
    World,
    info_of,
    request,
    rows_of,
)


class Limits:
    many_columns = 1600
    """As many as PostgreSQL allows; less where the kind of database allows less."""
    rows_held = 8
    """So many rows at once at most, of 32; more where the database's own library, in this process, holds some too."""

    def test_a_row_over_the_limit_is_named_and_not_fetched(self, world: World) -> None:
        rows = [(n, b"x" * (4_000_000 if n in (3, 4, 8) else 10), START) for n in range(10)]
        world.make("t", (("id", "int"), ("body", "bytes"), ("at", "time")), rows, key=["id"])
        source = world.open()
        pages = list(source.read(request(info_of(source, "t"), row_bytes_max=3_000_000, page_bytes=1_000_000)))
        assert [row[0] for row in rows_of(pages)] == [0, 1, 2, 5, 6, 7, 9]
        rejected = [row for page in pages for row in page.rejected]
        assert [row.key for row in rejected] == [{"id": "3"}, {"id": "4"}, {"id": "8"}]
        assert {(row.column, row.row) for row in rejected} == {("body", None)}
        assert all("4.0 MB" in row.reason and "body 4000000 B" in row.reason for row in rejected)

    def test_a_table_of_a_thousand_columns_is_read(self, world: World) -> None:
        columns = [("id", "int"), *((f"c{n}", "int" if n % 2 else "text") for n in range(self.many_columns - 1))]
        row = [1, *(None if n % 3 else n if n % 2 else str(n) for n in range(self.many_columns - 1))]
        world.make("t", columns, [row, [2, *row[1:]]], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert rows_of(source.read(request(info, row_bytes_max=60 << 20, page_bytes=1 << 20))) == [
            tuple(row),
            (2, *row[1:]),
        ]

    def test_memory_stays_within_a_few_rows_and_pages(self, world: World) -> None:
        row, page = 8 << 20, 2 << 20
        world.make("t", (("id", "int"), ("body", "text")), [(n, "y" * row) for n in range(32)], key=["id"])
        script = (
            "import sys, json\n"
            "from pathlib import Path\n"
            "from import_platform.sources.registry import open_source\n"
            "from import_platform.sources.protocol import ReadRequest\n"
            "source = open_source('s', json.loads(sys.argv[1]))\n"
            "info = source.discover(['t'])[0]\n"
            "def peak_bytes():\n"
            "    lines = Path('/proc/self/status').read_text().splitlines()\n"
            "    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM:'))\n"
            "def read(primary_key, upto):\n"
            "    rows = 0\n"
            f"    sizes = dict(page_bytes={page}, row_bytes_max=64 << 20)\n"
            "    for page in source.read(ReadRequest(info, ('id', 'body'), primary_key, **sizes)):\n"
            "        rows += page.batch.num_rows\n"
            "        if rows >= upto: break\n"
            "    return rows\n"
            "read(('id',), 1)\n"
            "before = peak_bytes()\n"
            "assert read(('id',), 99) == 32 and read((), 99) == 32\n"
            "print(peak_bytes() - before)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(world.connection)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert int(done.stdout) < self.rows_held * row + 4 * page, done.stdout
