"""Whether an account is up, as its answers say."""

import pytest

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    ForbiddenError,
    NotFoundError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.following.answers import (
    GRACE_SECONDS,
    HOLD_SECONDS,
    SETTLED_SECONDS,
    Answers,
    DownReason,
    cause_of,
)

FAULT = ServerFaultError("", code="503")
REFUSED = UnauthorizedError("", code="401")
LIST, POLL, STREAM = Priority.LIST_FIRST_PAGE, Priority.POLL, Priority.NEW_STREAM


def listed() -> Answers:
    answers = Answers()
    answers.need_list(needed=True)
    answers.usable(LIST, 0.0)
    return answers


def test_one_bad_answer_is_no_outage() -> None:
    answers = listed()
    answers.failed(LIST, FAULT, 5.0)
    assert answers.health(5.0 + GRACE_SECONDS - 0.1).up
    answers.usable(LIST, 34.9)
    assert answers.health(10_000.0).up


def test_it_is_down_once_what_it_needs_has_failed_for_a_while_and_nobody_needs_to_ask() -> None:
    answers = listed()
    answers.failed(LIST, FAULT, 5.0)
    health = answers.health(5.0 + GRACE_SECONDS)
    assert (health.up, health.down_since, health.cause) == (False, 5.0, "server_errors")
    assert not health.is_blind(5.0 + GRACE_SECONDS)
    assert health.is_blind(5.1 + GRACE_SECONDS)


def test_a_refused_token_brings_it_down_at_once() -> None:
    answers = listed()
    answers.failed(STREAM, REFUSED, 5.0, refused=True)
    health = answers.health(5.0)
    assert (health.up, health.down_since, health.cause) == (False, 5.0, "token_refused")


def test_one_lucky_answer_ends_no_outage() -> None:
    answers = listed()
    for now in range(5, 100, 5):
        answers.failed(LIST, FAULT, float(now))
    answers.usable(LIST, 100.0)
    assert not answers.health(101.0).up
    answers.failed(LIST, FAULT, 105.0)
    health = answers.health(105.0 + SETTLED_SECONDS)
    assert (health.up, health.down_since) == (False, 5.0)


@pytest.mark.parametrize("second", [105.0, None])
def test_two_usable_answers_or_one_that_stands_end_it(second: float | None) -> None:
    answers = listed()
    answers.failed(LIST, FAULT, 5.0)
    answers.health(50.0)
    answers.usable(LIST, 100.0)
    if second is not None:
        answers.usable(LIST, second)
        assert answers.health(second).up
    else:
        assert not answers.health(99.9 + SETTLED_SECONDS).up
        assert answers.health(100.0 + SETTLED_SECONDS).up


def test_a_bad_first_answer_says_that_it_is_down_and_a_good_one_that_it_is_not() -> None:
    answers = Answers()
    assert answers.health(0.0).up is None
    answers.failed(STREAM, FAULT, 1.0)
    assert answers.health(1.0).up is False
    answers.usable(STREAM, 2.0)
    assert answers.health(2.0).up


def test_a_listed_account_needs_its_list_alone() -> None:
    answers = listed()
    for now in range(0, 1000, 5):
        answers.usable(LIST, float(now))
        answers.failed(STREAM, FAULT, now + 1.0)
        assert answers.health(now + 4.9).up, now
    for now in range(1000, 2000, 5):
        answers.failed(LIST, FAULT, float(now))
        answers.usable(STREAM, now + 1.0)
    health = answers.health(2000.0)
    assert (health.up, health.down_since, health.usable_at) == (False, 1000.0, 1996.0)


@pytest.mark.parametrize("wait", [5.0, 120.0])
def test_without_a_list_it_is_up_while_polls_answer_and_streams_are_refused(wait: float) -> None:
    answers = Answers()
    answers.usable(POLL, 0.0)
    now, next_poll = 0.0, wait
    while now < 3000.0:
        now += 5.0
        answers.failed(STREAM, FAULT, now)
        if now >= next_poll:
            answers.usable(POLL, now)
            next_poll += wait
        assert answers.health(now).up, now


def test_without_a_list_it_is_up_while_streams_open_and_polls_are_refused() -> None:
    answers = Answers()
    answers.usable(STREAM, 0.0)
    for now in range(5, 3000, 5):
        answers.failed(POLL, FAULT, float(now))
        if now % 100 == 0:
            answers.usable(STREAM, float(now))
        assert answers.health(float(now)).up, now


def test_what_was_answered_long_ago_speaks_for_nothing() -> None:
    answers = Answers()
    answers.usable(Priority.CAUSE, 0.0)
    for now in range(10, 400, 5):
        answers.failed(STREAM, FAULT, float(now))
    assert answers.health(400.0).down_since == HOLD_SECONDS


def test_the_cause_is_that_of_the_latest_bad_answer() -> None:
    answers = listed()
    for now in range(5, 600, 5):
        answers.failed(LIST, REFUSED, float(now), refused=True)
    for now in range(600, 900, 5):
        answers.usable(LIST, float(now))
    assert answers.health(900.0).cause is None
    for now in range(900, 960, 5):
        answers.failed(LIST, FAULT, float(now))
    assert answers.health(960.0).cause == "server_errors"
    answers.failed(LIST, UnreachableError("", reason="connect"), 961.0)
    assert answers.health(961.0).cause == "no_answer"
    # What is not needed says nothing of it.
    answers.failed(STREAM, NotFoundError("", code="404"), 962.0)
    assert answers.health(962.0).cause == "no_answer"


def test_an_account_that_is_listed_no_more_needs_its_list_no_more() -> None:
    answers = listed()
    answers.failed(LIST, FAULT, 5.0)
    answers.usable(STREAM, 6.0)
    assert not answers.health(100.0).up
    answers.need_list(needed=False)
    assert answers.health(100.0).up


def test_what_is_compared_at_leisure_is_not_needed() -> None:
    answers = listed()
    for now in range(5, 600, 5):
        answers.failed(Priority.RECONCILE, FAULT, float(now))
        answers.usable(LIST, float(now))
    assert answers.health(600.0).up


def test_after_the_last_request_nothing_changes() -> None:
    answers = Answers()
    answers.usable(STREAM, 0.0)
    assert answers.health(1e6).up
    answers.failed(STREAM, FAULT, 1e6)
    assert not answers.health(2e6).up
    answers.usable(STREAM, 3e6)
    assert answers.health(4e6).up


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (REFUSED, "token_refused"),
        (UnauthorizedError("", code="error"), "token_refused"),
        (ForbiddenError("", code="403"), "not_listed"),
        (NotFoundError("", code="404"), "not_listed"),
        (ServerFaultError("", code="500"), "server_errors"),
        (ServerFaultError("", code="403"), "unusable"),
        (RedirectedError("", code="302"), "unusable"),
        (UnusableError("", code="200"), "unusable"),
        (UnreachableError("", reason="broken", code="200"), "unusable"),
        (UnreachableError("", reason="dns"), "no_answer"),
    ],
)
def test_causes(error: ServiceError, cause: DownReason) -> None:
    assert cause_of(error) == cause


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnauthorizedError("list: x", code="401"), "its token is refused (401)"),
        (UnauthorizedError("list: x", code="error"), "its token cannot be sent"),
        (ForbiddenError("list: x", code="403"), "its list is refused (403)"),
        (NotFoundError("list: x", code="404"), "there is no list at its address (404)"),
        (
            RedirectedError("x", code="302"),
            "its address sends elsewhere (302), which is not followed",
        ),
        (ServerFaultError("x", code="503"), "the service fails (503)"),
        (ServerFaultError("x", code="404"), "something before the service refuses (404)"),
        (
            UnreachableError("list: the name of the host could not be resolved", reason="dns"),
            "the name of the host could not be resolved",
        ),
        (UnreachableError("", reason="tls"), "no usable answer (error)"),
    ],
)
def test_why_an_account_is_down_is_told_in_words(error: ServiceError, says: str) -> None:
    answers = Answers()
    answers.need_list(needed=True)
    answers.failed(STREAM, error, 1.0)
    answers.usable(LIST, 1.0)
    assert answers.health(1.0).reason is None
    answers.failed(LIST, error, 2.0)
    assert answers.health(2.0 + GRACE_SECONDS).reason == says
