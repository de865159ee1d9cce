"""How each fault of an answer looks on the wire."""

from __future__ import annotations

import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from exporter.simulator import documents
from exporter.simulator.connection import chunk
from exporter.simulator.faults import (
    AnswerFault,
    EdgePageFault,
    EndlessHeaderFault,
    GarbageAnswerFault,
    GzipBombFault,
    HangUpFault,
    HugeEventFault,
    RedirectFault,
    ResetFault,
    SlowHeadersFault,
    StatusFault,
)

if TYPE_CHECKING:
    import random

    from exporter.simulator.connection import Connection

EVENT_STREAM = "text/event-stream; charset=utf-8"

_BLOCK = 1024 * 1024


def edge_page(code: int) -> bytes:
    """The HTML of an edge, with a line that a careless reader of events would take for one."""
    title = f"{code} {phrase(code)}"
    return (
        "<!DOCTYPE html>\n"
        f"<html><head><title>comfycontrol.app | {title}</title></head>\n<body>\n"
        f"<h1>Error {title}</h1>\n<pre>\n"
        'data: {"status":"completed","prompt":null,"queue_number":null,"outputs":[],"cause":null,'
        '"started_at":null,"completed_at":null}\n\n'
        "</pre>\n<p>Ray ID: 8f3c2a1b9d4e5f60</p>\n</body></html>\n"
    ).encode()


def phrase(code: int) -> str:
    """The reason phrase of a status, or a neutral one where it has none."""
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unknown"


def html(code: int, headers: dict[str, str] | None = None) -> Response:
    """An answer of the edge."""
    return Response(edge_page(code), code, headers, media_type="text/html; charset=utf-8")


def head(code: int, *fields: str, date: str | None = None) -> bytes:
    """The head of an HTTP/1.1 answer, for answers that are written to the connection itself.

    Args:
        code: the status.
        fields: header lines, beside ``Date``.
        date: the time by the service's clock, if it is told.
    """
    dates = [] if date is None else [f"Date: {date}"]
    lines = [f"HTTP/1.1 {code} {phrase(code)}", *dates, *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def response_of(fault: AnswerFault) -> Response | None:
    """The answer of a fault that is a proper HTTP answer; None if it must be written raw."""
    if isinstance(fault, StatusFault):
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        if fault.body == "html":
            return html(fault.code, headers)
        if fault.body == "empty":
            return Response(b"", fault.code, headers)
        body = documents.error(fault.code, phrase(fault.code))
        return Response(body, fault.code, headers, media_type="application/json")
    if isinstance(fault, EdgePageFault):
        return html(fault.code)
    if isinstance(fault, RedirectFault):
        return RedirectResponse(fault.location, fault.code)
    return None


async def write_raw(fault: AnswerFault, connection: Connection, rng: random.Random) -> None:
    """Apply a fault that is not a valid HTTP answer, and wait until the connection has ended."""
    if isinstance(fault, ResetFault):
        connection.reset()
    elif isinstance(fault, HangUpFault):
        connection.close()
    elif isinstance(fault, GarbageAnswerFault):
        connection.write(rng.randbytes(256) + b"\r\n\r\n" + rng.randbytes(256))
        connection.close()
    elif isinstance(fault, SlowHeadersFault):
        await _slow_headers(fault, connection)
    elif isinstance(fault, EndlessHeaderFault):
        await _endless_header(fault, connection)
    elif isinstance(fault, GzipBombFault):
        await _gzip_bomb(fault, connection)
    elif isinstance(fault, HugeEventFault):
        await _huge_event(fault, connection)
    # What is left is the fault of no answer at all: the client decides how long it waits.
    await connection.until_lost()


async def _slow_headers(fault: SlowHeadersFault, connection: Connection) -> None:
    start = head(200, f"Content-Type: {EVENT_STREAM}", "X-Padding: ").removesuffix(b"\r\n\r\n")
    for byte in start:
        connection.write(bytes((byte,)))
        if not await connection.sleep(fault.pause):
            return
    while await connection.sleep(fault.pause):
        connection.write(b"x")


async def _endless_header(fault: EndlessHeaderFault, connection: Connection) -> None:
    connection.write(b"HTTP/1.1 200 OK\r\n")
    if fault.one_line:
        connection.write(b"X-Endless: ")
        block = b"x" * 65_536
    else:
        line = b"X-Endless: " + b"x" * 49 + b"\r\n"
        block = line * (65_536 // len(line))
    left = fault.size
    while left > 0 and connection.open:
        connection.write(block[:left])
        left -= len(block)
        await connection.drain()
    connection.close()


async def _gzip_bomb(fault: GzipBombFault, connection: Connection) -> None:
    fields = (f"Content-Type: {EVENT_STREAM}", "Content-Encoding: gzip", "Connection: close")
    connection.write(head(200, *fields))
    # A block that ends in a full flush refers to nothing before it, so the very same compressed
    # bytes can be sent again and again: a GiB costs one MiB's work.
    plain = b"a" * _BLOCK
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum, sent = 0, 0
    connection.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff")
    while sent < fault.size and connection.open:
        connection.write(packed)
        checksum = zlib.crc32(plain, checksum)
        sent += _BLOCK
        await connection.drain()
        await connection.sleep(0)
    length = (sent & 0xFFFFFFFF).to_bytes(4, "little")
    connection.write(b"\x03\x00" + checksum.to_bytes(4, "little") + length)
    connection.close()


async def _huge_event(fault: HugeEventFault, connection: Connection) -> None:
    fields = (f"Content-Type: {EVENT_STREAM}", "Transfer-Encoding: chunked")
    connection.write(head(200, *fields))
    connection.write(chunk(b'data: {"status":"running","prompt":{"prompt_id":"'))
    block = chunk(b"a" * 65_536)
    left = fault.size
    while left > 0 and connection.open:
        connection.write(block if left >= 65_536 else chunk(b"a" * left))
        left -= 65_536
        await connection.drain()
    end = b'"},"queue_number":null,"outputs":[],"cause":null,"started_at":null,"completed_at":null}'
    connection.write(chunk(end))
    if fault.ended:
        connection.write(chunk(b"\n\n"))
    connection.write(b"0\r\n\r\n")
    connection.close()
