"""Repeated lines are counted, and a stream that takes nothing holds nobody up."""

import io
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import logs
from exporter.log_lines import MOST_PENDING, MOST_SAME, LineWriter, Repeats


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def record(
    text: str, level: int = logging.WARNING, client: str | None = None, **marks: object
) -> logging.LogRecord:
    more = marks if client is None else {"client": client, **marks}
    return logging.makeLogRecord({"name": "x", "levelno": level, "msg": text, **more})


LINES = st.lists(
    st.tuples(
        st.sampled_from(["invalid request", "upgrade"]),
        st.sampled_from([logging.INFO, logging.WARNING]),
        st.sampled_from([None, "192.0.2.1", "192.0.2.2"]),
        st.integers(0, 3),
        st.floats(0, 30),
    ),
    max_size=400,
)


@given(LINES)
def test_every_line_is_written_or_told_of(
    lines: list[tuple[str, int, str | None, int, float]],
) -> None:
    repeats = Repeats()
    now, written, told = 0.0, 0, 0
    for text, level, client, mark, later in lines:
        now += later
        told += sum(vars(r)["repeated"] for r in repeats.due(now))
        written += repeats.take(record(text, level, client, mark=mark), now)
    assert repeats.suppressed == len(lines) - written
    told += sum(vars(r)["repeated"] for r in repeats.due(now, everything=True))
    assert told == repeats.suppressed


def test_the_first_few_are_written_and_the_rest_told_once_a_minute_with_the_client() -> None:
    repeats = Repeats()
    written = [repeats.take(record("invalid request", client="192.0.2.1"), 1.0) for _ in range(99)]
    assert sum(written) == MOST_SAME
    # Of another client the first line is news.
    assert repeats.take(record("invalid request", client="192.0.2.2"), 1.0)
    assert not list(repeats.due(60.0))
    (told,) = repeats.due(61.0)
    assert (told.getMessage(), vars(told)["client"]) == ("invalid request", "192.0.2.1")
    assert vars(told)["repeated"] == 99 - MOST_SAME
    assert repeats.take(record("invalid request", client="192.0.2.1"), 61.0)


def test_lines_of_many_clients_have_a_bound_as_well() -> None:
    repeats = Repeats()
    written = sum(
        repeats.take(record("upgrade", client=f"2001:db8::{n}"), 1.0) for n in range(9000)
    )
    assert written < 9000
    told = sum(vars(r)["repeated"] for r in repeats.due(99.0))
    assert written + told == 9000


def test_what_is_asked_for_with_debug_is_written() -> None:
    repeats = Repeats()
    assert all(repeats.take(record("a step", logging.DEBUG), 1.0) for _ in range(1000))


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_a_repeated_line_as_a_user_sees_it(log_format: logs.LogFormat) -> None:
    out = io.StringIO()
    logs.configure("info", log_format, out)
    before = logs.suppressed()
    for _ in range(1000):
        logging.getLogger("exporter.web").warning("odd", extra={"client": "192.0.2.1"})
    logs.log_suppressed(everything=True)
    lines = out.getvalue().splitlines()
    assert len(lines) == MOST_SAME + 1
    assert str(1000 - MOST_SAME) in lines[-1]
    assert all("192.0.2.1" in line for line in lines)
    assert logs.suppressed() - before == 1000 - MOST_SAME


def told(lines: int) -> str:
    return f"lost {lines}\n"


def test_a_pipe_that_nobody_empties_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        lines = LineWriter(stream, told)
        began = time.monotonic()
        for number in range(5000):
            lines.write(f"{number} {'x' * 100}\n")
        assert time.monotonic() - began < 5
        assert lines.lost > 1000
        os.set_blocking(reading, False)
        read = b""
        for _ in range(1000):
            lines.drain()
            read += reader.read() or b""
        numbers = [int(line.split()[0]) for line in read.splitlines() if line[:1].isdigit()]
        # Those that were first, in order, each whole; and then how many are missing.
        assert numbers == list(range(5000 - lines.lost))
        assert len(numbers) >= MOST_PENDING
        assert f"lost {lines.lost}".encode() in read


def test_a_long_line_comes_whole() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        LineWriter(stream, told).write("x" * 20_000 + "\n")
        assert reader.readline() == b"x" * 20_000 + b"\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_neither_ends_nor_shows_anything(capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full:
        logs.configure("info", "json", full)
        before = logs.suppressed()
        for number in range(10):
            logging.getLogger("exporter.web").warning("odd", extra={"number": number})
        assert logs.suppressed() - before == 10
        logs.configure("info", "json", io.StringIO())
    assert "".join(capfd.readouterr()) == ""


def test_how_many_are_lost_is_told_in_the_format_of_the_others() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        logs.configure("info", "json", stream)
        for number in range(5000):
            logging.getLogger("exporter").info("x" * 100, extra={"number": number})
        os.set_blocking(reading, False)
        read = b""
        for _ in range(1000):
            logs.log_suppressed()
            read += reader.read() or b""
        logs.configure("info", "json", io.StringIO())
    shown = [json.loads(line) for line in read.splitlines()]
    assert sum(line.get("lines", 0) for line in shown) == 5000 - len(shown) + 1
