"""`comfycontrol-exporter status`: what it shows, whom it lets show what, and its exit codes."""

import io
import os
import pty
import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from exporter.cli import main
from exporter.commands.status import Way, console, show_status
from exporter.commands.terminal import page, span
from exporter.interfaces.views import AccountView, Belief, Budget, Failures, Overview, Plot, Problem

ACCOUNT = AccountView(
    name="studio",
    up=True,
    down_reason="",
    down_since=None,
    last_error="503: fault of the service",
    last_error_at=990.0,
    open={"queued": 3, "running": 1},
    streams=4,
    longest_waiting_id="a1b2",
    longest_waiting_since=900.0,
    outcomes={"completed": 8, "failed": 2},
    failures=(Failures("KSampler", "ValueError", 2, 0.2),),
    plots=(Plot("Completed", "count", 60.0, (None, 0.0, 1.0, 8.0)),),
    budget=Budget("x", 3, 30, 40, 10.0, 0.0),
    belief=Belief(1.0, 2.0, 0, 0),
)
FINE = Overview(1000.0, "1.2.3", "abc", 0.0, (), (ACCOUNT,))
STUCK = replace(FINE, problems=(Problem("critical", "studio", "Nothing starts.", "Look.", 700.0),))
WARNED = replace(FINE, problems=(Problem("warning", None, "Few.", ""),))


def test_one_of_each_is_told_in_the_singular() -> None:
    single = replace(
        ACCOUNT,
        open={"queued": 1},
        streams=1,
        unseen=1,
        outcomes={"failed": 1},
        failures=(Failures("KSampler", "ValueError", 1, 1.0),),
        budget=Budget("x", 1, 30, 40, 10.0, 0.0),
        belief=Belief(1.0, 2.0, 1, 1),
    )
    text = printed(replace(FINE, accounts=(single,)))
    assert "1 queued, 1 not seen yet; 1 stream" in text
    assert re.findall(r"\b1 [a-z]+s\b", text) == []


def printed(overview: Overview) -> str:
    out = io.StringIO()
    console(out).print(page(overview))
    return out.getvalue()


class Answers(BaseHTTPRequestHandler):
    body: ClassVar[bytes]
    code: ClassVar[int] = 200
    asked: ClassVar[list[tuple[str, str | None]]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.code)
        if 300 <= self.code < 400:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def answering(overview: Overview | bytes, code: int = 200) -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    body = overview if isinstance(overview, bytes) else TypeAdapter(Overview).dump_json(overview)
    handler = type("H", (Answers,), {"body": body, "code": code, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_it_shows_what_the_first_page_does() -> None:
    shown = printed(STUCK)
    for text in (
        "1.2.3, up for 16 min 40 s",
        "critical: studio: Nothing starts. (for 5 min 0 s) Look.",
        "3 queued, 1 running; 4 streams",
        "a1b2, 1 min 40 s",
        "8 completed, 2 failed",
        "KSampler, ValueError: 2 (20%)",
        "· ▁█ 9, at most 8 a minute",
        "503: fault of the service, 10 s ago",
        "3 of 30 in 10 s",
        "list read completely 2.0 s ago",
    ):
        assert text in shown
    assert "No problems" in printed(FINE)


@given(
    st.text(max_size=60) | st.sampled_from(["\x1b[31m", "\x9b2J", "a\rb", "\u202eabc", "[red]x"])
)
def test_nothing_foreign_is_an_escape(text: str) -> None:
    hostile = replace(
        ACCOUNT,
        name=text,
        up=False,
        down_reason=text,
        last_error=text,
        open={text: 1},
        outcomes={text: 1},
        longest_waiting_id=text,
        failures=(Failures(text, text, 1, 1.0),),
        plots=(Plot(text, "seconds", 60.0, (1e300, float("nan"))),),
    )
    problem = Problem("warning", text, text, text)
    shown = printed(replace(FINE, version=text, problems=(problem,), accounts=(hostile,)))
    assert {c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}} == {"\n"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.21, "3.2 s"),
        (59, "59 s"),
        (3720, "1 h 2 min"),
        (90_000, "1 d 1 h"),
        (-3, "0 s"),
        (float("nan"), "-"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("overview", "code"), [(FINE, 0), (WARNED, 0), (STUCK, 2)])
def test_its_exit_code(overview: Overview, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(overview) as (url, asked):
        assert main(["status", f"{url}/behind/a/proxy/"]) == code
    assert asked == [("/behind/a/proxy/api/v1/accounts", None)]
    assert "studio" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"", 401, "the password is missing or wrong"),
        (b"", 404, "nothing found there"),
        (b"", 302, "it answers 302"),
        (b"", 503, "it answers 503"),
        (b"<html>", 200, "the answer is not from this exporter"),
        (b'{"at": 1}', 200, "the answer is not from this exporter"),
    ],
)
def test_what_is_no_answer_says_why(
    body: bytes, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(body, code) as (url, asked):
        assert main(["status", url]) == 1
    assert says in capsys.readouterr().err
    assert len(asked) == 1
    assert main(["status", url]) == 1
    assert "no answer" in capsys.readouterr().err


def test_the_password_is_shown_to_the_exporter_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text("s3cret-words\n")
    with answering(b"", 401) as (url, asked):
        arguments = ["status", url, "--user=alice"]
        assert main([*arguments, f"--password-file={tmp_path / 'password'}"]) == 1
        monkeypatch.setenv("COMFYCONTROL_EXPORTER_PASSWORD", "s3cret-words")
        assert main(arguments) == 1
        assert main([*arguments, f"--password-file={tmp_path / 'none'}"]) == 1
    assert asked == [("/api/v1/accounts", "Basic YWxpY2U6czNjcmV0LXdvcmRz")] * 2
    told = "".join(capsys.readouterr())
    assert "s3cret" not in told
    assert "No such file" in told


def test_a_certificate_that_cannot_be_used_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca").write_text("nonsense")
    assert main(["status", "https://localhost:1", f"--ca={tmp_path / 'ca'}"]) == 1
    assert main(["status", "https://localhost:1", f"--ca={tmp_path / 'none'}"]) == 1
    told = capsys.readouterr().err
    assert "certificates cannot be used" in told
    assert "certificates cannot be read: No such file" in told


def test_in_a_terminal_it_goes_on_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([None, None, KeyboardInterrupt()])

    def rest(_: float) -> None:
        ended = next(looks)
        if ended is not None:
            raise ended

    monkeypatch.setattr("exporter.commands.status.time.sleep", rest)
    leader, follower = pty.openpty()
    heard: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                more = os.read(leader, 4096)
            except OSError:
                return
            heard.append(more)

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    with answering(STUCK) as (url, asked), os.fdopen(follower, "w") as out:
        assert show_status(Way(url), out) == 2
    reader.join(5)
    os.close(leader)
    assert len(asked) == 3
    assert b"Nothing starts." in b"".join(heard)
