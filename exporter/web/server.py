"""Serves the web application from the main thread until a stop is requested."""

import asyncio
import socket
import ssl
from contextlib import suppress
from types import FrameType
from typing import Final

from starlette.types import ASGIApp

from exporter import logs
from exporter.metrics.process import ProcessCounts
from exporter.signals import EndSignals
from exporter.web.accepting import Listener
from exporter.web.clients import HANDSHAKE_SECONDS, Clients, WebClient
from exporter.web.connections import KEEP_ALIVE_SECONDS, Connection
from exporter.web.listening import MOST_CLIENTS
from exporter.web.uvicorn_parts import Config, Server

TICK_SECONDS: Final = 1.0
"""Seconds between two updates of the time that answers show as their `Date`."""

GRACE_SECONDS = 1
"""Seconds that running answers may take at shutdown; after SIGTERM the process ends within 3 s."""


def serve(  # noqa: PLR0913 - what a server is made of
    app: ASGIApp,
    sockets: list[socket.socket],
    signals: EndSignals,
    context: ssl.SSLContext | None = None,
    *,
    counts: ProcessCounts | None = None,
    most_clients: int = MOST_CLIENTS,
) -> None:
    """Serve until a signal ends the process; use TLS if there is a context.

    Slow clients and idle connections have deadlines, some of ours and some of uvicorn.
    """
    server = make_server(app, context, counts=counts, most_clients=most_clients)

    # While it serves, uvicorn uses its own signal handlers; afterwards it raises the caught signal
    # again for the previous handlers. Only a signal just before that reaches our handler alone.
    signals.pass_on(server.end)
    if not signals.asked:
        server.run(sockets=sockets)


def make_server(
    app: ASGIApp,
    context: ssl.SSLContext | None = None,
    *,
    counts: ProcessCounts | None = None,
    most_clients: int = MOST_CLIENTS,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> "WebServer":
    """The server, not yet serving.

    Args:
        app: the application that answers requests.
        context: the TLS context; None: plain HTTP.
        counts: counts the clients; None: they are not counted.
        most_clients: how many clients there may be at a time.
        handshake_seconds: seconds that a TLS handshake may take.
    """
    config = Config(
        app,
        http=Connection,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        # The client is the peer of the connection. A forwarding header would let a local client
        # claim to be many clients, each with different wrong passwords.
        proxy_headers=False,
        ws="none",
    )
    # Uvicorn would read the certificate once. Our TLS context may change, so each handshake uses
    # the present one.
    config.load()
    config.ssl = context
    return WebServer(
        config, counts or ProcessCounts(logs.suppressed), most_clients, handshake_seconds
    )


class WebServer(Server):
    """uvicorn's server, with our own code for accepting clients and for waiting."""

    def __init__(
        self,
        config: Config,
        counts: ProcessCounts,
        most_clients: int,
        handshake_seconds: float,
    ) -> None:
        super().__init__(config)
        self._counts: Final = counts
        self._most_clients: Final = most_clients
        self._handshake_seconds: Final = handshake_seconds
        self._ending: Final = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """End soon. Any thread and any signal handler may call it."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._ending.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal while it serves, and wake the loop."""
        super().handle_exit(sig, frame)
        self.end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept clients from these sockets."""
        await self.lifespan.startup()
        loop = self._loop = asyncio.get_running_loop()
        clients = Clients(loop, self._most_clients, self._counts, self._handshake_seconds)

        def make(client: WebClient) -> Connection:
            protocol = Connection(
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
                _loop=loop,
            )
            protocol.slot = client
            return protocol

        context = self.config.ssl
        self.servers = [
            Listener(sock, clients, make, context)  # type: ignore[misc]
            for sock in sockets or ()
        ]
        self.started = True

    async def main_loop(self) -> None:
        """Do uvicorn's work, and write the log's counted lines, once a second until the end.

        uvicorn's own loop wakes up ten times a second, to find out whether it must end.
        """
        while not await self.on_tick(0):
            logs.log_suppressed()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._ending.wait()
