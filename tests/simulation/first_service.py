"""The simulator as the service: its own engine and HTTP, on a loop in virtual time."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from exporter.simulator.connection import ConnectionProtocol
from exporter.simulator.engine import Engine
from exporter.simulator.service import make_app
from tests.simulation.loops import VirtualLoop
from tests.simulation.scheduler import Life, world

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator import Scenario, Truth
    from tests.simulation.network import Line


class _Handle:
    """What the simulator does with the socket under a transport: it makes closing it a reset."""

    def __init__(self) -> None:
        self.resets = False

    def getsockname(self) -> tuple[str, int]:
        return ("service", 80)

    def getpeername(self) -> tuple[str, int]:
        return ("client", 1)

    def setsockopt(self, _level: int, option: int, _value: bytes) -> None:
        if option == socket.SO_LINGER:
            self.resets = True


class _Transport(asyncio.Transport):
    """A transport over a virtual line."""

    def __init__(self, loop: VirtualLoop, line: Line) -> None:
        super().__init__()
        self._loop, self._line = loop, line
        self._handle = _Handle()
        self.protocol: Any = None
        self._is_closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"socket": self._handle, "peername": ("client", 1), "sockname": ("service", 80)}
        return known.get(name, default)

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self._line.send(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._line.close()
            self._loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if self._handle.resets:
                self._line.reset()
            else:
                self._line.close()
            self._loop.call_soon(self.protocol.connection_lost, None)


class _Server:
    """One connection."""

    def __init__(self, loop: VirtualLoop, transport: _Transport) -> None:
        self._loop, self._transport = loop, transport

    def received(self, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._receive, data)

    def _receive(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.protocol.data_received(data)

    def hung_up(self) -> None:
        self._loop.call_soon_threadsafe(self._transport.abort)


class FirstService:
    """The simulator, served to a virtual network."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.life = Life("service")
        self.life.is_right = True
        self._loop = VirtualLoop()
        self.engine = Engine(scenario, seed=seed, speed=1.0)
        self._config = uvicorn.Config(
            make_app(self.engine),
            http=ConnectionProtocol,
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        self._config.load()
        self._state = ServerState()

    def start(self) -> None:
        world().spawn(self._run, "service", self.life)

    def _run(self) -> None:
        self._loop.call_soon(self.engine.run_on, self._loop)
        self._loop.run_forever()

    def serve(self, line: Line) -> _Server:
        """Take up a connection."""
        transport = _Transport(self._loop, line)

        def begin() -> None:
            transport.protocol = ConnectionProtocol(
                config=self._config, server_state=self._state, app_state={}, _loop=self._loop
            )
            transport.protocol.connection_made(transport)

        self._loop.call_soon_threadsafe(begin)
        return _Server(self._loop, transport)

    def within(self, action: Callable[[], object]) -> None:
        """Have the service do something."""
        self._loop.call_soon_threadsafe(action)

    def truth(self) -> Truth:
        return self.engine.truth()
