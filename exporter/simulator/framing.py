"""How an event is written into a stream: plainly, as the service does, or legally but oddly.

The odd forms are all allowed by the WHATWG's event-stream format, and a right reader takes the same
event from each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from exporter.simulator.faults import FramingFault


def plain_event(data: bytes) -> bytes:
    """An event as the service's own page shows it: one ``data:`` line and a blank one."""
    return b"data: %b\n\n" % data


class OddFraming:
    """Writes events in the odd ways that a fault asks for."""

    def __init__(self, fault: FramingFault, rng: random.Random) -> None:
        self._fault = fault
        self._rng = rng
        self._number = 0

    def pieces(self, data: bytes, *, first: bool) -> list[bytes]:
        """Write one event.

        Args:
            data: the event's data; JSON on one line.
            first: whether nothing was written into this stream before, so that a byte-order mark
                is legal.

        Returns:
            The bytes in the pieces in which they are to be sent.
        """
        fault, self._number = self._fault, self._number + 1
        lines = [b"data: %b" % part for part in self._split_lines(data)]
        if fault.fields:
            lines = [b"id: %d" % self._number, b"retry: 3000", b"event", b"x-unknown: 1", *lines]
        if fault.comments:
            lines = [b": keep-alive \xf0\x9f\xa6\x8a", *lines, b":"]
        text = b""
        for line in [*lines, b""]:
            text += line
            text += self._newline(after_cr=text.endswith(b"\r"))
        if first and fault.byte_order_mark:
            text = b"\xef\xbb\xbf" + text
        return self._split(text)

    def _split_lines(self, data: bytes) -> list[bytes]:
        # The lines are joined by a line feed: harmless after the first brace, not within a string.
        if not self._fault.multi_line or not data.startswith(b"{"):
            return [data]
        return [data[:1], data[1:]]

    def _newline(self, *, after_cr: bool) -> bytes:
        chosen = {"lf": b"\n", "cr": b"\r", "crlf": b"\r\n"}.get(self._fault.newline)
        if chosen is not None:
            return chosen
        # CR and then LF would be one line end, not two: the blank line would be lost.
        return self._rng.choice((b"\r", b"\r\n") if after_cr else (b"\r", b"\r\n", b"\n"))

    def _split(self, text: bytes) -> list[bytes]:
        most = self._fault.split
        if most == 0:
            return [text]
        pieces, at = [], 0
        while at < len(text):
            size = self._rng.randint(1, most)
            pieces.append(text[at : at + size])
            at += size
        return pieces
