"""What the end of a stream or a refusal means, and what follows: every branch, as a table."""

from dataclasses import replace

import pytest

from exporter.comfycontrol import (
    AbortedError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    StreamEnding,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.following.ending import (
    Answering,
    Next,
    Refusal,
    StreamLife,
    after_refusal,
    after_stream,
    answered_usably,
    is_believed,
    reason_of,
    reason_of_refusal,
    refused_again,
)
from exporter.interfaces.telemetry import StreamEnd

EOF, CUT = StreamEnding.EOF, StreamEnding.CUT
SILENT, OVERSIZE, ABORTED = StreamEnding.SILENT, StreamEnding.OVERSIZE, StreamEnding.ABORTED

BRIEF = StreamLife(ending=EOF, settled=False, updates=3, malformed=0, seconds=6.0, stopped=False)


@pytest.mark.parametrize(
    ("life", "reason"),
    [
        # A final status was seen: whatever the bytes did, it is over.
        (replace(BRIEF, settled=True, ending=None), "finished"),
        (replace(BRIEF, settled=True, ending=EOF), "finished"),
        (replace(BRIEF, settled=True, ending=CUT), "finished"),
        (replace(BRIEF, settled=True, stopped=True), "finished"),
        # From our side.
        (replace(BRIEF, stopped=True, ending=None), "shutdown"),
        (replace(BRIEF, stopped=True, ending=EOF), "shutdown"),
        (replace(BRIEF, stopped=True, ending=SILENT), "shutdown"),
        (replace(BRIEF, ending=ABORTED), "shutdown"),
        (replace(BRIEF, ending=ABORTED, updates=120, seconds=240.0), "shutdown"),
        # Nothing in it could be read.
        (replace(BRIEF, ending=OVERSIZE), "malformed"),
        (replace(BRIEF, ending=OVERSIZE, updates=120), "malformed"),
        (replace(BRIEF, ending=EOF, updates=0, malformed=1), "malformed"),
        (replace(BRIEF, ending=CUT, updates=0, malformed=1), "malformed"),
        (replace(BRIEF, ending=SILENT, updates=0, malformed=9), "malformed"),
        (replace(BRIEF, ending=EOF, updates=0, malformed=120, seconds=240.0), "malformed"),
        # A few malformed snapshots among good ones decide nothing.
        (replace(BRIEF, ending=EOF, updates=1, malformed=9), "dropped"),
        (replace(BRIEF, ending=EOF, updates=111, malformed=9), "limit"),
        # Silence.
        (replace(BRIEF, ending=SILENT), "silent"),
        (replace(BRIEF, ending=SILENT, updates=0), "silent"),
        (replace(BRIEF, ending=SILENT, updates=119, seconds=238.0), "silent"),
        # The service's limit, by updates or by time, however the bytes ended.
        (replace(BRIEF, ending=EOF, updates=120, seconds=240.0), "limit"),
        (replace(BRIEF, ending=CUT, updates=120, seconds=240.0), "limit"),
        (replace(BRIEF, ending=EOF, updates=110, seconds=2.0), "limit"),
        (replace(BRIEF, ending=EOF, updates=60, seconds=225.0), "limit"),
        # Everything else, a clean end as well.
        (replace(BRIEF, ending=EOF), "dropped"),
        (replace(BRIEF, ending=CUT), "dropped"),
        (replace(BRIEF, ending=EOF, updates=0), "dropped"),
        (replace(BRIEF, ending=EOF, updates=109, seconds=224.9), "dropped"),
    ],
)
def test_reason_of(life: StreamLife, reason: StreamEnd) -> None:
    assert reason_of(life) == reason


@pytest.mark.parametrize(
    ("reason", "action"),
    [
        ("finished", "done"),
        ("shutdown", "done"),
        ("limit", "reconnect"),
        ("dropped", "back_off"),
        ("silent", "back_off"),
        ("malformed", "back_off"),
        ("refused", "back_off"),
    ],
)
def test_after_stream(reason: StreamEnd, action: str) -> None:
    assert after_stream(reason).action == action


@pytest.mark.parametrize(
    ("error", "believed", "then", "reason"),
    [
        (BadRequestError("", code="400"), False, Next("back_off"), "refused"),
        (BadRequestError("", code="400"), True, Next("drop", "malformed"), "refused"),
        (UnauthorizedError("", code="401"), False, Next("reconnect"), "refused"),
        (UnauthorizedError("", code="error"), False, Next("reconnect"), "refused"),
        (UnauthorizedError("", code="401"), True, Next("reconnect"), "refused"),
        (ForbiddenError("", code="403"), False, Next("back_off"), "refused"),
        (ForbiddenError("", code="403"), True, Next("drop", "forbidden"), "refused"),
        (NotFoundError("", code="404"), False, Next("back_off"), "refused"),
        (NotFoundError("", code="404"), True, Next("drop", "not_found"), "refused"),
        (RateLimitedError("", code="429"), False, Next("reconnect"), "refused"),
        (RateLimitedError("", code="429", retry_after=3600.0), False, Next("reconnect"), "refused"),
        (ServerFaultError("", code="500"), False, Next("back_off"), "refused"),
        (ServerFaultError("", code="500"), True, Next("back_off"), "refused"),
        # An edge's page in the place of the service's own refusal.
        (ServerFaultError("", code="404"), True, Next("back_off"), "refused"),
        (
            ServerFaultError("", code="503", retry_after=7.0),
            False,
            Next("back_off", at_least=7.0),
            "refused",
        ),
        (
            ServerFaultError("", code="404", retry_after=7.0),
            False,
            Next("back_off", at_least=7.0),
            "refused",
        ),
        (RedirectedError("", code="302"), False, Next("back_off"), "refused"),
        (UnusableError("", code="200"), False, Next("back_off"), "refused"),
        (UnreachableError("", reason="connect"), False, Next("back_off"), "dropped"),
        (UnreachableError("", reason="timeout"), False, Next("back_off"), "dropped"),
        (ServiceError(""), False, Next("back_off"), "refused"),
        (AbortedError(""), False, Next("done"), "shutdown"),
        (AbortedError(""), True, Next("done"), "shutdown"),
    ],
)
def test_a_request_that_brought_no_answer_of_use(
    error: ServiceError, believed: bool, then: Next, reason: StreamEnd
) -> None:
    assert after_refusal(error, believed=believed) == then
    assert reason_of_refusal(error) == reason


@pytest.mark.parametrize(
    ("since", "count", "seen", "answering", "believed"),
    [
        # Nobody ever saw it: after the grace, however the account is answered otherwise.
        (0.0, 1, False, None, False),
        (29.9, 5, False, Answering(0.0, 1000.0), False),
        (30.0, 2, False, None, True),
        (30.0, 2, False, Answering(0.0, 1000.0), True),
        # It was seen: only when it lasts.
        (30.0, 9, True, Answering(0.0, 1000.0), False),
        (599.9, 9, True, Answering(0.0, 1000.0), False),
        (600.0, 3, True, Answering(0.0, 1000.0), True),
        # Not on two answers, which may lie far apart.
        (900.0, 2, True, Answering(0.0, 1000.0), False),
        # Not while nothing else is answered.
        (900.0, 99, True, None, False),
        (900.0, 99, True, Answering(0.0, 600.0), False),
        (900.0, 99, True, Answering(0.0, 700.0), True),
        # Nor is the time counted in which nothing else was.
        (900.0, 99, True, Answering(401.0, 1000.0), False),
        (900.0, 99, True, Answering(400.0, 1000.0), True),
    ],
)
def test_when_a_refusal_is_believed(
    since: float, count: int, seen: bool, answering: Answering | None, believed: bool
) -> None:
    """Now is 1000; `since` says how many seconds ago the first of them was."""
    refusal = Refusal(since=1000.0 - since, latest=1000.0, count=count)
    assert is_believed(refusal, seen=seen, answering=answering, now=1000.0) is believed


def test_a_sight_of_it_begins_the_refusals_again() -> None:
    first = refused_again(None, 90.0, 100.0)
    assert first == Refusal(100.0, 100.0, 1)
    second = refused_again(first, 90.0, 200.0)
    assert second == Refusal(100.0, 200.0, 2)
    assert refused_again(second, 250.0, 300.0) == Refusal(300.0, 300.0, 1)


def test_a_gap_in_the_answers_begins_them_again() -> None:
    answering = answered_usably(answered_usably(None, 100.0), 400.0)
    assert answering == Answering(100.0, 400.0)
    assert answered_usably(answering, 700.1) == Answering(700.1, 700.1)


def test_hundreds_that_were_deleted_are_asked_for_four_times_each() -> None:
    refusal, asked = Refusal(0.0, 0.0), [0.0]
    while refusal.latest < 600.0:
        refusal = refused_again(refusal, None, refusal.quiet_until())
        asked.append(refusal.latest)
    assert asked == [0.0, 100.0, 300.0, 600.0]
