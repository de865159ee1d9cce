"""Decodes the body of an HTTP/1.1 response as bytes arrive: framing and compression. Pure.

For sockets that are read without blocking, which `http.client` does not support.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_CHUNK_LINE: Final = 4096
"""The largest length in bytes of the line with a chunk's size, including extensions."""

_UNPACKED_AT_ONCE: Final = 65536

_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")


class BrokenBodyError(Exception):
    """The compressed data is invalid."""


class Body(Protocol):
    """Removes the framing of a body."""

    ended: bool
    """Whether the body is complete. Bytes after it are not part of it."""

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far have no influence on how the next bytes are read."""

    reusable: bool
    """Whether the body ended exactly at the end of the bytes, so that the connection can be used
    again."""

    def feed(self, data: bytes) -> bytes:
        """Return the content in the next bytes.

        If their framing is invalid, the body has `ended`.
        """

    def is_whole(self) -> bool:
        """Whether the body would be complete if the connection ended here."""


class ChunkedBody:
    """A body with `Transfer-Encoding: chunked`. It does not wait for trailers."""

    __slots__ = ("_is_broken", "_left", "_line", "ended", "reusable")

    def __init__(self) -> None:
        """Begin at the head of the first chunk."""
        self.ended = self.reusable = self._is_broken = False
        # How many bytes of the present chunk are left; 0: its head is read next; negative: its line
        # end.
        self._left = 0
        self._line = b""

    @property
    def at_boundary(self) -> bool:
        """See `Body`."""
        return self._left == 0 and not self._line

    def feed(self, data: bytes) -> bytes:
        """See `Body`."""
        parts: list[bytes] = []
        begin = 0
        while begin < len(data) and not self.ended:
            if self._left > 0:
                part = data[begin : begin + self._left]
                parts.append(part)
                begin += len(part)
                self._left -= len(part)
                if self._left == 0:
                    self._left = -2
            elif self._left < 0:
                # The line end after the content. It is not checked; `http.client` does not check it
                # either.
                step = min(-self._left, len(data) - begin)
                begin += step
                self._left += step
            else:
                begin = self._read_head(data, begin)
        if self.ended:
            # With trailers, or if the last line end arrives later, the connection is not used
            # again.
            self.reusable = data[begin:] == b"\r\n"
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_head(self, data: bytes, begin: int) -> int:
        """Read the line with a chunk's size, or a part of it; return where to continue."""
        end = data.find(b"\n", begin)
        self._line += data[begin:] if end < 0 else data[begin:end]
        if len(self._line) > LONGEST_CHUNK_LINE:
            return self._break_off(data)
        if end < 0:
            return len(data)
        size = self._line.partition(b";")[0].strip()
        self._line = b""
        if not size or not _HEX_DIGITS.issuperset(size):
            return self._break_off(data)
        self._left = int(size, 16)
        self.ended = self._left == 0
        return end + 1

    def _break_off(self, data: bytes) -> int:
        self.ended = self._is_broken = True
        return len(data)

    def is_whole(self) -> bool:
        """See `Body`."""
        return self.ended and not self._is_broken


class LengthBody:
    """A body with `Content-Length`."""

    __slots__ = ("_left", "at_boundary", "ended", "reusable")

    def __init__(self, length: int) -> None:
        """Begin with so many bytes left."""
        self._left = length
        self.ended = self.reusable = length == 0
        self.at_boundary = False

    def feed(self, data: bytes) -> bytes:
        """See `Body`."""
        part = data[: self._left]
        self._left -= len(part)
        self.ended = self._left == 0
        self.reusable = self.ended and len(part) == len(data)
        return part

    def is_whole(self) -> bool:
        """See `Body`."""
        return self.ended


class EndlessBody:
    """A body that ends with the connection."""

    __slots__ = ("at_boundary", "ended", "reusable")

    def __init__(self) -> None:
        """Begin."""
        self.ended = self.reusable = False
        self.at_boundary = True

    def feed(self, data: bytes) -> bytes:
        """See `Body`."""
        return data

    def is_whole(self) -> bool:
        """See `Body`."""
        return True


class Unpacking:
    """Decompresses a body, a bounded part at a time."""

    def __init__(self, coding: str) -> None:
        """Begin; `coding` is `gzip` or `deflate`."""
        self._is_gzip = coding == "gzip"
        self._unpacker = zlib.decompressobj(31 if self._is_gzip else zlib.MAX_WBITS)
        self._may_be_raw = not self._is_gzip

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the content of the next bytes in parts. Raises BrokenBodyError."""
        while data:
            if self._unpacker.eof:
                if not self._is_gzip:
                    return
                # Another gzip member begins.
                self._unpacker = zlib.decompressobj(31)
            part = self._unpack(data)
            data = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if part:
                yield part

    def _unpack(self, data: bytes) -> bytes:
        try:
            part = self._unpacker.decompress(data, _UNPACKED_AT_ONCE)
        except zlib.error:
            if not self._may_be_raw:
                raise BrokenBodyError("what is compressed cannot be unpacked") from None
            # "deflate" means the zlib format; some servers omit its header.
            self._may_be_raw = False
            self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._unpack(data)
        self._may_be_raw = False
        return part


def unpacking(content_encoding: str | None) -> Unpacking | None:
    """The decompressor for a body with this header; None: the body is not compressed."""
    match (content_encoding or "").strip().lower():
        case "gzip" | "x-gzip":
            return Unpacking("gzip")
        case "deflate":
            return Unpacking("deflate")
        case _:
            return None
