"""An S3 server of its own process, and two that break the promise of If-None-Match."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3

ROOT = Path(__file__).parents[1]
PROBES = "/_staging/probe/"
ACCESS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The AWS_* variables of a running server without any bucket."""
    command = [sys.executable, "-m", "tests.moto_server"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port:
            raise RuntimeError("the S3 server does not start")
        yield ACCESS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    finally:
        server.kill()
        server.wait()


def new_bucket(environ: dict[str, str]) -> str:
    """The URI of a fresh bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client(
        "s3",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    ).create_bucket(Bucket=name)
    return f"s3://{name}/lake"


class _Forgetful(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200)

    def do_POST(self) -> None:  # the deletion of many objects, which is how obstore deletes one
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        deleted = b"".join(b"<Deleted>" + key + b"</Deleted>" for key in re.findall(rb"<Key>.*?</Key>", asked))
        self._answer(200, b"<DeleteResult>" + deleted + b"</DeleteResult>")

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


class _Racy(_Forgetful):
    """Looks first whether the object is there and writes it then, and of a probe a second create looks in between."""

    looked = threading.Condition()
    lookers: ClassVar[dict[str, int]] = {}
    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.looked:
            refused = self.headers.get("If-None-Match") and self.path in self.objects
            if not refused:
                self.lookers[self.path] = self.lookers.get(self.path, 0) + 1
                self.looked.notify_all()
                if PROBES in self.path:
                    self.looked.wait_for(lambda: self.lookers[self.path] > 1, timeout=120)
                self.objects[self.path] = body
        self._answer(412 if refused else 200)

    def do_GET(self) -> None:
        if "list-type=2" in self.path:
            self._answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        else:
            self._answer(200 if self.path in self.objects else 404, self.objects.get(self.path, b""))


@contextmanager
def server_that_ignores_conditions() -> Iterator[dict[str, str]]:
    """Answers 200 to every PUT, as s3rver does."""
    with _serving(_Forgetful) as environ:
        yield environ


@contextmanager
def server_that_loses_races() -> Iterator[dict[str, str]]:
    """Honours If-None-Match from one client, and lets two that come at once both win, as OpenStack Swift does."""
    with _serving(_Racy) as environ:
        yield environ


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield ACCESS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()


def environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment without its own AWS_* settings, and with these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | extra
