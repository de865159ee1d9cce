"""uvicorn, as the simulator needs it: in any thread, on a socket of ours, and ended at once."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

from exporter.simulator.connection import ConnectionProtocol

if TYPE_CHECKING:
    import threading

    from starlette.types import ASGIApp

# A thousand clients connect within one moment when an exporter starts.
_BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn, which tells when it listens and cuts its connections when it ends."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ready: threading.Event,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=ConnectionProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell that requests are answered from now on."""
        await super().startup(sockets)
        self._ready.set()

    def end(self) -> None:
        """End: streams that would last for minutes are cut, not waited for."""
        self.should_exit = True
        for server in self.servers:
            server.close()
        self.drop_connections()

    def drop_connections(self) -> int:
        """Reset every connection; how many there were."""
        connections = [
            each for each in self.server_state.connections if isinstance(each, ConnectionProtocol)
        ]
        for each in connections:
            each.reset()
        return len(connections)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is in use, or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
