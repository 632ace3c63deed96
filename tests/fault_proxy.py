"""A proxy between a client and an S3 server that does what networks do: answers 500, waits, and hangs up at any moment.

It is a process of its own (`python -m tests.fault_proxy UPSTREAM_PORT` prints its port), because deltalake keeps Python's
lock while it waits for some requests. Tests tell it what to do over the same port.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
RULES, TOLD = "/-/rules", "/-/told"
ERROR = b"<Error><Code>InternalError</Code><Message>a fault of the test</Message></Error>"


class Fault(Enum):
    REFUSED = "a 500 instead of asking the server"
    CUT_REQUEST = "the connection is dropped in the middle of the request's body, which the server never sees"
    CUT_ANSWER = "the connection is dropped in the middle of the answer's body"
    LOST_ANSWER = "the server did it, and the connection is dropped"
    LOST_AS_500 = "the server did it, and the answer says 500, so that clients ask once more"
    SLOW = "the server did it, and the answer comes half a second later"


@dataclass(frozen=True)
class Request:
    """One request as it came; `path` is with the query, percent-encoded."""

    method: str
    path: str
    head: bytes
    body: bytes

    @property
    def summary(self) -> tuple[str, str, int]:
        return self.method, self.path, len(self.body)

    @property
    def access_key(self) -> str:
        """Whose it is; empty where it is not signed."""
        signed = re.search(rb"Credential=([^/]+)/", self.head)
        return signed[1].decode() if signed else ""


@dataclass
class Rule:
    """Which requests meet the fault: `times` of those whose method and path match, after the first `after` of them;
    `each` says the first one of every path instead."""

    fault: str
    method: str = ".*"
    path: str = ""
    times: int = 1
    after: int = 0
    each: bool = False
    met: int = 0
    paths: set[str] = field(default_factory=set)

    def takes(self, request: Request) -> bool:
        if not re.fullmatch(self.method, request.method) or not re.search(self.path, request.path):
            return False
        if self.after:
            self.after -= 1
            return False
        if request.path in self.paths if self.each else self.met >= self.times:
            return False
        self.paths.add(request.path)
        self.met += 1
        return True


@dataclass
class _Server:
    """One connection to the server behind per request."""

    upstream_port: int
    rules: list[Rule] = field(default_factory=list)
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    answered: list[tuple[str, str, int]] = field(default_factory=list)
    access_keys: list[str] = field(default_factory=list)

    async def serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        try:
            while await self._exchange(client, to_client):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up, which ends the connection and nothing else
        finally:
            to_client.close()

    async def _exchange(self, client: StreamReader, to_client: StreamWriter) -> bool:
        """One request and its answer; False when the connection is over."""
        request = await _request(client)
        if request.path in (RULES, TOLD):
            to_client.write(self._told(request))
            await to_client.drain()
            return True
        self.seen.append(request.summary)
        self.access_keys.append(request.access_key)
        fault = next((Fault[rule.fault] for rule in self.rules if rule.takes(request)), None)
        if fault is Fault.CUT_REQUEST:
            return await self._cut(request)
        if fault is Fault.REFUSED:
            to_client.write(_answer_500())
            await to_client.drain()
            return True
        answer = await self._asked(request)
        if fault is Fault.LOST_ANSWER:
            return False
        if fault is Fault.CUT_ANSWER:
            head, _, body = answer.partition(b"\r\n\r\n")
            to_client.write(head + b"\r\n\r\n" + body[: len(body) // 2])
            await to_client.drain()
            return False
        if fault is Fault.SLOW:
            await asyncio.sleep(0.5)
        self.answered.append(request.summary)
        to_client.write(_answer_500() if fault is Fault.LOST_AS_500 else answer)
        await to_client.drain()
        return True

    def _told(self, request: Request) -> bytes:
        """Takes the rules of a test, or says what came of them."""
        if request.path == RULES:
            self.rules = [Rule(**told) for told in json.loads(request.body)]
        met = [rule.met for rule in self.rules]
        told = {"met": met, "seen": self.seen, "answered": self.answered, "access_keys": self.access_keys}
        body = json.dumps(told).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def _cut(self, request: Request) -> bool:
        """Half a request at the server, and nobody to ask for the rest."""
        _, to_server = await asyncio.open_connection(HOST, self.upstream_port)
        to_server.write(request.head + request.body[: len(request.body) // 2])
        with suppress(ConnectionError):
            await to_server.drain()
        to_server.close()
        return False

    async def _asked(self, request: Request) -> bytes:
        server, to_server = await asyncio.open_connection(HOST, self.upstream_port)
        try:
            to_server.write(request.head + request.body)
            await to_server.drain()
            while True:
                head = await server.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 100"):
                    break
            has_body = request.method != "HEAD" and head.split(b" ", 2)[1] not in (b"204", b"304")
            return head + (await _body(_fields(head), server, until_end=True) if has_body else b"")
        finally:
            to_server.close()


def _answer_500() -> bytes:
    return b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (
        len(ERROR),
        ERROR,
    )


async def _request(client: StreamReader) -> Request:
    head = await client.readuntil(b"\r\n\r\n")
    method, path, _ = head.decode("latin-1").split(" ", 2)
    return Request(method, path, head, await _body(_fields(head), client, until_end=False))


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines) if name}


async def _body(fields: dict[bytes, bytes], source: StreamReader, *, until_end: bool) -> bytes:
    """The body as it was sent, chunks and all; an answer that announces none goes on until the end."""
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        whole, size = b"", -1
        while size:
            line = await source.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            whole += line + await source.readexactly(size + 2)
        return whole
    if b"content-length" in fields:
        return await source.readexactly(int(fields[b"content-length"]))
    return await source.read() if until_end else b""


@dataclass
class Told:
    """A rule as a test holds it."""

    proxy: FaultProxy
    number: int

    @property
    def met(self) -> int:
        """How many requests have met the fault."""
        return int(self.proxy.told()["met"][self.number])


@dataclass
class FaultProxy:
    """What a test tells the proxy, and what it saw of every client."""

    port: int
    _rules: list[Rule] = field(default_factory=list)

    def add(self, fault: Fault, method: str = ".*", path: str = "", **how: Any) -> Told:
        """Rules before it go first; a rule that has met its requests stays so."""
        for rule, met in zip(self._rules, self.told()["met"], strict=True):
            rule.times, rule.met = (met, met) if met >= rule.times else (rule.times, met)
        self._rules.append(Rule(fault.name, method, path, **how))
        self._tell()
        return Told(self, len(self._rules) - 1)

    def heal(self) -> None:
        """No request meets a fault any more."""
        self._rules = []
        self._tell()

    def all_met(self) -> bool:
        return all(self.told()["met"])

    def count(self, method: str = ".*", path: str = "") -> int:
        return len(_matching(self.told()["seen"], method, path))

    def answered_bytes(self, method: str, path: str = "") -> int:
        """Bytes of request bodies whose answers were sent."""
        return sum(size_bytes for _, _, size_bytes in _matching(self.told()["answered"], method, path))

    def access_keys(self, after: int = 0, path: str = "") -> set[str]:
        """Who asked for such paths, but for the first `after` requests."""
        told = self.told()
        asked = list(zip(told["seen"], told["access_keys"], strict=True))[after:]
        return {key for request, key in asked if _matching([request], ".*", path)}

    def told(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{TOLD}") as answer:
            return dict(json.load(answer))

    def _tell(self) -> None:
        rules = [{name: value for name, value in asdict(rule).items() if name != "paths"} for rule in self._rules]
        urllib.request.urlopen(f"http://{HOST}:{self.port}{RULES}", json.dumps(rules).encode()).close()


def _matching(requests: list[tuple[str, str, int]], method: str, path: str) -> list[tuple[str, str, int]]:
    return [each for each in requests if re.fullmatch(method, each[0]) and re.search(path, each[1])]


@contextmanager
def fault_proxy(environ: dict[str, str]) -> Iterator[tuple[FaultProxy, dict[str, str]]]:
    """A proxy before the server of these AWS_* variables, and the variables that lead through it."""
    upstream = environ["AWS_ENDPOINT_URL"].rpartition(":")[2]
    command = [sys.executable, "-m", "tests.fault_proxy", upstream]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        proxy = FaultProxy(int(server.stdout.readline()))
        yield proxy, environ | {"AWS_ENDPOINT_URL": f"http://{HOST}:{proxy.port}"}
    finally:
        server.kill()
        server.wait()


async def _main(upstream_port: int) -> None:
    server = await asyncio.start_server(_Server(upstream_port).serve, HOST, 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
