"""Which process executes a run, written into the run's tags, so that a later process can tell a dead run from
a slow one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from import_platform.resources.executors import run_process
from import_platform.resources.naming import HOST_TAG, PROCESS_TAG


def process_tags(process: int | None = None) -> dict[str, str]:
    """Tags that name a process, else this one: its host, its id, and its start (ids are used again)."""
    id_ = os.getpid() if process is None else process
    return {HOST_TAG: _host(), PROCESS_TAG: f"{id_}:{_started(id_)}"}


def tag_run(context: Any) -> None:
    """Writes the process of a step's run into the run's tags unless they say so already (a retried run may have moved).

    Not where steps are placed elsewhere: there the executor does so, or the run's launcher looks after it.
    """
    process, run = run_process(context), context.run
    tags = process_tags(process) if process is not None else {}
    if any(run.tags.get(name) != value for name, value in tags.items()):
        context.instance.add_run_tags(run.run_id, tags)


def is_gone(tags: Mapping[str, str]) -> bool:
    """True if the tags name a process of this host that no longer runs. Other hosts cannot be judged from here."""
    pid, _, started = tags.get(PROCESS_TAG, "").partition(":")
    return tags.get(HOST_TAG) == _host() and pid.isdigit() and _started(int(pid)) != started


def _host() -> str:
    """Host name and process namespace: two containers may share the name, and then their ids mean different
    processes.
    """
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        namespace = "0"
    return f"{socket.gethostname()}.{namespace}"


def _started(pid: int) -> str:
    """Start of the process in clock ticks since boot (exact, unlike a wall-clock time); "" when there is none."""
    try:
        # The name in parentheses may hold spaces; field 22 counts from the last parenthesis on.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    try:
        return str(int(psutil.Process(pid).create_time())) if not Path("/proc/self/stat").exists() else ""
    except psutil.Error:
        return ""
