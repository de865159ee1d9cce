"""Serves the web application from the main thread until the process is told to end."""

import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

GRACE_SECONDS = 1
"""How long answers under way may take once the end is near; SIGTERM ends all within 3 s."""


def serve(
    app: ASGIApp, sockets: list[socket.socket], context: ssl.SSLContext | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; with a context, over TLS.

    Slow clients and idle connections are uvicorn's, handshakes are asyncio's.
    """
    server = make_server(app, context)
    with _signals_survived():
        server.run(sockets=sockets)


def make_server(app: ASGIApp, context: ssl.SSLContext | None = None) -> uvicorn.Server:
    """The server, not yet serving."""
    config = uvicorn.Config(
        app,
        # Prometheus keeps its connection from scrape to scrape, up to a minute and more.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=GRACE_SECONDS,
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        ws="none",
    )
    # Uvicorn would read a certificate itself, once; ours is another at each handshake.
    config.load()
    config.ssl = context
    return uvicorn.Server(config)


@contextmanager
def _signals_survived() -> Iterator[None]:
    """Uvicorn raises the signal that ended it once more, for the handlers that it found.

    With the default ones that would end the process before it has tidied up.
    """

    def ignore(_: int, __: FrameType | None) -> None:
        return None

    before = {sig: signal.signal(sig, ignore) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
