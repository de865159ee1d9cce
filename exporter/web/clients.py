"""The connected clients, and the choice of the one to disconnect if there is no room.

A client is one accepted connection, from before its TLS handshake to its end. It is *waiting* while
the client must do something (a handshake, a request, a body), *answered* while we must, and
*unread* while an answer waits for the client to read it.
"""

import asyncio
import socket
from collections.abc import Callable
from itertools import islice
from typing import Final, Literal

from exporter.metrics.process import ProcessCounts, Reason

HANDSHAKE_SECONDS: Final = 5.0
"""Seconds that a TLS handshake may take."""

UNREAD_SECONDS: Final = 5.0
"""Seconds after which a client that does not read its answer may be disconnected to make room, if
no other client can be."""

LOOKED_AT: Final = 8
"""Among how many waiting clients, those that wait longest, one is chosen to make room. So a burst
of bytes from many clients cannot make this choice slow or impossible."""

State = Literal["waiting", "answered", "unread"]


def _nothing() -> None:
    pass


class WebClient:
    """One connection. Only `Clients` may end it."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self.socket: socket.socket | None = None
        """Its connection; None: not known."""
        self._handshake: asyncio.TimerHandle | None = None
        self.abort: Callable[[], None] = _nothing
        """Closes the connection at once."""

    @property
    def has_ended(self) -> bool:
        """Whether it was disconnected or has ended."""
        return not self._clients.knows(self)

    @property
    def has_sent_more(self) -> bool:
        """Whether bytes of the client have arrived that are not read yet."""
        if self.socket is None:
            return False
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            # Nothing has arrived, or the connection has ended.
            return False

    def connected(self, abort: Callable[[], None]) -> None:
        """Set how to close the connection; close it now if that was requested before."""
        self.abort = abort
        if self.has_ended:
            abort()

    def becomes(self, state: State) -> None:
        """Note the state of the client; repeating the same state changes nothing."""
        self._clients.note(self, state)

    def begins_handshake(self) -> None:
        """Start the time limit of its TLS handshake."""
        self._handshake = self._clients.loop.call_later(
            self._clients.handshake_seconds, self.disconnect, "handshake"
        )

    def ends_handshake(self) -> None:
        """End the time limit of the handshake: it has succeeded or failed."""
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None

    def disconnect(self, reason: Reason) -> None:
        """Close the connection, and count that."""
        self._clients.disconnect(self, reason)

    def ended_idle(self) -> None:
        """Note a normal close, because no further request came."""
        self._clients.counts.closed("idle")

    def ended(self) -> None:
        """Note that the connection has ended; may be called twice."""
        self.ends_handshake()
        # The connection refers to this record, too. Its TLS buffers are freed at once only if no
        # cycle has to be found first.
        self.abort = _nothing
        self.socket = None
        self._clients.remove(self)


class Clients:
    """All clients of an event loop.

    Args:
        loop: the event loop that serves them.
        most: how many clients there may be.
        counts: counts the clients that were disconnected.
        handshake_seconds: seconds that a TLS handshake may take.
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
        # By state: clients, and since when they are in that state, longest first.
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
        """Whether the client is still connected."""
        return client in self._states

    def accept_client(self) -> WebClient | None:
        """Accept one more client, if necessary in place of another; None: there is no room."""
        if len(self._states) >= self._most and not self.make_room():
            self.counts.closed("limit")
            return None
        client = WebClient(self)
        self._put(client, "waiting")
        return client

    def make_room(self) -> bool:
        """Disconnect one client that is idle or slow; return whether there was one."""
        longest = list(islice(self._in["waiting"], LOOKED_AT))
        if longest:
            # A client whose request has arrived while we were busy does not wait: we do.
            waiting = (client for client in longest if not client.has_sent_more)
            self.disconnect(next(waiting, longest[0]), "limit")
            return True
        for client, since in self._in["unread"].items():
            if self.loop.time() - since < UNREAD_SECONDS:
                break
            self.disconnect(client, "slow")
            return True
        return False

    def note(self, client: WebClient, state: State) -> None:
        """Set the state of a client."""
        before = self._states.get(client)
        # A client that was disconnected may still cause one last event.
        if before is None or before == state:
            return
        del self._in[before][client]
        self._put(client, state)

    def _put(self, client: WebClient, state: State) -> None:
        self._states[client] = state
        self._in[state][client] = self.loop.time()

    def disconnect(self, client: WebClient, reason: Reason) -> None:
        """Close the client's connection, and count that."""
        if client not in self._states:
            return
        self.counts.closed(reason)
        abort = client.abort
        client.ended()
        abort()

    def remove(self, client: WebClient) -> None:
        """Remove a client that has gone."""
        state = self._states.pop(client, None)
        if state is not None:
            del self._in[state][client]

    def cut_handshakes(self) -> None:
        """Close connections without a request yet.

        The end of the process must not wait for them.
        """
        for client in list(self._in["waiting"]):
            client.abort()
