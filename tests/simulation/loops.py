"""Event loops in virtual time. A loop runs in a virtual thread, which waits in `select`."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

from tests.simulation import network
from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class VirtualSelector(selectors.BaseSelector):
    """Waits for virtual sockets, and for anyone who wakes it."""

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._was_woken = False
        self._waker: Callable[[], None] | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if number in self._keys:
            raise KeyError(number)
        key = self._keys[number] = selectors.SelectorKey(fileobj, number, events, data)
        sock = network.NETWORK.open.get(number)
        if sock is not None:
            sock.on_readable.append(self._told)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        sock = network.NETWORK.open.get(number)
        if sock is not None and self._told in sock.on_readable:
            sock.on_readable.remove(self._told)
        return self._keys.pop(number)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def wake(self) -> None:
        """End the wait that is under way, or else the next one."""
        self._was_woken = True
        self._told()

    def _told(self) -> None:
        waker, self._waker = self._waker, None
        if waker is not None:
            waker()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        here = world()
        due = None if timeout is None else here.now + timeout
        if timeout is not None and timeout <= 0:
            # Time goes on, however little: what is due in no time would never be due.
            here.pause()
        while True:
            ready = self._ready()
            if ready or self._was_woken or (due is not None and due <= here.now):
                self._was_woken = False
                return ready
            self._waker = here.waker()
            here.park(None if due is None else due - here.now)

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        sockets = network.NETWORK.open
        return [
            (key, selectors.EVENT_READ)
            for number, key in self._keys.items()
            if (sock := sockets.get(number)) is not None and sock.is_readable
        ]


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, but for its clock and what wakes it."""

    def __init__(self, selector: Any = None) -> None:
        self._virtual = VirtualSelector() if selector is None else selector
        super().__init__(self._virtual)

    def time(self) -> float:
        return world().monotonic()

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        self._virtual.wake()
