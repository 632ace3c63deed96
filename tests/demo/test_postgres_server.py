"""The private server ends with its starter, keeps its data, and asks for a password."""

from __future__ import annotations

import errno
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
from typing import Any

import psycopg
import pytest

from import_platform.demo import postgres_server
from import_platform.demo.postgres_server import PostgresServer
from import_platform.errors import ConfigError


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="import_platform-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def is_running(data_dir: Path | None) -> bool:
    """As the server says it: the file is written before it listens, and removed as the last thing that it does."""
    assert data_dir is not None
    return (data_dir / "postmaster.pid").exists()


def test_data_outlive_a_restart_and_passwords_do_not(folder: Path) -> None:
    with PostgresServer() as server:
        first = server.start(folder / "data")
        with psycopg.connect(first, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert is_running(server.data_dir)
    assert not is_running(server.data_dir)
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
        "print(server.data_dir, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script, str(folder / "data")], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    data_dir = Path(starter.stdout.readline().strip())
    assert is_running(data_dir)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    until = time.monotonic() + 120
    while is_running(data_dir) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(data_dir)


class Crowded(PostgresServer):
    """On a machine where somebody else asks for the chosen port just before the server does."""

    refused: OSError | None = None

    def _launch(self, bin_dir: Path, user: str | None) -> subprocess.Popen[bytes]:
        with socket.socket() as other:
            try:
                other.bind(("127.0.0.1", self.port or 0))
            except OSError as error:
                self.refused = error
            return super()._launch(bin_dir, user)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a held port cannot be listened on")
def test_a_chosen_port_is_kept_for_the_server_while_it_starts(folder: Path) -> None:
    with Crowded() as server, psycopg.connect(server.start(folder / "data")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert server.refused is not None
    assert server.refused.errno == errno.EADDRINUSE


def test_no_port_is_chosen_before_the_data_are_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ports = PostgresServer(), []

    def noted(*asked: Any, **options: Any) -> None:
        ports.append(server.port)
        run(*asked, **options)

    run = postgres_server._run
    monkeypatch.setattr(postgres_server, "_run", noted)
    with server:
        server.start(folder / "data")
        assert ports == [None, None]  # initdb and the password take seconds
        assert server.port


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.socket() as taken, PostgresServer() as server:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="did not start") as caught:
            server.start(folder / "data", port=taken.getsockname()[1])
        assert caught.value.facts["port"] == taken.getsockname()[1]
