"""An HTTP/1.1 proxy on loopback that holds every request back: what a distant object store feels like.

`python -m bench.delay_proxy UPSTREAM_PORT MILLISECONDS` prints its own port. Requests in flight wait side by side, as
they would on a network; GET /-/requests tells how many there have been.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamWriter

HOST = "127.0.0.1"
PIECE_BYTES = 1 << 16
COUNT_PATH = b"/-/requests"


class DelayProxy:
    """Forwards to one upstream port after `delay_seconds` per request."""

    def __init__(self, upstream_port: int, delay_seconds: float) -> None:
        self._upstream_port = upstream_port
        self._delay_seconds = delay_seconds
        self.requests = 0

    async def serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        """One client connection, with an upstream connection of its own."""
        server, to_server = await asyncio.open_connection(HOST, self._upstream_port)
        try:
            while await self._exchange((client, to_client), (server, to_server)):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # either side hung up, which ends the connection and nothing else
        finally:
            to_client.close()
            to_server.close()

    async def _exchange(self, near: tuple[StreamReader, StreamWriter], far: tuple[StreamReader, StreamWriter]) -> bool:
        """One request and its answer; False when the connection is over."""
        head = await near[0].readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b" ", 2)
        if path == COUNT_PATH:
            body = str(self.requests).encode()
            near[1].write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await near[1].drain()
            return False
        self.requests += 1
        await asyncio.sleep(self._delay_seconds)
        far[1].write(head)
        await _body(_fields(head), near[0], far[1], until_end=False)
        answer = await far[0].readuntil(b"\r\n\r\n")
        near[1].write(answer)
        fields = _fields(answer)
        if method != b"HEAD" and answer.split(b" ", 2)[1] not in (b"204", b"304"):
            await _body(fields, far[0], near[1], until_end=True)
        await near[1].drain()
        return fields.get(b"connection", b"").lower() != b"close" and not answer.startswith(b"HTTP/1.0")


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines) if name}


async def _body(fields: dict[bytes, bytes], source: StreamReader, target: StreamWriter, *, until_end: bool) -> None:
    """Copies the body that the header fields announce; an answer that announces none goes on until the end."""
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        size = -1
        while size:
            line = await source.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            target.write(line + await source.readexactly(size + 2))
            await target.drain()
        return
    left = int(fields[b"content-length"]) if b"content-length" in fields else (sys.maxsize if until_end else 0)
    while left:
        piece = await source.read(min(left, PIECE_BYTES))
        if not piece:
            return
        target.write(piece)
        await target.drain()
        left -= len(piece)
    await target.drain()


async def main(upstream_port: int, delay_milliseconds: int) -> None:
    proxy = DelayProxy(upstream_port, delay_milliseconds / 1000)
    server = await asyncio.start_server(proxy.serve, HOST, 0, limit=1 << 20)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
