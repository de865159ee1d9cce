"""The framing of event streams: the rules of the WHATWG event stream, and any way to split it."""

from __future__ import annotations

import codecs
import re
import time
from itertools import pairwise

import pytest
import sseclient
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.comfycontrol.framing import MAX_EVENT_LINES, EventFraming, only_data

Event = tuple[str, str]


def frame(
    chunks: list[bytes], max_event_size: int = 1024 * 1024
) -> tuple[list[bytes], EventFraming]:
    framing = EventFraming(max_event_size)
    return [block for chunk in chunks for block in framing.feed(chunk)], framing


def read(chunks: list[bytes]) -> list[Event]:
    """Read events as the exporter does: through the framing and then `sseclient`."""
    blocks, _ = frame(chunks)
    return [(event.event, event.data) for event in sseclient.SSEClient(iter(blocks)).events()]


def reference(stream: bytes) -> list[Event]:
    """Read events by the letter of the standard, from the stream as a whole."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(stream, final=True)
    lines = re.split("\r\n|\r|\n", text.removeprefix("\ufeff"))
    events: list[Event] = []
    name, data = "", list[str]()
    for line in lines[:-1]:  # the last one has no end
        if not line:
            if data:
                events.append((name or "message", "\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return events


def split(stream: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(place % (len(stream) + 1) for place in at)})
    return [stream[begin:end] for begin, end in pairwise(places)]


SNAPSHOT = b'{"status":"running"}'
RULES = {
    "line feeds": (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    "carriage returns and line feeds": (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    "carriage returns": (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    "mixed blank line, LF CRLF": (b"data: a\n\r\ndata: b\n\r\n", ["a", "b"]),
    "mixed blank line, CR CRLF": (b"data: a\r\r\ndata: b\r\r\n", ["a", "b"]),
    "mixed blank line, CRLF CR": (b"data: a\r\n\rdata: b\r\n\r", ["a", "b"]),
    "mixed blank line, CRLF LF": (b"data: a\r\n\ndata: b\r\n\n", ["a", "b"]),
    "LF CR is two ends": (b"data: a\n\rdata: b\n\r", ["a", "b"]),
    "many blank lines": (b"\n\n\r\n\rdata: a\n\n\n\n\ndata: b\n\n", ["a", "b"]),
    "byte-order mark": (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    "one byte-order mark only": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", ["b"]),
    "a mark within is no mark": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
    "no space after the colon": (b"data:a\n\n", ["a"]),
    "one space goes, the next stays": (b"data:  a\n\n", [" a"]),
    "many data lines": (b"data: a\ndata:\ndata: b\n\n", ["a\n\nb"]),
    "many data lines, CRLF": (b"data: a\r\ndata: b\r\n\r\n", ["a\nb"]),
    "a field without a colon": (b"data\ndata: a\n\n", ["\na"]),
    "no data, no event": (b"event: x\n\nid: 7\n\ndata: a\n\n", ["a"]),
    "comments": (b": hi\n\n:\ndata: a\n: hi\n\n", ["a"]),
    "unknown fields": (b"dat: x\ndatax: y\nfoo\ndata: a\n\n", ["a"]),
    "a field with a space is another": (b" data: x\ndata : y\ndata: a\n\n", ["a"]),
    "invalid bytes": (b": \xff\xfe\n\ndata: a\xffb\n\n", ["a\ufffdb"]),
    "an unfinished character": (b"data: a\xe2\x82\n\n", ["a\ufffd"]),
    "surrogates are no UTF-8": (b"data: \xed\xa0\x80\n\n", ["\ufffd\ufffd\ufffd"]),
    "other line ends are none": ("data: a\u2028b\x0bc\x85d\n\n".encode(), ["a\u2028b\x0bc\x85d"]),
    "NUL": (b"data: a\0b\n\n", ["a\0b"]),
    "unterminated by a blank line": (b"data: a\n\ndata: b\n", ["a"]),
    "unterminated by a line end": (b"data: a\n\ndata: b", ["a"]),
}


@pytest.mark.parametrize(("stream", "expected"), RULES.values(), ids=RULES.keys())
def test_rules_of_the_event_stream_in_any_split_in_two(stream: bytes, expected: list[str]) -> None:
    assert [data for _, data in reference(stream)] == expected
    for place in range(len(stream) + 1):
        assert [data for _, data in read([stream[:place], stream[place:]])] == expected
    assert [data for _, data in read([bytes([byte]) for byte in stream])] == expected


LINES = st.one_of(
    st.text(max_size=20).map(lambda text: "data: " + text),
    st.sampled_from(
        ["data", "data:", ":", ": comment", "event: x", "id: 1", "retry: 5", "foo: bar"]
    ),
    st.text(max_size=8),
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LEGAL_STREAMS = st.builds(
    lambda mark, lines, tail: mark + "".join(map("".join, lines)) + tail,
    st.sampled_from(["", "\ufeff"]),
    st.lists(st.tuples(st.one_of(LINES, st.just("")), LINE_ENDS), max_size=40),
    st.sampled_from(["", "data: tail", "\n\n"]),
).map(lambda text: text.encode("utf-8", "replace"))


@given(stream=LEGAL_STREAMS, at=st.lists(st.integers(0, 10_000), max_size=30))
@example(stream=b"\xef\xbb\xbfdata: a\r\n\r\n", at=[1, 2, 11, 12])
def test_a_stream_gives_the_same_events_however_it_is_split(stream: bytes, at: list[int]) -> None:
    assert read(split(stream, at)) == reference(stream)


PIECES = st.sampled_from(
    [b"data", b"data: x", b":", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xff"]
)


@given(chunks=st.lists(st.one_of(st.binary(max_size=50), PIECES), max_size=60))
def test_arbitrary_bytes_never_raise_and_are_read_as_the_standard_says(chunks: list[bytes]) -> None:
    assert read(chunks) == reference(b"".join(chunks))


@given(stream=LEGAL_STREAMS)
@example(stream=b"data: a\n\ndata:\n\ndata:  b\n\ndata\n\nevent: x\ndata: c\n\n")
def test_a_block_of_one_line_is_read_as_the_parser_reads_it(stream: bytes) -> None:
    for block in frame([stream])[0]:
        if (data := only_data(block)) is not None:
            events = [(e.event, e.data) for e in sseclient.SSEClient(iter((block,))).events()]
            assert events == [("message", data)]


def test_the_usual_block_is_one_of_one_line() -> None:
    assert only_data(b'data: {"status":"running"}\n\n') == '{"status":"running"}'
    assert only_data(b"event: x\ndata: {}\n\n") is None


@given(chunks=st.lists(st.one_of(st.binary(max_size=50), PIECES), max_size=60))
def test_blocks_end_in_their_only_blank_line_and_are_valid_text(chunks: list[bytes]) -> None:
    for block in frame(chunks)[0]:
        block.decode()
        assert b"\r" not in block
        assert block.endswith(b"\n\n")
        assert b"\n\n" not in block[:-1]
        assert not block.startswith(b"\n")


@given(
    stream=st.lists(st.one_of(st.binary(max_size=30), PIECES), max_size=40).map(b"".join),
    at=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_what_is_held_is_bounded_and_the_verdict_does_not_hang_on_the_split(
    stream: bytes, at: list[int]
) -> None:
    limit = 24
    framing = EventFraming(limit)
    blocks: list[bytes] = []
    for chunk in split(stream, at):
        blocks += framing.feed(chunk)
        assert framing.held <= limit + 1
    # A line that is too long is found out even before it ends.
    whole, judged = frame([stream], limit)
    assert blocks == whole
    assert framing.oversized == judged.oversized
    assert framing.unterminated == judged.unterminated


@given(
    stream=LEGAL_STREAMS,
    at=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_an_event_comes_out_with_its_last_byte(stream: bytes, at: list[int]) -> None:
    framing = EventFraming()
    fed, count = b"", 0
    for chunk in split(stream, at):
        fed += chunk
        count += len(list(sseclient.SSEClient(iter(framing.feed(chunk))).events()))
        assert count == len(reference(fed))


@pytest.mark.parametrize(
    ("stream", "unterminated"),
    [
        (b"", False),
        (b"data: a\n\n", False),
        (b"data: a\n\n\n", False),
        (b"data: a\r\n\r", False),
        (b"data: a\n\n: a comment", False),
        (b"data: a\n\n: a comment\n", False),
        (b"data: a\n", True),
        (b"data: a", True),
        (b"d", True),
        (b"\xef\xbb\xbf", False),
        (b"\xef\xbb", True),
    ],
)
def test_an_unterminated_tail_is_reported(stream: bytes, unterminated: bool) -> None:
    assert frame([stream])[1].unterminated is unterminated
    assert frame([bytes([byte]) for byte in stream])[1].unterminated is unterminated


@pytest.mark.parametrize(
    ("stream", "between"),
    [
        (b"", False),  # a byte-order mark may follow
        (b"\xef\xbb", False),
        (b"\xef\xbb\xbf", True),
        (b"data: a\n\n", True),
        (b"data: a\n", False),
        (b"data: a\n\nd", False),
        (b"data: a\n\n: a comment", False),
        (b"data: a\n\n: a comment\n", True),
        (b"data: a\n\r", False),  # a line feed may follow
        (b"data: a\n\r\n", True),
        (b"data: much too long for this cap\n\n", False),
    ],
)
def test_between_events_nothing_of_what_was_fed_matters_any_more(
    stream: bytes, between: bool
) -> None:
    framing = EventFraming(20)
    framing.feed(stream)
    assert framing.between_events is between


@given(stream=LEGAL_STREAMS, more=LEGAL_STREAMS)
def test_between_events_any_other_reader_could_go_on(stream: bytes, more: bytes) -> None:
    used, fresh = EventFraming(), EventFraming()
    used.feed(stream)
    fresh.feed(b"\n")  # past its start
    if used.between_events:
        assert used.feed(more) == fresh.feed(more)


@pytest.mark.parametrize(
    ("stream", "held"),
    [(b"data: a\nda", 10), (b"data: a\n\n", 0), (b"foo: a\n", 0), (b": hi", 4), (b"\xef", 1)],
)
def test_what_is_held_back_is_counted_to_the_byte(stream: bytes, held: int) -> None:
    framing = EventFraming()
    framing.feed(stream)
    assert framing.held == held


def test_an_empty_chunk_changes_nothing() -> None:
    framing = EventFraming()
    assert framing.feed(b"data: a\r") == []
    assert framing.feed(b"") == []
    assert framing.feed(b"\n\r") == [b"data: a\n\n"]


def test_the_cap_is_for_one_event_and_exact() -> None:
    fits, does_not = b"data: 678\n\n", b"data: 6789\n\n"
    blocks, framing = frame([fits * 100], 9)
    assert len(blocks) == 100
    assert not framing.oversized
    blocks, framing = frame([fits + does_not + fits], 9)
    assert blocks == [fits]
    assert framing.oversized
    assert framing.held == 0
    assert framing.feed(fits) == []


@pytest.mark.parametrize(("cap", "is_too_small"), [(22, True), (23, False)])
def test_the_lines_of_an_event_add_up_with_their_ends(cap: int, is_too_small: bool) -> None:
    stream = b"data: a\n" * 3
    framing = EventFraming(cap)
    assert framing.feed(stream[:16]) == []
    assert framing.held == 16
    framing.feed(stream[16:])
    assert framing.oversized is is_too_small


def test_comments_do_not_add_up() -> None:
    framing = EventFraming(100)
    for _ in range(1000):
        assert framing.feed(b": still here\n") == []
    assert framing.held == 0
    assert framing.feed(b"data: a\n\n") == [b"data: a\n\n"]


def test_lines_of_an_event_are_counted() -> None:
    assert not frame([b"data:\n" * MAX_EVENT_LINES + b"\n"])[1].oversized
    assert not frame([b"data:\n" * MAX_EVENT_LINES, b"\n"])[1].oversized
    assert frame([b"data:\n" * (MAX_EVENT_LINES + 1) + b"\n"])[1].oversized


@pytest.mark.parametrize("size", [1, 128, 65536])
def test_a_large_event_costs_time_in_proportion(size: int) -> None:
    stream = b"data: " + b"x" * (1024 * 1024 - 6) + b"\n\n"
    chunks = [stream[begin : begin + size] for begin in range(0, len(stream), size)]
    begin = time.process_time()
    assert len(read(chunks)) == 1
    assert time.process_time() - begin < 5


def test_the_worst_event_that_is_let_through_is_read_in_seconds() -> None:
    line = (
        b"data:" + "\N{PILE OF POO}".encode() + b"x" * (1024 * 1024 // MAX_EVENT_LINES - 10) + b"\n"
    )
    stream = line * MAX_EVENT_LINES + b"\n"
    assert len(stream) <= 1024 * 1024 + 1
    begin = time.process_time()
    assert len(read([stream])) == 1
    assert time.process_time() - begin < 10
