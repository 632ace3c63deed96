"""Ports for servers of tests that cannot choose one themselves and say which."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


@contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that Linux gives nobody else while the block lasts, and where nobody listens yet.

    A server that reuses addresses, as servers do, may listen there meanwhile.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        yield int(holder.getsockname()[1])
