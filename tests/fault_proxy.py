"""A proxy between a client and an S3 server that does what networks do: answers 500, waits, and hangs up at any moment."""

from __future__ import annotations

import asyncio
import re
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

HOST = "127.0.0.1"
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


@dataclass
class Rule:
    """Which requests meet the fault: `times` of those whose method and path match, after the first `after` of them."""

    fault: Fault
    method: str = ".*"
    path: str = ""
    times: int = 1
    after: int = 0
    before_fault: Callable[[], object] | None = None
    met: int = 0

    def takes(self, request: Request) -> bool:
        if not re.fullmatch(self.method, request.method) or not re.search(self.path, request.path):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.met >= self.times:
            return False
        self.met += 1
        return True


@dataclass
class FaultProxy:
    """Every request of every client, and the rules that the next ones meet. One connection to the server per request."""

    upstream_port: int
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    answered: list[Request] = field(default_factory=list)

    def add(self, fault: Fault, method: str = ".*", path: str = "", **how: object) -> Rule:
        rule = Rule(fault, method, path, **how)  # type: ignore[arg-type]
        self.rules.append(rule)
        return rule

    def count(self, method: str, path: str = "") -> int:
        return sum(1 for each in self.requests if each.method == method and re.search(path, each.path))

    def answered_bytes(self, method: str, path: str = "") -> int:
        """Bytes of request bodies whose answers were sent."""
        return sum(len(each.body) for each in self.answered if each.method == method and re.search(path, each.path))

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
        self.requests.append(request)
        fault = next((rule.fault for rule in self.rules if rule.takes(request)), None)
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
        self.answered.append(request)
        to_client.write(_answer_500() if fault is Fault.LOST_AS_500 else answer)
        await to_client.drain()
        return True

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


@contextmanager
def fault_proxy(environ: dict[str, str]) -> Iterator[tuple[FaultProxy, dict[str, str]]]:
    """A proxy before the server of these AWS_* variables, and the variables that lead through it."""
    proxy = FaultProxy(int(environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault proxy", daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(proxy.serve, HOST, 0, limit=1 << 20)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, environ | {"AWS_ENDPOINT_URL": f"http://{HOST}:{proxy.port}"}
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    connections = asyncio.all_tasks() - {asyncio.current_task()}
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
