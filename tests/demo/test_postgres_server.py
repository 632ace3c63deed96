"""The private server ends with its starter, keeps its data, and asks for a password."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from import_platform.demo.postgres_server import PostgresServer
from import_platform.errors import ConfigError


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="import_platform-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def is_open(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port or 0)) == 0


def test_data_outlive_a_restart_and_passwords_do_not(folder: Path) -> None:
    with PostgresServer() as server:
        first = server.start(folder / "data")
        with psycopg.connect(first, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert not is_open(server.port)
    with PostgresServer() as server:
        second = server.start(folder / "data")
        with psycopg.connect(second) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(second.replace(second.split(":")[2].split("@")[0], "guess"))
    assert first.split("@")[0] != second.split("@")[0]


def test_a_data_folder_that_the_server_cannot_reach_is_kept_elsewhere_and_unchanged(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with PostgresServer() as server:
        dsn = server.start(closed / "data")
        assert psycopg.connect(dsn).execute("SELECT 1").fetchone() == (1,)
        assert server.data_dir is not None
        moved = server.data_dir
        assert closed.stat().st_mode & 0o777 == 0o700
    if not moved.is_relative_to(closed):
        closed.rmdir()
        (folder / "other").mkdir(mode=0o700)
        with PostgresServer() as server:
            server.start(folder / "other" / "data")
            assert not moved.exists()  # swept, as the folder that it stood for is gone
            other = server.data_dir
        assert other is not None
        shutil.rmtree(other.parent)


def test_the_server_ends_when_its_starter_is_killed(folder: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from import_platform.demo.postgres_server import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start(pathlib.Path(sys.argv[1]))\n"
        "print(server.port, flush=True)\n"
        "time.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script, str(folder / "data")], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    port = int(starter.stdout.readline())
    assert is_open(port)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    until = time.monotonic() + 20
    while is_open(port) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_open(port)


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.socket() as taken, PostgresServer() as server:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="did not start") as caught:
            server.start(folder / "data", port=taken.getsockname()[1])
        assert caught.value.facts["port"] == taken.getsockname()[1]
