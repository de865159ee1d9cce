r"""The framing of an event stream: bytes in, complete event blocks out.

It runs before ``sseclient.SSEClient``. That parser splits fields and lines well, but it loses the
first event after a byte-order mark, merges events at blank lines with mixed line ends, stops at one
invalid byte, accepts an event that was cut off, and buffers without limit. Every block from this
module is UTF-8, ends its lines with ``\n``, and ends with its only blank line, so none of these
problems can occur.
"""

from __future__ import annotations

MAX_EVENT_SIZE = 1024 * 1024
"""The largest size of one event in bytes."""

MAX_EVENT_LINES = 4096
"""The largest number of lines in one event: the parser that follows copies the event once for each
line."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Lines with other fields, and comments, have no meaning and are ignored.
_FIELDS = frozenset({b"data", b"event", b"id", b"retry"})
_LONGEST_FIELD = len(b"retry:")


class EventFraming:
    r"""Cuts a stream of bytes into event blocks by the rules of the WHATWG event stream.

    Comments and unknown fields are left out and use no memory. A block that never ends is not
    collected: when an event is longer than the cap, ``oversized`` is set, nothing is kept, and no
    more blocks are returned. Never raises.
    """

    __slots__ = (
        "_after_carriage_return",
        "_at_start",
        "_line",
        "_lines",
        "_max_size",
        "_oversized",
        "_size",
    )

    def __init__(self, max_event_size: int = MAX_EVENT_SIZE) -> None:
        """Start at the beginning of a stream.

        Args:
            max_event_size: the largest size of one event in bytes, including line ends.
        """
        self._max_size = max_event_size
        self._line = bytearray()  # bytes of the line that has not ended yet
        self._lines: list[bytes] = []  # lines of the event that has not ended yet
        self._size = 0  # bytes in these lines
        self._at_start = True
        self._after_carriage_return = False
        self._oversized = False

    @property
    def oversized(self) -> bool:
        """Whether an event was larger than the cap. Then the stream is no longer usable."""
        return self._oversized

    @property
    def unterminated(self) -> bool:
        """Whether an event has begun but not ended.

        At the end of the stream this means it was cut off.
        """
        return bool(self._lines) or (bool(self._line) and not self._line.startswith(b":"))

    @property
    def between_events(self) -> bool:
        """Whether the bytes so far have no influence on how the next bytes are read."""
        return not (
            self._lines
            or self._line
            or self._at_start
            or self._after_carriage_return
            or self._oversized
        )

    @property
    def held(self) -> int:
        """How many bytes are buffered now."""
        return self._size + len(self._line)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Process the next bytes of the stream; they may be split anywhere.

        Returns:
            The event blocks that end in them, in order, each with its closing blank line.
        """
        if self._oversized or not chunk:
            return []
        if self._is_one_event(chunk):
            return [_valid(chunk)]
        if self._at_start:
            chunk = self._skip_byte_order_mark(chunk)
        # A carriage return ends its line at once; otherwise an event that ends with one would wait
        # for the next event. A line feed that follows, even in the next chunk, belongs to the same
        # line end.
        ends_in_carriage_return = chunk.endswith(b"\r")
        if self._after_carriage_return and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_carriage_return = False
        if ends_in_carriage_return:
            self._after_carriage_return = True
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return self._cut(chunk)

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether this is a whole event with one line of data, as nearly every chunk is.

        It is its own block.
        """
        return (
            chunk.startswith(b"data:")
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and self.between_events
            and b"\r" not in chunk
            and len(chunk) - 2 <= self._max_size
        )

    def _skip_byte_order_mark(self, chunk: bytes) -> bytes:
        """Remove a byte-order mark at the start of the stream.

        Buffer its first bytes until that is decided.
        """
        head = bytes(self._line) + chunk
        self._line.clear()
        if len(head) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(head):
            self._line += head
            return b""
        self._at_start = False
        return head.removeprefix(_BYTE_ORDER_MARK)

    def _cut(self, chunk: bytes) -> list[bytes]:
        blocks: list[bytes] = []
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            if self._line:
                self._line += chunk[begin:end]
                line = bytes(self._line)
                self._line = bytearray()
            else:
                line = chunk[begin:end]
            begin = end + 1
            if not line:
                if self._lines:
                    blocks.append(self._take_block())
                continue
            if self._is_too_much(len(line)):
                return blocks
            if line[:_LONGEST_FIELD].partition(b":")[0] in _FIELDS:
                self._lines.append(line)
                self._size += len(line) + 1
        if begin < len(chunk):
            self._line += memoryview(chunk)[begin:]
            # A line that is already too long will not become shorter. So the result does not depend
            # on how the stream was split, only the moment does.
            self._is_too_much(len(self._line))
        return blocks

    def _take_block(self) -> bytes:
        block = b"\n".join([*self._lines, b"", b""])
        self._lines = []
        self._size = 0
        return _valid(block)

    def _is_too_much(self, line_size: int) -> bool:
        """Check whether the event is too large with this line; if it is, drop all its lines."""
        if self._size + line_size <= self._max_size and len(self._lines) < MAX_EVENT_LINES:
            return False
        self._oversized = True
        self._line = bytearray()
        self._lines = []
        self._size = 0
        return True


def _valid(block: bytes) -> bytes:
    """The block as valid UTF-8."""
    # Line ends are never part of a longer character, so decoding block by block gives the same as
    # decoding the whole stream.
    return block if block.isascii() else block.decode("utf-8", "replace").encode("utf-8")


def only_data(block: bytes) -> str | None:
    """The data of a block that has one line and no other field; None: it is any other block.

    Nearly all blocks are like that. For them this gives the same result as the parser that follows,
    in a tenth of the time.
    """
    if not block.startswith(b"data:") or block.find(b"\n") != len(block) - 2:
        return None
    return block[5:-2].removeprefix(b" ").decode()
