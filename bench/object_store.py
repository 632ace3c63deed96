"""An S3 server on loopback, a process of its own, and tables copied into it and out of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.environment import ROOT

BUCKET = "bench"
HOST = "127.0.0.1"
START_SECONDS = 30


@dataclass(frozen=True)
class ObjectStore:
    """Two ways into one server: `direct_port` for ourselves, `delayed_port` for the engines."""

    python: Path
    direct_port: int
    delayed_port: int

    def options(self, *, delayed: bool) -> dict[str, str]:
        """The AWS_* variables that lead here."""
        port = self.delayed_port if delayed else self.direct_port
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_ALLOW_HTTP": "true",
        }

    def requests(self) -> int:
        """How many requests came through the delayed way so far."""
        with urllib.request.urlopen(f"http://{HOST}:{self.delayed_port}/-/requests", timeout=10) as answer:
            return int(answer.read())

    def put(self, folder: Path, prefix: str) -> None:
        self._copy("put", str(folder), prefix)

    def get(self, prefix: str, folder: Path) -> None:
        self._copy("get", prefix, str(folder))

    def delete(self, prefix: str) -> None:
        self._copy("delete", prefix, "")

    def _copy(self, *command: str) -> None:
        subprocess.run(
            [self.python, "-m", "bench.object_store", *command],
            cwd=ROOT,
            check=True,
            env={**os.environ, **self.options(delayed=False)},
        )


@contextmanager
def object_store(python: Path, *, latency_ms: int, on_ceph: bool = False) -> Iterator[ObjectStore]:
    """A server with an empty bucket for as long as the block runs: moto, or Ceph's gateway where its packages are."""
    with (_ceph if on_ceph else _moto)(python) as port:
        command = [str(python), "-m", "bench.delay_proxy", str(port), str(latency_ms)]
        proxy = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert proxy.stdout is not None
            yield ObjectStore(python, port, int(proxy.stdout.readline()))
        finally:
            proxy.terminate()
            proxy.wait()


@contextmanager
def _moto(python: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = int(free.getsockname()[1])
    command = [str(python), "-m", "moto.server", "-H", HOST, "-p", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_server(port)
        bucket = urllib.request.Request(f"http://{HOST}:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(bucket, timeout=10).close()
        yield port
    finally:
        server.terminate()
        server.wait()


@contextmanager
def _ceph(python: Path) -> Iterator[int]:
    """It ends when its standard input does, so that it outlives nobody."""
    command = [str(python), "-m", "bench.ceph", BUCKET]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.communicate()


def _await_server(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _main(verb: str, source: str, target: str) -> None:
    """Runs in the environment that has obstore; the measuring parent has the standard library alone."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(BUCKET, config={"endpoint": os.environ["AWS_ENDPOINT_URL"]}, client_options={"allow_http": True})
    if verb == "put":
        for path in sorted(p for p in Path(source).rglob("*") if p.is_file()):
            obstore.put(store, f"{target}/{path.relative_to(source)}", path)
        return
    for page in obstore.list(store, source):
        for meta in page:
            if verb == "delete":
                obstore.delete(store, meta["path"])
                continue
            path = Path(target, str(meta["path"]).removeprefix(f"{source}/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(obstore.get(store, meta["path"]).bytes()))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3])
