"""Deadlines for clients: uvicorn's own deadline begins only with the first answer."""

import asyncio
import logging
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import h11

from exporter.web.clients import WebClient
from exporter.web.uvicorn_parts import H11Protocol

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 120
"""Seconds that an idle connection is kept: Prometheus keeps its connection between scrapes, for a
minute or more."""

AT_ONCE_BYTES: Final = 16 * 1024
"""How many bytes of a client are parsed before other clients get their turn. 256 KiB may arrive at
once, and chunks of one byte take the parser much longer than a body in one piece."""

MOST_PARTS: Final = 20_000
"""The largest number of parts in which the body of a request may come: each chunk is a part, and
the parser takes as long for a chunk of one byte as for a large one. So a megabyte in chunks of one
byte would take 9 s of CPU. It is twice the largest number of ids in one push, since some programs
send each value of a list as a chunk of its own."""

_TOO_MANY_PARTS: Final = "The body of the request comes in too many parts."

Awaited = Literal["header", "body", "reading"]


class _Parser(h11.Connection):
    """Limits the number of parts of a body, also of one that nobody reads."""

    parts = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """The next event in the bytes of the client; raises `h11.RemoteProtocolError`."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            # Its traceback refers to itself and to this connection, which would stay until the
            # garbage is collected.
            error.__traceback__ = None
            raise
        if isinstance(event, h11.Request):
            self.parts = 0
        elif isinstance(event, h11.Data):
            self.parts += 1
            if self.parts > MOST_PARTS:
                raise h11.RemoteProtocolError(_TOO_MANY_PARTS)
        return event


class Connection(H11Protocol):
    """uvicorn's protocol, which also closes the connections of clients that keep it waiting.

    Each connection uses a file descriptor, and the streams need descriptors too.
    """

    conn: _Parser

    slot: WebClient | None = None
    """The record of this client in `Clients`."""

    seconds: ClassVar[Mapping[Awaited, float]] = {"header": 15.0, "body": 60.0, "reading": 60.0}
    """Seconds that a client may take for the header of a request, from the start of the connection
    or from the header's first byte; for the body; and for reading a waiting answer, if that is
    large or the last one.
    """

    _is_taking = False
    _has_begun = False
    _is_unread = False
    _awaited: Awaited | None = None
    _deadline: asyncio.TimerHandle | None = None
    _reading_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.conn = _Parser(h11.SERVER)
        self._arrived = bytearray()
        if self.slot is not None:
            self.slot.ends_handshake()
            self.slot.connected(transport.abort)
        self.logger = _OfClient(self.logger, {"client": self.client[0] if self.client else ""})  # type: ignore[assignment]
        self._wait_for("header")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all waiting."""
        self._wait_for(None)
        self._read()
        self._arrived.clear()
        # After a reset, uvicorn would let this timer keep the connection in memory for two minutes.
        self._unset_keepalive_if_required()
        if self.slot is not None:
            self.slot.ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process a part of a request, and let other clients have their turn in between."""
        self._has_begun = True
        self._arrived += data
        if not self._is_taking:
            self._take()

    def _take(self) -> None:
        self._is_taking = False
        if not self._arrived:
            # The client has gone. The parser would treat empty bytes as the end of data.
            return
        part = bytes(self._arrived[:AT_ONCE_BYTES])
        del self._arrived[:AT_ONCE_BYTES]
        super().data_received(part)
        self._update_deadline()
        if self.transport.is_closing():
            self._arrived.clear()
        elif self._arrived:
            self._is_taking = True
            self.transport.pause_reading()
            self.loop.call_soon(self._take)
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser rejects.

        If the request was answered before its body was complete, there can be no second answer.
        """
        # Now this is the answer. The endpoint, which may still wait for the body, sends no other.
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            is_too_much = self.conn.parts > MOST_PARTS
            super().send_400_response(_TOO_MANY_PARTS if is_too_much else msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Continue with the bytes that arrived meanwhile."""
        super().on_response_complete()
        self._update_deadline()
        if self.transport.is_closing():
            self._wait_for_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, because no further request came."""
        if self.slot is not None and not self.transport.is_closing():
            self.slot.ended_idle()
        super().timeout_keep_alive_handler()
        self._wait_for_reading()

    def pause_writing(self) -> None:
        """Note that the client reads its answer too slowly."""
        super().pause_writing()
        self._is_unread = True
        self._wait_for_reading()
        self._report_state()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._is_unread = False
        if not self.transport.is_closing():
            self._read()
        self._report_state()

    def _wait_for_reading(self) -> None:
        # A closed connection first sends what it has, even if the client does not read it for long.
        if self._reading_deadline is None:
            self._reading_deadline = self._timer("reading")

    def _read(self) -> None:
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def _update_deadline(self) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait_for("body")
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for("header")
        else:
            # It is our turn, or the client is between two requests, where uvicorn has a deadline.
            self._wait_for(None)
        self._report_state()

    def _report_state(self) -> None:
        """Report whose turn it is."""
        if self.slot is None:
            return
        if self._is_unread:
            self.slot.becomes("unread")
        elif (
            self.cycle is None  # type: ignore[redundant-expr]  # before the first request
            or self.cycle.response_complete
            or self.conn.their_state is h11.SEND_BODY
        ):
            self.slot.becomes("waiting")
        else:
            self.slot.becomes("answered")

    def _wait_for(self, awaited: Awaited | None) -> None:
        # Bytes that arrive one by one do not move the deadline.
        if awaited == self._awaited:
            return
        self._awaited = awaited
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if awaited is None else self._timer(awaited)

    def _timer(self, awaited: Awaited) -> asyncio.TimerHandle:
        return self.loop.call_later(self.seconds[awaited], self._end, awaited)

    def _end(self, awaited: Awaited) -> None:
        log.debug("client timed out", extra={"waited_for": awaited})
        # A normal close would wait for the client again.
        if self.slot is None:
            self.transport.abort()
        else:
            self.slot.disconnect("slow" if self._has_begun else "idle")


class _OfClient(logging.LoggerAdapter[logging.Logger]):
    """Adjusts uvicorn's log lines about a client, which do not say that the client caused them."""

    @property
    def level(self) -> int:
        """The logger's level, which uvicorn reads."""
        return self.logger.level
