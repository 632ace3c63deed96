"""Forks a process per line on stdin: importing everything anew would take longer than all the syncs of these tests.

A line is a JSON object with `out` (where stdout goes), `environ` and `options` (see child), or `{"kill": <pid>}`, which
kills that process unless it has ended: nobody else knows that its number is not somebody else's by now. Answers are lines
`started <pid>` and `ended <pid> <status>`, the status negative for a signal. Nothing but imports happens before a fork, so no
thread of Polars, Arrow or deltalake is lost by it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import traceback

from tests.faults import child


def serve() -> None:
    gc.collect()
    gc.freeze()
    ended = False
    buffer = b""
    running: set[int] = set()
    while running or not ended:
        if not ended and select.select([0], [], [], 0.01)[0]:
            data = os.read(0, 1 << 16)
            ended = not data
            *lines, buffer = (buffer + data).split(b"\n")
            for request in map(json.loads, lines):
                if "kill" not in request:
                    running.add(fork(request))
                elif request["kill"] in running:
                    os.kill(request["kill"], signal.SIGKILL)
        elif ended:
            select.select([], [], [], 0.01)
        if running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                running.discard(pid)
                print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)


def fork(request: dict[str, object]) -> int:
    pid = os.fork()
    if not pid:
        os._exit(work(request))
    print("started", pid, flush=True)
    return pid


def work(request: dict) -> int:
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environ"])
    try:
        child.main(request["options"])
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    serve()
