"""What the end of a stream means, and what follows: every branch, as a table."""

from dataclasses import replace
from math import inf

import pytest

from exporter.comfycontrol import (
    Aborted,
    BadRequest,
    Forbidden,
    NotFound,
    RateLimited,
    Redirected,
    ServerFault,
    ServiceError,
    StreamEnding,
    Unauthorized,
    Unreachable,
    Unusable,
)
from exporter.following.ending import (
    Next,
    StreamLife,
    after_refusal,
    after_stream,
    reason_of,
    reason_of_refusal,
)
from exporter.following.telemetry import StreamEnd

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
    ("error", "not_found_for", "then", "reason"),
    [
        (BadRequest("", code="400"), 0.0, Next("give_up", "malformed"), "refused"),
        (Unauthorized("", code="401"), 0.0, Next("reconnect"), "refused"),
        (Unauthorized("", code="error"), 0.0, Next("reconnect"), "refused"),
        (Forbidden("", code="403"), 0.0, Next("give_up", "forbidden"), "refused"),
        (NotFound("", code="404"), 0.0, Next("back_off"), "refused"),
        (NotFound("", code="404"), 29.9, Next("back_off"), "refused"),
        (NotFound("", code="404"), 30.0, Next("give_up", "not_found"), "refused"),
        (NotFound("", code="404"), inf, Next("give_up", "not_found"), "refused"),
        (RateLimited("", code="429"), 0.0, Next("reconnect"), "refused"),
        (RateLimited("", code="429", retry_after=3600.0), 0.0, Next("reconnect"), "refused"),
        (ServerFault("", code="500"), 0.0, Next("back_off"), "refused"),
        (
            ServerFault("", code="503", retry_after=7.0),
            0.0,
            Next("back_off", at_least=7.0),
            "refused",
        ),
        (
            NotFound("", code="404", retry_after=7.0),
            0.0,
            Next("back_off", at_least=7.0),
            "refused",
        ),
        (Redirected("", code="302"), 0.0, Next("back_off"), "refused"),
        (Unusable("", code="200"), 0.0, Next("back_off"), "refused"),
        (Unreachable("", reason="connect"), 0.0, Next("back_off"), "dropped"),
        (Unreachable("", reason="timeout"), 0.0, Next("back_off"), "dropped"),
        (ServiceError(""), 0.0, Next("back_off"), "refused"),
        (Aborted(""), 0.0, Next("done"), "shutdown"),
    ],
)
def test_a_stream_that_could_not_be_opened(
    error: ServiceError, not_found_for: float, then: Next, reason: StreamEnd
) -> None:
    assert after_refusal(error, not_found_for) == then
    assert reason_of_refusal(error) == reason
