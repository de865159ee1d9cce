"""Serves the web application from the main thread until the process is told to end."""

import socket
import ssl

import uvicorn
from starlette.types import ASGIApp

from exporter.signals import EndSignals
from exporter.web.connections import KEEP_ALIVE_SECONDS, Connection

GRACE_SECONDS = 1
"""How long answers under way may take once the end is near; SIGTERM ends all within 3 s."""


def serve(
    app: ASGIApp,
    sockets: list[socket.socket],
    signals: EndSignals,
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve until a signal ends the process; with a context, over TLS.

    Slow clients and idle connections have deadlines of ours and of uvicorn's, handshakes asyncio's.
    """
    server = make_server(app, context)

    def end() -> None:
        server.should_exit = True

    # Uvicorn has handlers of its own while it serves, and raises what it caught once more for
    # those that it found. Only a signal in the moment before comes to ours alone.
    signals.pass_on(end)
    if not signals.asked:
        server.run(sockets=sockets)


def make_server(app: ASGIApp, context: ssl.SSLContext | None = None) -> uvicorn.Server:
    """The server, not yet serving."""
    config = uvicorn.Config(
        app,
        http=Connection,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        # Who asks is who connects: the header would let a local client pass for any number of
        # them, each with wrong passwords of its own.
        proxy_headers=False,
        ws="none",
    )
    # Uvicorn would read a certificate itself, once; ours is another at each handshake.
    config.load()
    config.ssl = context
    return uvicorn.Server(config)
