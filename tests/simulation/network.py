"""Sockets without a network: bytes that arrive a little later, in order, or never."""

from __future__ import annotations

import errno
import socket as real
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from tests.simulation.scheduler import Life, world
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = count(100_000)


class Server(Protocol):
    """What a service does with one connection."""

    def received(self, data: bytes) -> None:
        """The client has sent something."""

    def hung_up(self) -> None:
        """The client is gone."""


class Network:
    """All connections of a world."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.addresses: dict[tuple[str, int], Callable[[Line], Server]] = {}
        """Who serves at an address: makes the server of each connection."""
        self.is_away = False
        """Nobody can be reached, and what is sent gets lost."""
        self.open: dict[int, VirtualSocket] = {}
        self.on_news: Callable[[], None] | None = None
        """Told whenever anything reaches a socket."""
        self.wire = Wire()

    def delay(self) -> float:
        """How long some bytes take."""
        draw: float = world().random.random()
        return self.latency * (0.2 + 1.6 * draw)

    def sever(self, life: Life) -> None:
        """A process has died: the system closes its sockets."""
        for sock in [s for s in self.open.values() if s.life is life]:
            sock.sever()


class Line:
    """The server's end of a connection."""

    def __init__(self, client: VirtualSocket) -> None:
        self._client = client
        self._arrives = 0.0
        self.is_open = True

    def send(self, data: bytes) -> None:
        if self.is_open and data:
            self._later(lambda: self._client.arrived(data))

    def close(self) -> None:
        """Nothing follows."""
        if self.is_open:
            self.is_open = False
            self._later(self._client.ended)

    def reset(self) -> None:
        """The connection is broken, and what is on its way is lost."""
        if self.is_open:
            self.is_open = False
            self._later(lambda: self._client.broken(errno.ECONNRESET))

    def _later(self, action: Callable[[], None]) -> None:
        here = world()
        # What is sent later arrives later.
        self._arrives = max(self._arrives + 1e-7, here.now + NETWORK.delay())
        here.at(self._arrives, action)


class VirtualSocket:
    """The client's end, as a socket."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1) -> None:  # noqa: A002
        self.family, self.type, self.proto = family, type, proto
        self._number = next(_numbers)
        self._timeout: float | None = None
        self._buffer = bytearray()
        self._has_ended = False
        self._is_closed = False
        self._is_shut = False
        self._files = 0
        self._error = 0
        self._is_connected = False
        self._server: Server | None = None
        self._arrives = 0.0
        self._waiters: list[Callable[[], None]] = []
        self.on_readable: list[Callable[[], None]] = []
        """Told whenever there is more to read: selectors."""
        task = world().current
        self.life = None if task is None else task.life
        NETWORK.open[self._number] = self

    # As a socket ------------------------------------------------------------------------------

    def fileno(self) -> int:
        return -1 if self._is_closed else self._number

    def settimeout(self, value: float | None) -> None:
        self._timeout = value

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def setsockopt(self, *_: Any) -> None:
        pass

    def bind(self, address: Any) -> None:
        pass

    def getsockopt(self, *_: Any) -> int:
        error, self._error = self._error, 0
        return error

    def connect_ex(self, address: Any) -> int:
        here = world()
        make = NETWORK.addresses.get((address[0], address[1]))

        def reached() -> None:
            if self._is_closed or self._is_shut:
                return
            if NETWORK.is_away:
                return  # and its connecting times out
            if make is None:
                self._error = errno.ECONNREFUSED
            else:
                self._is_connected = True
                self._server = make(Line(self))
            self._tell()

        here.after(2 * NETWORK.delay(), reached)
        return errno.EINPROGRESS

    @property
    def is_writable(self) -> bool:
        return self._is_connected or self._is_shut or self._error != 0

    @property
    def is_readable(self) -> bool:
        return bool(self._buffer) or self._has_ended or self._is_shut or self._error != 0

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, "closed")
        if self._is_shut or not self._is_connected:
            raise BrokenPipeError(errno.EPIPE, "broken pipe")
        if self._error:
            raise ConnectionResetError(self.getsockopt(), "reset")
        here, sent, server = world(), bytes(data), self._server
        NETWORK.wire.sent(self.life, self._number, sent)
        if NETWORK.is_away or server is None:
            return
        self._arrives = max(self._arrives + 1e-7, here.now + NETWORK.delay())
        here.at(self._arrives, lambda: server.received(sent))

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self._until(lambda: self.is_readable)
        if self._is_closed:
            raise OSError(errno.EBADF, "closed")
        if self._buffer:
            view = memoryview(buffer)
            size = min(nbytes or len(view), len(self._buffer))
            view[:size] = self._buffer[:size]
            del self._buffer[:size]
            return size
        if self._error:
            raise ConnectionResetError(self.getsockopt(), "reset")
        return 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def _until(self, holds: Callable[[], bool]) -> None:
        here = world()
        due = None if self._timeout is None else here.now + self._timeout
        while not holds() and not self._is_closed:
            if self._timeout == 0.0:
                raise BlockingIOError(errno.EAGAIN, "nothing yet")
            waker = here.waker()
            self._waiters.append(waker)
            if not here.park(None if due is None else due - here.now):
                raise TimeoutError("timed out")

    def wait_until_writable(self, timeout: float | None) -> bool:
        return self._wait(lambda: self.is_writable, timeout)

    def wait_until_readable(self, timeout: float | None) -> bool:
        return self._wait(lambda: self.is_readable, timeout)

    def _wait(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        before, self._timeout = self._timeout, timeout
        try:
            self._until(holds)
        except (BlockingIOError, TimeoutError):
            return False
        finally:
            self._timeout = before
        return True

    def shutdown(self, how: int) -> None:
        if self._is_closed or not self._is_connected:
            if not self._is_shut:
                self._is_shut = True
                self._tell()
            raise OSError(errno.ENOTCONN, "not connected")
        self._is_shut = True
        self._leave()
        self._tell()

    def close(self) -> None:
        self._is_closing = True
        if self._files <= 0:
            self._real_close()

    def _real_close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        NETWORK.open.pop(self._number, None)
        self._leave()
        self._tell()

    _is_closing = False

    def _decref_socketios(self) -> None:
        self._files -= 1
        if self._is_closing and self._files <= 0:
            self._real_close()

    def detach(self) -> int:
        raise NotImplementedError

    def makefile(self, mode: str = "r", buffering: int | None = None) -> Any:
        import io  # noqa: PLC0415 - here alone

        self._files += 1
        raw = real.SocketIO(self, "r")  # type: ignore[arg-type]
        return io.BufferedReader(raw) if buffering != 0 else raw

    def getpeername(self) -> tuple[str, int]:
        return ("service", 80)

    # From the network -------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        if not (self._is_closed or self._has_ended or NETWORK.is_away):
            self._buffer += data
            NETWORK.wire.arrived(self.life, self._number, data)
            self._tell()

    def ended(self) -> None:
        if not NETWORK.is_away:
            self._has_ended = True
            self._tell()

    def broken(self, error: int) -> None:
        self._buffer.clear()
        self._error = error
        self._has_ended = True
        self._tell()

    def sever(self) -> None:
        """Its process is dead."""
        self._waiters.clear()
        self.on_readable.clear()
        self._real_close()

    def _leave(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            world().after(NETWORK.delay(), server.hung_up)

    def _tell(self) -> None:
        if NETWORK.on_news is not None:
            NETWORK.on_news()
        waiters, self._waiters = self._waiters, []
        for waker in waiters:
            waker()
        for listener in list(self.on_readable):
            listener()


NETWORK = Network(0.02)


def begin(network: Network) -> None:
    """From now on this is the network."""
    global NETWORK  # noqa: PLW0603 - sockets find their network by it
    NETWORK = network


def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
    """Every name has one address: itself."""
    return [(real.AF_INET, real.SOCK_STREAM, 6, "", (host, port))]


def wait_for_write(sock: VirtualSocket, timeout: float | None = None) -> bool:
    """In the place of urllib3's."""
    return sock.wait_until_writable(timeout)


def wait_for_read(sock: VirtualSocket, timeout: float | None = None) -> bool:
    """In the place of urllib3's."""
    return sock.wait_until_readable(timeout)
