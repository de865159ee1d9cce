"""uvicorn, as the simulator needs it: in any thread, on a socket of ours, and ended at once."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from exporter.simulator.connection import ConnectionProtocol

if TYPE_CHECKING:
    import threading

    from starlette.types import ASGIApp

# A thousand clients connect within one moment when an exporter starts.
_BACKLOG = 2048
# Tasks end by themselves when their connection is gone.
_TASKS_SECONDS = 1.0


class Server(UvicornServer):
    """uvicorn, which reports when it listens and closes its connections when it ends."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ready: threading.Event,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        config = Config(
            app,
            http=ConnectionProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the service tells it, in its own way
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
        )
        super().__init__(config)
        self._ready = ready
        self._ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report that requests are answered from now on."""
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        """Serve until ``end``."""
        await self._ending.wait()

    def end(self) -> None:
        """End at once; to be called within the loop."""
        self.should_exit = True
        self._ending.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and cut every connection: streams that last for minutes are not awaited.

        uvicorn's own way sleeps and polls, which a suite of hundreds of simulators would feel.
        """
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        self.drop_connections()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_TASKS_SECONDS)

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
    # The protocol must be named: asyncio turns Nagle off only where it is TCP by number, and
    # with it on, an answer of two writes waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
