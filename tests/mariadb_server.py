"""A real MariaDB for tests, from Debian's mariadb-server; where it is not installed its tests say that they did not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.ports import held_port

MISSING = "NOT RUN: no mariadbd on this machine (Debian: apt-get install mariadb-server)"
SETTINGS = ["--max-allowed-packet=256M", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"]


@dataclass(frozen=True)
class MariaDatabase:
    """A database of its own on the test server; `dsn` belongs to its superuser."""

    dsn: str
    port: int
    name: str

    def connect(self, **options: Any) -> pymysql.Connection:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            database=self.name,
            charset="utf8mb4",
            **{"user": "owner", "password": "secret", "autocommit": True, **options},
        )

    def execute(self, *statements: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def insert(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            for row in rows:
                cursor.execute(statement, row)


def binary(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")


@contextmanager
def running_mariadb() -> Iterator[int]:
    """The port of a server that lives as long as the block; its clock shows the time of Tokyo, as servers' clocks may."""
    server, installer = binary("mariadbd"), binary("mariadb-install-db")
    if server is None or installer is None:
        pytest.skip(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="import_platform-mariadb-"))
    user = ["--user=mysql"] if os.geteuid() == 0 else []
    data = folder / "data"
    data.mkdir()
    if user:
        folder.chmod(0o755)
        shutil.chown(data, "mysql")
    common = ["--no-defaults", f"--datadir={data}", *user]
    process = None
    try:
        rights = "--auth-root-authentication-method=normal"
        subprocess.run([installer, *common, rights, "--skip-test-db"], check=True, capture_output=True)
        with held_port() as port:
            address = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={data}/s.sock"]
            process = subprocess.Popen(
                [server, *common, *address, *SETTINGS],
                env={**os.environ, "TZ": "Asia/Tokyo"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _make_owner(port, process)
            yield port
    finally:
        if process is not None:
            process.terminate()
            process.wait(120)
        shutil.rmtree(folder, ignore_errors=True)


def _make_owner(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        with suppress(pymysql.Error), pymysql.connect(host="127.0.0.1", port=port, user="root") as root:
            with root.cursor() as cursor:
                cursor.execute("CREATE USER owner IDENTIFIED BY 'secret'")
                cursor.execute("GRANT ALL ON *.* TO owner WITH GRANT OPTION")
            return
        time.sleep(0.1)
    raise RuntimeError("MariaDB did not start")
