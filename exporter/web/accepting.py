"""Accepts clients from a listening socket.

asyncio's own way has no limit for their number, allocates 256 KiB for each TLS connection before
its first byte, and retries at once, with a log line each time, when there are no descriptors left.
"""

import asyncio
import errno
import logging
import resource
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Final

from exporter.web.clients import Clients, WebClient
from exporter.web.connections import Connection

log = logging.getLogger(__name__)

AT_A_TIME: Final = 8
"""How many clients are accepted before other tasks of the event loop get their turn. A client that
they replace keeps its descriptor until then, and for a turn or two more: `descriptors.KEPT_FREE`
reserves room for these."""

PAUSE_SECONDS: Final = 1.0
"""Seconds without accepting clients after accepting failed."""

DISCONNECTED_AT_A_TIME: Final = 16
SHORT_PAUSE_SECONDS: Final = 0.05
"""The same in seconds, if enough clients could be disconnected: their descriptors are free in a
moment."""

LOG_SECONDS: Final = 60.0
"""The shortest time in seconds between two log lines about failures."""

SHUTDOWN_SECONDS: Final = 5.0
"""Seconds that a TLS connection that we close waits for the client's close message."""

_GONE_AGAIN: Final = (errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM)
"""Errors that are caused by the client, not by the machine."""


class _Tls(SSLProtocol):
    """asyncio's TLS with a small buffer of one record, because idle clients need one too."""

    max_size = 16 * 1024

    client: WebClient

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP
        super().connection_made(transport)
        self.client.connected(transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is not None:
            # The traceback of a failed handshake refers to itself and to this connection, whose
            # buffers would stay until the garbage is collected.
            exc.__traceback__ = None
        self.client.ended()
        super().connection_lost(exc)


class Listener:
    """Accepts clients from one socket until it is closed. uvicorn uses it like a server of asyncio.

    Args:
        sock: the listening socket.
        clients: the connected clients of all sockets.
        make: creates the protocol of a client.
        context: the TLS context; None: plain HTTP.
        accept: accepts a connection from the socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        clients: Clients,
        make: Callable[[WebClient], Connection],
        context: ssl.SSLContext | None,
        accept: Callable[[], tuple[socket.socket, object]] | None = None,
    ) -> None:
        self._sock = sock
        self._clients = clients
        self._make = make
        self._context = context
        self._accept = accept or sock.accept
        self._loop = clients.loop
        self._logged_at: float | None = None
        self._pause: asyncio.TimerHandle | None = None
        # An event loop has only weak references to its tasks, so they are held here.
        self._connecting: set[asyncio.Task[object]] = set()
        self._is_open = True
        sock.setblocking(False)
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets on which it listens."""
        return (self._sock,) if self._is_open else ()

    def close(self) -> None:
        """Accept no more clients, and do not wait for handshakes."""
        if self._is_open:
            self._is_open = False
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._sock)
            self._clients.cut_handshakes()

    async def wait_closed(self) -> None:
        """Return at once: it is already closed."""

    def _listen(self) -> None:
        self._pause = None
        if self._is_open:
            self._loop.add_reader(self._sock, self._accept_clients)

    def _accept_clients(self) -> None:
        for _ in range(AT_A_TIME):
            try:
                sock, _ = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _GONE_AGAIN:
                    self._pause_accepting(error)
                    return
                continue
            client = self._clients.accept_client()
            if client is None:
                sock.close()
                continue
            self._begin(sock, client)

    def _pause_accepting(self, error: OSError) -> None:
        # Waiting clients may hold the descriptors that are missing. The younger half stays: its
        # requests may not be read yet. (Linux refuses to accept with no descriptor left even if
        # nobody waits to be accepted, so the youngest can be the one that took the last.)
        most = max(1, min(DISCONNECTED_AT_A_TIME, len(self._clients) // 2))
        disconnected = [self._clients.make_room() for _ in range(most)]
        self._loop.remove_reader(self._sock)
        pause = SHORT_PAUSE_SECONDS if any(disconnected) else PAUSE_SECONDS
        self._pause = self._loop.call_later(pause, self._listen)
        now = self._loop.time()
        if self._logged_at is not None and now - self._logged_at < LOG_SECONDS:
            return
        self._logged_at = now
        log.error(
            "cannot accept connections for now",
            extra={
                "reason": errno.errorcode.get(error.errno or 0, "unknown"),
                "descriptors_allowed": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "clients": len(self._clients),
            },
        )

    def _begin(self, sock: socket.socket, client: WebClient) -> None:
        sock.setblocking(False)
        client.socket = sock
        if self._context is not None:
            client.begins_handshake()
        task = self._loop.create_task(self._connected(sock, client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connected(self, sock: socket.socket, client: WebClient) -> None:
        if client.has_ended:
            sock.close()
            return
        try:
            await self._loop.connect_accepted_socket(lambda: self._protocol(client), sock)
        except OSError:
            client.ended()
            sock.close()

    def _protocol(self, client: WebClient) -> asyncio.BaseProtocol:
        protocol = self._make(client)
        if self._context is None:
            return protocol
        tls = _Tls(
            self._loop,
            protocol,
            self._context,
            None,  # type: ignore[arg-type]  # nobody waits for it
            server_side=True,
            # Our own time limit for the client is shorter, and its expiry is counted.
            ssl_handshake_timeout=int(self._clients.handshake_seconds) + 1,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        tls.client = client
        return tls
