"""Processes that sync, started by `tests.faults.server`, and what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather

from import_platform.core.table import SyncMode
from import_platform.io.lake import Lake
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable
from tests.s3_server import environment

ROOT = Path(__file__).parents[2]


class Processes:
    """The server that forks them. `wait` answers a process's exit status, negative for the signal that ended it."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=ROOT,
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._ended: dict[int, int] = {}

    def start(self, request: dict[str, Any]) -> int:
        self._ask(request)
        while (pid := self._listen()) is None:
            pass
        return pid

    def wait(self, pid: int) -> int:
        while pid not in self._ended:
            self._listen()
        return self._ended[pid]

    def kill(self, pid: int) -> None:
        """Returns when it has ended, which it may have before."""
        if pid not in self._ended:
            self._ask({"kill": pid})
            self.wait(pid)

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()

    def _listen(self) -> int | None:
        assert self._server.stdout is not None
        word, pid, *status = self._server.stdout.readline().split()
        if word == "started":
            self._ended.pop(int(pid), None)  # the number of one that is long gone
            return int(pid)
        self._ended[int(pid)] = int(status[0])
        return None


@dataclass
class World:
    """A lake, a source as a file, and the processes that work on them."""

    processes: Processes
    folder: Path
    lake_uri: str
    environ: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def put(self, rows: pa.Table) -> None:
        feather.write_feather(rows, self.folder / "rows.arrow", compression="uncompressed")

    @property
    def rows(self) -> pa.Table:
        return feather.read_table(self.folder / "rows.arrow", memory_map=False)

    def start(self, **options: Any) -> Running:
        said = {"rows": str(self.folder / "rows.arrow"), "lake": self.lake_uri} | self.options | options
        out = self.folder / f"out-{time.monotonic_ns()}"
        pid = self.processes.start({"out": str(out), "environ": environment(self.environ), "options": said})
        return Running(self.processes, pid, out)

    def run(self, **options: Any) -> dict[str, Any] | int:
        """What the process reported, or by which signal it died."""
        return self.start(**options).finished()

    def start_held(self, step: str, nth: int = 1) -> Held:
        """A process that has got to the step for the nth time, and goes no further until it is let go."""
        held, go = (self.folder / f"{word}-{time.monotonic_ns()}" for word in ("held", "go"))
        running = self.start(step=step, nth=nth, held=str(held), go=str(go))
        deadline = time.monotonic() + 120
        while not held.exists():
            assert time.monotonic() < deadline, running.said()
            time.sleep(0.005)
        return Held(self.processes, running.pid, running.out, go)

    def race(self, *each: dict[str, Any]) -> list[dict[str, Any] | int]:
        """Starts a process per set of options, all at the same moment."""
        flag = self.folder / f"go-{time.monotonic_ns()}"
        ready = [self.folder / f"{flag.name}-{i}" for i in range(len(each))]
        running = [self.start(**o, start=str(flag), ready=str(r)) for o, r in zip(each, ready, strict=True)]
        deadline = time.monotonic() + 120
        while not all(r.exists() for r in ready):
            assert time.monotonic() < deadline, [process.said() for process in running]
            time.sleep(0.005)
        flag.touch()
        return [process.finished() for process in running]

    def table(self) -> SyncedTable:
        """The same table seen from this process."""
        mode = SyncMode(self.options.get("mode", "incremental"))
        return SyncedTable(Lake(self.lake_uri, env=environment(self.environ)), ListSource(self.rows), mode)


@dataclass
class Running:
    """One process."""

    processes: Processes
    pid: int
    out: Path

    def said(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    def kill(self) -> None:
        self.processes.kill(self.pid)

    def finished(self) -> dict[str, Any] | int:
        status = self.processes.wait(self.pid)
        if status < 0:
            return status
        assert status in (0, 1), self.said()[-3000:]
        return json.loads(self.said().strip().splitlines()[-1])


@dataclass
class Held(Running):
    """One process that waits at a step."""

    go: Path

    def let_go(self) -> None:
        self.go.touch()
