"""The connected clients, and which of them is disconnected when there is no room for another.

A client is one accepted connection, from before its TLS handshake to its end. It is *waiting* while
the client must do something (a handshake, a request, a body), *answered* while we must, and
*unread* while an answer waits for the client to read it.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from exporter.metrics.process import ProcessCounts, Reason

HANDSHAKE_SECONDS: Final = 5.0
"""How long a TLS handshake may take."""

UNREAD_SECONDS: Final = 5.0
"""An answer that was not read for so long makes room for others, if nothing else does."""

State = Literal["waiting", "answered", "unread"]


class WebClient:
    """One connection. To be ended by `Clients` alone."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self._handshake: asyncio.TimerHandle | None = None
        self.abort: Callable[[], None] = lambda: None
        """Cuts the connection at once."""

    @property
    def is_gone(self) -> bool:
        """Whether it was let go, or has ended."""
        return not self._clients.knows(self)

    def connected(self, abort: Callable[[], None]) -> None:
        """The connection can be cut this way from now on, and is if it should have been."""
        self.abort = abort
        if self.is_gone:
            abort()

    def becomes(self, state: State) -> None:
        """Note whose turn it is; the same state again changes nothing."""
        self._clients.note(self, state)

    def begins_handshake(self) -> None:
        """Give its TLS handshake the usual time."""
        self._handshake = self._clients.loop.call_later(
            self._clients.handshake_seconds, self.let_go, "handshake"
        )

    def ends_handshake(self) -> None:
        """It is there, or failed."""
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None

    def let_go(self, reason: Reason) -> None:
        """Cut the connection, and count that."""
        self._clients.let_go(self, reason)

    def idled(self) -> None:
        """It is closed in the usual way, as no further request came."""
        self._clients.counts.closed("idle")

    def gone(self) -> None:
        """The connection is no more; safe to say twice."""
        self.ends_handshake()
        self._clients.forget(self)


class Clients:
    """All clients of an event loop.

    Args:
        loop: that serves them.
        most: how many there may be.
        counts: where those who were let go are counted.
        handshake_seconds: how long a TLS handshake may take.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        most: int,
        counts: ProcessCounts,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self.loop: Final = loop
        self.handshake_seconds: Final = handshake_seconds
        self._most = most
        self.counts: Final = counts
        # By state: clients, and since when they are in it, longest first.
        self._in: Final[dict[State, dict[WebClient, float]]] = {
            "waiting": {},
            "answered": {},
            "unread": {},
        }
        self._states: Final[dict[WebClient, State]] = {}
        counts.connections = lambda: len(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def knows(self, client: WebClient) -> bool:
        """Whether the client is still there."""
        return client in self._states

    def take_in(self) -> WebClient | None:
        """Accept one more client, if necessary in place of another; None: there is no room."""
        if len(self._states) >= self._most and not self.make_room():
            self.counts.closed("limit")
            return None
        client = WebClient(self)
        self._put(client, "waiting")
        return client

    def make_room(self) -> bool:
        """Disconnect one client that is idle or slow; return whether there was one."""
        for client in self._in["waiting"]:
            self.let_go(client, "limit")
            return True
        for client, since in self._in["unread"].items():
            if self.loop.time() - since < UNREAD_SECONDS:
                break
            self.let_go(client, "slow")
            return True
        return False

    def note(self, client: WebClient, state: State) -> None:
        """The client is in this state from now on."""
        before = self._states.get(client)
        # A client that was disconnected may still cause one last event.
        if before is None or before == state:
            return
        del self._in[before][client]
        self._put(client, state)

    def _put(self, client: WebClient, state: State) -> None:
        self._states[client] = state
        self._in[state][client] = self.loop.time()

    def let_go(self, client: WebClient, reason: Reason) -> None:
        """Cut the client's connection, and count that."""
        if client not in self._states:
            return
        self.counts.closed(reason)
        client.gone()
        client.abort()

    def forget(self, client: WebClient) -> None:
        """The client is gone."""
        state = self._states.pop(client, None)
        if state is not None:
            del self._in[state][client]

    def cut_handshakes(self) -> None:
        """Abort the one who has not come as far as a request: the end must not wait for them."""
        for client in list(self._in["waiting"]):
            client.abort()
