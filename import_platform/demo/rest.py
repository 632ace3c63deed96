"""The demo with an API: a local server that behaves like Stripe, a sync killed half-way, changes, and a comparison.

Everything lies in `.import_platform/demo-rest/`, which each run begins anew. The server is the one of the tests, so
this demo runs in a checkout only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from rich.console import Console

from import_platform.demo.place import demo_place
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.io.query import LakeSql
from import_platform.resources.project import project_root

KEY = "sk_test_s3cr3t-token"
SUMS = {"customers": "balance", "invoices": "amount_due", "invoice_line_items": "amount"}
_QUERY_BYTES = 256 << 20
_DEFS_YAML = """\
# Written by `import-platform demo --rest`. base_url is a local server; without it this is Stripe itself.
type: import_platform.components.ExternalSource
attributes:
  name: pay
  connection:
    {kind: stripe, api_key: "{{ env.PAY_KEY }}", base_url: "{{ env.PAY_URL }}",
     tables: [customers, invoices, invoice_line_items]}
"""


@dataclass(frozen=True)
class _Demo:
    """`environ` is that of every command; `url` the server's."""

    console: Console
    environ: Mapping[str, str]
    url: str

    def facts(self) -> Any:
        with urlopen(f"{self.url}/_facts", timeout=30) as answer:  # noqa: S310  our own server on 127.0.0.1
            return json.load(answer)

    def change(self) -> None:
        urlopen(Request(f"{self.url}/_change", method="POST"), timeout=30).close()  # noqa: S310  our own server

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "import_platform.cli", "sync", "pay", "--json"]
        return subprocess.Popen(
            command, env=dict(self.environ), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def sync(self) -> bool:
        """Syncs and prints a line per table; True when all came through."""
        out, _ = self.start().communicate()
        lines = [json.loads(line) for line in out.splitlines()]
        for line in lines:
            told = f"{line['rows_inserted']:,} new, {line['rows_updated']:,} changed, {line['rows_deleted']:,} gone"
            resumed = ", went on after the kill" if line["resumed"] else ""
            self.console.print(f"  {line['table']}: {line['status']}, {told} in {line['seconds']:.1f} s{resumed}")
        return bool(lines) and all(line["status"] in ("done", "unchanged") for line in lines)


def run_rest_demo(console: Console, *, base: Path | None = None) -> int:
    """In `base`, else in the project's `.import_platform`. 0 when every table equals the API after each step, else 1.

    Raises:
        ConfigError: this is no checkout, so there is no server to ask.
    """
    root = project_root(Path.cwd())
    if root is None or not (root / "tests" / "sources" / "rest" / "fake_stripe.py").is_file():
        raise ConfigError("the API of this demo is in a checkout only", remedy="Run it there, or without --rest.")
    folder = (base or demo_place().base) / "demo-rest"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "defs" / "pay").mkdir(parents=True)
    (folder / "defs" / "pay" / "defs.yaml").write_text(_DEFS_YAML, "utf-8")
    with _served(root) as url:
        environ = {
            **os.environ,
            "PAY_KEY": KEY,
            "PAY_URL": url,
            "IMPORT_PLATFORM_DEFS": str(folder / "defs"),
            "IMPORT_PLATFORM_LAKE": str(folder / "lake"),
            "DAGSTER_HOME": str(folder / "dagster"),
        }
        return 0 if _run(_Demo(console, environ, url), folder) else 1


def _run(demo: _Demo, folder: Path) -> bool:
    demo.console.print(
        f"[bold]import_platform demo --rest[/]: a server at {demo.url} that behaves like Stripe: customers, invoices, "
        "and the line items of each invoice, 100 rows a page"
    )
    demo.console.print("1. a first sync, killed (kill -9) half-way through its requests")
    child = demo.start()
    while child.poll() is None and demo.facts()["asked"] < 700:
        time.sleep(0.05)
    child.kill()
    child.communicate()
    until_kill = demo.facts()["asked"]
    demo.console.print(f"2. the same again: {until_kill:,} requests were made until the kill")
    passed = demo.sync()
    demo.console.print(f"  {demo.facts()['asked'] - until_kill:,} requests more: what is stored is not asked for again")
    passed = _same(demo, folder) and passed
    demo.console.print("3. invoices lose and get line items, customers change, one is deleted; then a sync")
    demo.change()
    before = demo.facts()["asked"]
    passed = demo.sync() and _same(demo, folder) and passed
    demo.console.print(
        f"  {demo.facts()['asked'] - before:,} requests: events, and line items of changed invoices only"
    )
    demo.console.print(f"The source's whole declaration: {folder / 'defs' / 'pay' / 'defs.yaml'}", soft_wrap=True)
    demo.console.print(f"The lake: {folder / 'lake'}; to ask it, from this folder:", soft_wrap=True)
    ask = "SELECT count(*), sum(amount_due) FROM pay.invoices"
    demo.console.print(f'  IMPORT_PLATFORM_LAKE={folder / "lake"} import-platform query "{ask}"', soft_wrap=True)
    return passed


def _same(demo: _Demo, folder: Path) -> bool:
    """Compares count and sum of every table with what the API holds."""
    facts, same = demo.facts(), True
    store = Lake(str(folder / "lake")).store
    for table, column in SUMS.items():
        with LakeSql(store, memory_bytes=_QUERY_BYTES, threads=2, scratch=folder / "scratch") as sql:
            answer = sql.run(f"SELECT count(*), sum({column}) FROM pay.{table}")
            found = [int(value) for value in next(iter(answer.rows))]
        same = same and found == facts[table]
        mark = "[green]equal[/]" if found == facts[table] else "[red]different[/]"
        demo.console.print(f"  pay.{table}: {found[0]:,} rows, sum of {column} {found[1]:,}: {mark}")
    return same


@contextmanager
def _served(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.sources.rest.fake_stripe"]
    server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.wait()
