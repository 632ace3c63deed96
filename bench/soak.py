"""Many tables on minutely schedules beside the real daemon and webserver, for minutes: what is missed, grows or leaks.

`make soak` takes 300 tables of 3 sources and ten minutes; `python -m bench.soak --tables 30 --minutes 2` is a quick look, and
`--ceph` puts the lake into an object store.
Everything stands in a temporary folder. Prints one JSON object and exits 1 when a promise is not kept:
no tick missing or late by more than two minutes, the daemon and the webserver no more than 15 % larger at the end than
after their warm-up, no run or pool slot left over once the schedules are stopped, and in the lake every row once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from bench.ceph import ceph
from import_platform.io.lake import Lake

BUCKET = "soak"
LATE_SECONDS, GROWTH = 120.0, 0.15
WARM_UP, WINDOW = 0.3, 0.2
"""Shares of the time: before anything is compared, and at each end of what is."""

SAMPLE_SECONDS, CHANGE_SECONDS, LOOK_SECONDS = 5.0, 15.0, 20.0
START_SECONDS, DRAIN_SECONDS = 300.0, 300.0
ROLES = {"webserver": "dagster_webserver", "daemon": "dagster._daemon", "code server": "dagster._grpc"}
ALSO = {"webserver": "dagster-webserver", "daemon": "dagster-daemon", "code server": "api grpc"}
SCHEDULES = """query { repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name scheduleState {
    id status ticks(limit: 5000) { timestamp endTimestamp status error { message } } } } } } } }"""
LOOK = "query { assetsOrError { ... on AssetConnection { nodes { id } } } runsOrError(limit: 25) { __typename } }"
STOP = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
SOURCE = """\
type: import_platform.components.ExternalSource
attributes:
  name: {name}
  connection: {{kind: sqlite, path: "{path}"}}
  schedule: "* * * * *"
  tables:
"""
TABLE = "    - {{name: {name}, sync: incremental, cursor: updated_at, primary_key: [id], partition: none}}\n"


@dataclass
class Soak:
    """One temporary project with its server."""

    root: Path
    sources: list[str]
    tables: int
    aws: dict[str, str] = field(default_factory=dict)
    url: str = ""
    sizes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    @property
    def lake(self) -> str:
        return f"s3://{BUCKET}/lake" if self.aws else str(self.root / "lake")

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.aws,
            "IMPORT_PLATFORM_LAKE": self.lake,
            "IMPORT_PLATFORM_DEFS": str(self.root / "defs"),
            "IMPORT_PLATFORM_MEMORY": "1GiB",
            "DAGSTER_HOME": str(self.root / "home"),
        }

    def database(self, source: str) -> Path:
        return self.root / f"{source}.db"

    def names(self, source: str) -> list[str]:
        at = self.sources.index(source)
        return [f"t{number:03}" for number in range(self.tables) if number % len(self.sources) == at]

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]


def prepare(soak: Soak) -> None:
    for source in soak.sources:
        with closing(sqlite3.connect(soak.database(source))) as connection, connection:
            for name in soak.names(source):
                connection.execute(f"create table {name} (id integer primary key, updated_at timestamp, note text)")
                rows = [(i, "2025-01-01 00:00:00", f"note {i}") for i in range(100)]
                connection.executemany(f"insert into {name} values (?, ?, ?)", rows)
        folder = soak.root / "defs" / source
        folder.mkdir(parents=True)
        tables = "".join(TABLE.format(name=name) for name in soak.names(source))
        (folder / "defs.yaml").write_text(SOURCE.format(name=source, path=soak.database(source)) + tables)


def change(soak: Soak, turn: int) -> None:
    """A tenth of the tables gets a new row, so that syncs find something."""
    for source in soak.sources:
        with closing(sqlite3.connect(soak.database(source), timeout=30)) as connection, connection:
            for name in soak.names(source)[turn % 10 :: 10]:
                connection.execute(f"insert into {name} values (?, datetime('now'), 'new')", (1000 + turn,))


@contextmanager
def serving(soak: Soak) -> Iterator[psutil.Process]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    soak.url = f"http://127.0.0.1:{port}"
    log = (soak.root / "ui.log").open("wb")
    command = [sys.executable, "-m", "import_platform.cli", "ui", "--port", str(port)]
    server = subprocess.Popen(command, env=soak.environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(soak, server)
        yield psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(90)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _await(soak: Soak, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            soak.ask("query { version }")
            return
        time.sleep(1)
    raise RuntimeError(f"the server does not answer: {(soak.root / 'ui.log').read_text()[-2000:]}")


def measure(soak: Soak, server: psutil.Process) -> None:
    """Adds the resident size of each role, the sum where there are several processes of one."""
    now, held = time.monotonic(), dict.fromkeys(ROLES, 0)
    for process in server.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            words = " ".join(process.cmdline())
            role = next((role for role in ROLES if ROLES[role] in words or ALSO[role] in words), None)
            if role is not None:
                held[role] += process.memory_info().rss
    for role, size in held.items():
        soak.sizes.setdefault(role, []).append((now, size))


def watch(soak: Soak, server: psutil.Process, seconds: float) -> None:
    begun = time.monotonic()
    next_change = next_look = begun
    turn = 0
    while (now := time.monotonic()) < begun + seconds:
        measure(soak, server)
        if now >= next_change:
            change(soak, turn)
            turn, next_change = turn + 1, now + CHANGE_SECONDS
        if now >= next_look:
            soak.ask(LOOK)
            next_look = now + LOOK_SECONDS
        time.sleep(SAMPLE_SECONDS)


def ticks(soak: Soak) -> dict[str, list[dict[str, Any]]]:
    """Of the minutely schedules, in order of the times they were for."""
    nodes = soak.ask(SCHEDULES)["repositoriesOrError"]["nodes"]
    schedules = [each for node in nodes for each in node["schedules"]]
    wanted = {f"sync_{source}" for source in soak.sources}
    found = {each["name"]: each["scheduleState"]["ticks"] for each in schedules if each["name"] in wanted}
    return {name: sorted(told, key=lambda tick: tick["timestamp"]) for name, told in found.items()}


def stop_schedules(soak: Soak) -> None:
    for node in soak.ask(SCHEDULES)["repositoriesOrError"]["nodes"]:
        for each in node["schedules"]:
            soak.ask(STOP, id=each["scheduleState"]["id"])


def left_over(soak: Soak) -> dict[str, int]:
    """Runs without an end and slots without a run, once nothing new was started for a while."""
    os.environ |= {name: soak.environment[name] for name in ("DAGSTER_HOME",)}
    import dagster as dg

    from import_platform.jobs.due import ACTIVE

    with dg.DagsterInstance.get() as instance:
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            active = len(instance.get_runs(dg.RunsFilter(statuses=ACTIVE)))
            store = instance.event_log_storage
            found = [store.get_concurrency_info(key) for key in store.get_concurrency_keys()]
            slots = sum(info.active_slot_count for info in found)
            if (not active and not slots) or time.monotonic() > deadline:
                return {"runs": active, "slots": slots, "runs_in_all": instance.get_runs_count()}
            time.sleep(5)


def judged(
    soak: Soak, told: dict[str, list[dict[str, Any]]], *, until: float, seconds: float, left: dict[str, int]
) -> dict[str, Any]:
    growth = {role: grown(samples, seconds) for role, samples in soak.sizes.items()}
    gaps = {name: max(_gaps(each, until), default=float("inf")) for name, each in told.items()}
    late = [tick["endTimestamp"] - tick["timestamp"] for each in told.values() for tick in each if tick["endTimestamp"]]
    states: dict[str, int] = {}
    for tick in (tick for each in told.values() for tick in each):
        states[tick["status"]] = states.get(tick["status"], 0) + 1
    kept = {
        "no tick missed": len(gaps) == len(soak.sources) and max(gaps.values()) <= LATE_SECONDS,
        "no tick late": bool(late) and max(late) <= LATE_SECONDS,
        "daemon does not grow": growth["daemon"]["share"] <= GROWTH,
        "webserver does not grow": growth["webserver"]["share"] <= GROWTH,
        "nothing left over": not left["runs"] and not left["slots"],
        "no tick failed": not states.get("FAILURE"),
    }
    return {
        "tables": soak.tables, "sources": len(soak.sources), "minutes": round(seconds / 60, 1),
        "ticks": states, "longest_gap_seconds": max(gaps.values(), default=None),
        "latest_tick_seconds": round(max(late), 1) if late else None,
        "growth": growth, "left_over": left, "kept": kept,
    }  # fmt: skip


def _gaps(each: list[dict[str, Any]], until: float) -> Iterator[float]:
    """From tick to tick, and from the last one until nobody waited for another."""
    times = [tick["timestamp"] for tick in each]
    yield from (later - earlier for earlier, later in pairwise(times))
    if times:
        yield until - times[-1]


def grown(samples: list[tuple[float, int]], seconds: float) -> dict[str, Any]:
    """Medians of the sizes after the warm-up and at the end."""
    begun = samples[0][0]
    warm = [size for at, size in samples if WARM_UP <= (at - begun) / seconds <= WARM_UP + WINDOW]
    last = [size for at, size in samples if (at - begun) / seconds >= 1 - WINDOW]
    before, after = statistics.median(warm), statistics.median(last)
    return {"before_bytes": before, "after_bytes": after, "share": round(after / max(before, 1) - 1, 3)}


def wrong_tables(soak: Soak) -> list[str]:
    """Tables with a row twice, or without one of their first hundred, or with one that was never there."""
    wrong = []
    store = Lake(soak.lake, env=soak.environment).store
    for source in soak.sources:
        with closing(sqlite3.connect(soak.database(source))) as connection:
            for name in soak.names(source):
                uri, options = f"{store.uri}/{source}/{name}", store.storage_options
                found = pl.scan_delta(uri, storage_options=options).select("id").collect()["id"].to_list()
                there = {row[0] for row in connection.execute(f"select id from {name}")}
                if len(found) != len(set(found)) or not set(range(100)) <= set(found) <= there:
                    wrong.append(f"{source}/{name}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=300)
    parser.add_argument("--sources", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--ceph", action="store_true", help="the lake in a Ceph of its own (bench/ceph.py)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="import_platform-soak-") as folder, contextlib.ExitStack() as stack:
        aws = stack.enter_context(ceph([BUCKET])) if asked.ceph else {}
        soak = Soak(Path(folder), [f"s{number}" for number in range(asked.sources)], asked.tables, aws)
        prepare(soak)
        seconds = asked.minutes * 60
        with serving(soak) as server:
            watch(soak, server, seconds)
            told, until = ticks(soak), time.time()
            stop_schedules(soak)
            found = judged(soak, told, until=until, seconds=seconds, left=left_over(soak))
        found["kept"]["every row once"] = not (wrong := wrong_tables(soak))
        found["wrong_tables"] = wrong
    print(json.dumps(found, indent=1))
    return 0 if all(found["kept"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
