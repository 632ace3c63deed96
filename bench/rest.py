"""An API of a million rows, 100 a page, against a bare HTTP client; and children of ten thousand parents.

    python -m bench.rest [--rows 1000000] [--latency 0.005] [--parents 10000]

Every figure is a ratio within one run: the bare client fetches the same pages from the same server just before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[1]
PER_PAGE = 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--latency", type=float, default=0.005)
    parser.add_argument("--parents", type=int, default=10_000)
    parser.add_argument("--memory", default="512MiB")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.rows:
            pages(asked.rows, asked.latency, folder, asked.memory)
        if asked.parents:
            children(asked.parents, folder, asked.memory)


def served(rows: int, style: str, latency: float) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "tests.sources.rest.api_server", str(rows), style, str(latency)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, f"http://127.0.0.1:{server.stdout.readline().strip()}"


def pages(rows: int, latency: float, folder: str, memory: str) -> None:
    server, url = served(rows, "offset", latency)
    try:
        bare(url, rows)  # the server makes its pages once
        bare_seconds = bare(url, rows)
        connection = {
            "kind": "rest",
            "client": {"base_url": url},
            "resources": [
                {
                    "name": "invoices",
                    "primary_key": "id",
                    "endpoint": {
                        "path": "invoices",
                        "data_selector": "data",
                        "paginator": {"type": "offset", "limit": PER_PAGE, "total_path": "total"},
                    },
                }
            ],
        }
        whole = sync(connection, "invoices", f"{folder}/whole", memory)
        tell("bare client", seconds=bare_seconds, ms_per_page=1000 * bare_seconds * PER_PAGE / rows)
        tell("sync", **whole, ratio=whole["wall_seconds"] / bare_seconds)
        before = asked_so_far(url)
        sync(connection, "invoices", f"{folder}/killed", memory, kill_after=whole["wall_seconds"] / 2)
        second = sync(connection, "invoices", f"{folder}/killed", memory)
        repeated = asked_so_far(url) - before - rows // PER_PAGE
        tell(
            "killed at half",
            staged_rows=rows - second["rows_read"],
            seconds_after=second["wall_seconds"],
            repeated_pages=repeated,
            repeated_seconds=repeated * bare_seconds * PER_PAGE / rows,
        )
    finally:
        server.kill()
        server.wait()


def asked_so_far(url: str) -> int:
    return int(requests.get(f"{url}/_asked").json()["asked"])


def bare(url: str, rows: int) -> float:
    started = time.perf_counter()
    session = requests.Session()
    for offset in range(0, rows, PER_PAGE):
        session.get(f"{url}/invoices", params={"offset": offset, "limit": PER_PAGE}).json()
    return time.perf_counter() - started


def bare_children(url: str, parents: int, parallel: int) -> float:
    """The same requests from as many threads, each with a session of its own and nothing else to do."""

    def some(first: int) -> None:
        session = requests.Session()
        for n in range(first, parents, parallel):
            session.get(f"{url}/invoices/{n}/lines").json()

    started = time.perf_counter()
    with ThreadPoolExecutor(parallel) as threads:
        list(threads.map(some, range(parallel)))
    return time.perf_counter() - started


def children(parents: int, folder: str, memory: str, *, latency: float = 0.02, parallel: int = 8) -> None:
    server, url = served(parents, "children", latency)
    try:
        paginator: dict[str, Any] = {"type": "offset", "limit": PER_PAGE, "total_path": "total"}
        defaults = {"primary_key": "id", "endpoint": {"data_selector": "data", "paginator": paginator}}
        lines = {"path": "invoices/{resources.invoices.id}/lines", "paginator": "single_page"}
        connection = {
            "kind": "rest",
            "client": {"base_url": url, "parallel": parallel},
            "resource_defaults": defaults,
            "resources": [{"name": "invoices", "endpoint": "invoices"}, {"name": "lines", "endpoint": lines}],
        }
        bare_seconds = bare_children(url, parents, parallel)
        sync(connection, "invoices", f"{folder}/children", memory)
        found = sync(connection, "lines", f"{folder}/children", memory)
        ideal = parents * latency / parallel
        to_bare = found["wall_seconds"] / bare_seconds
        tell("children", **found, ideal_seconds=ideal, ratio=found["wall_seconds"] / ideal, ratio_to_bare=to_bare)
    finally:
        server.kill()
        server.wait()


def sync(connection: Any, table: str, lake: str, memory: str, *, kill_after: float | None = None) -> dict[str, Any]:
    """One sync in a process of its own. `wall_seconds` is the sync's own; a killed one tells what it took until then."""
    Path(lake).mkdir(parents=True, exist_ok=True)
    options = json.dumps({"connection": connection, "table": table, "lake": lake, "memory": memory})
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.rest_child", options], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert child.stdout is not None
    began = time.perf_counter()
    child.stdout.readline()  # imports are done, the sync begins
    start_seconds = time.perf_counter() - began
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
        child.wait()
        return {"wall_seconds": time.perf_counter() - began, "start_seconds": start_seconds}
    report = json.loads(child.stdout.readline())
    child.wait()
    return {
        "wall_seconds": report["seconds"],
        "rows_read": report["rows_read"],
        "peak_mib": report["peak_memory_bytes"] / 2**20,
        "start_seconds": start_seconds,
    }


def tell(what: str, **figures: float) -> None:
    sys.stdout.write(json.dumps({"what": what, **{name: round(value, 3) for name, value in figures.items()}}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
