"""What lies under a request: the transport, for what ASGI has no words for.

Resets, bytes that are no HTTP, an endless head: such faults must be written to the socket itself.
So uvicorn runs with a protocol of our own that hands each request its connection, in
``scope["simulator.connection"]``. It also lets a stream write its events straight away: one write
for a snapshot, in place of a task that wakes for each.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
    from uvicorn.protocols.http.flow_control import FlowControl

SCOPE_KEY = "simulator.connection"

# On, and 0 seconds: close() discards what is unsent and sends RST.
_LINGER_RESET = struct.pack("ii", 1, 0)


class Connection:
    """One client's connection. Belongs to the loop."""

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Completed when the connection has ended, whichever side ended it."""

    @property
    def open(self) -> bool:
        """Whether anything can still be written."""
        return not self.lost.done() and not self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that wait here because the client does not read."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Write bytes as they are; does nothing once the connection is closing."""
        if self.open:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough to write more, or has disconnected."""
        await self._flow.drain()

    def close(self) -> None:
        """Close the connection normally, after all data was written."""
        self._transport.close()

    def reset(self) -> None:
        """Reset: the client's next read fails with ECONNRESET."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and self.open:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    async def sleep(self, seconds: float) -> bool:
        """Wait.

        Returns:
            Whether the client is still there.
        """
        await asyncio.wait({self.lost}, timeout=seconds)
        return self.open

    async def until_lost(self) -> None:
        """Wait until the connection has ended."""
        await asyncio.wait({self.lost})


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of a chunked body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ConnectionProtocol(H11Protocol):
    """uvicorn's protocol, which also gives every request its connection."""

    _connection: Connection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take up a connection."""
        super().connection_made(transport)
        connection = self._connection = Connection(transport, self.flow)
        service = self.app

        async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            cast("dict[str, object]", scope)[SCOPE_KEY] = connection
            await service(scope, receive, send)

        self.app = app

    def reset(self) -> None:
        """Reset the connection."""
        if self._connection is not None:
            self._connection.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake all that wait for the client, because it has disconnected."""
        super().connection_lost(exc)
        if self._connection is not None and not self._connection.lost.done():
            self._connection.lost.set_result(None)
