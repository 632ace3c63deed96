"""`ui`: Dagster's webserver and daemon on this project's lake and history, for as long as the terminal stays open."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from import_platform.cli.terminal import EXIT_FAILED, Failed, Terminal
from import_platform.demo.server import source_for_ui
from import_platform.errors import ConfigError
from import_platform.resources.home import prepare_home
from import_platform.resources.project import read_settings

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.2


def run(screen: Terminal, *, port: int) -> None:
    """Returns when interrupted, with both processes ended; `--json` prints {"url": ..} once it answers.

    Raises:
        ConfigError: something else listens on the port.
        Failed: Dagster did not start, or ended by itself (its log is named).
    """
    _check_port(port)
    # Ctrl-C, a service manager's SIGTERM, and SIGINT where a shell started us with it ignored: all end the same way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    settings = read_settings()
    prepare_home(settings.home)
    os.environ["IMPORT_PLATFORM_LAKE"] = settings.lake_uri
    url, log = f"http://{HOST}:{port}", settings.home / "ui.log"
    screen.err.print(f"lake {settings.lake_uri}\nhome {settings.home}", markup=False, soft_wrap=True)
    with source_for_ui() as changed_rows, _dagster(port, log) as process:
        screen.err.print("starting Dagster ...")
        _await(screen, process, port=port, log=log)
        if screen.is_json:
            screen.emit({"url": url})
        else:
            screen.out.print(f"\n[bold]{url}[/]  Ctrl-C stops it\n")
        if changed_rows is not None:
            screen.err.print(
                f"the demo's database runs too; {changed_rows:,} flights were changed there just now, "
                "so a sync has something to find",
                soft_wrap=True,
            )
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
            screen.fail(f"Dagster ended by itself; see {log}")
            raise Failed(EXIT_FAILED)
        screen.err.print("stopping ...")


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                "the port is taken", port=port, remedy="End what listens there, or choose another one with --port."
            ) from error


@contextmanager
def _dagster(port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dagster dev` in a process group of its own, which is gone when the block ends."""
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-m",
        "import_platform.definitions",
        "--host",
        HOST,
        "--port",
        str(port),
        "--log-level",
        "info",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        _end(process)


def _await(screen: Terminal, process: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(port):
            return
        time.sleep(POLL_SECONDS)
    screen.fail(f"Dagster did not start; see {log}")
    raise Failed(EXIT_FAILED)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt, terminate, kill: each in turn to the whole group, as Dagster may leave members behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            process.poll()
            if not _group_alive(process.pid):
                return
            time.sleep(POLL_SECONDS)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
