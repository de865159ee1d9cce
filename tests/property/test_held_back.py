"""Whatever answers come, nobody asks before the service said that they may."""

from dataclasses import dataclass
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.following.held_back import HeldBack

OF_ONE_ID = (BadRequestError, NotFoundError, ForbiddenError)
OF_THE_SERVICE = (ServerFaultError, RedirectedError, UnusableError)


@dataclass(frozen=True)
class Answer:
    gap: float
    """Seconds since the answer before."""
    error: ServiceError
    about_one: bool


def error(kind: type[ServiceError], seconds: float | None) -> ServiceError:
    return kind("", code="503", retry_after=seconds)


answers = st.lists(
    st.builds(
        Answer,
        gap=st.floats(0, 100),
        error=st.one_of(
            st.builds(
                error,
                st.sampled_from([*OF_ONE_ID, *OF_THE_SERVICE, UnauthorizedError, RateLimitedError]),
                st.none() | st.floats(0, 3600),
            ),
            st.just(UnreachableError("", reason="connect")),
        ),
        about_one=st.booleans(),
    ),
    max_size=20,
)


@given(answers)
def test_each_answer_holds_back_whom_it_is_about(answers: list[Answer]) -> None:
    held_back = HeldBack()
    all_until, singles_until = -inf, -inf
    now = 0.0
    for answer in answers:
        now += answer.gap
        held_back.note(answer.error, now, about_one=answer.about_one)
        if answer.error.retry_after is not None and not isinstance(answer.error, RateLimitedError):
            until = now + answer.error.retry_after
            if not answer.about_one or isinstance(answer.error, UnauthorizedError):
                all_until = max(all_until, until)
            elif isinstance(answer.error, OF_THE_SERVICE):
                singles_until = max(singles_until, until)
        assert held_back.until(about_one=False) == all_until
        assert held_back.until(about_one=True) == max(all_until, singles_until)


@given(answers, st.booleans())
def test_no_answer_shortens_a_wait_and_none_is_for_ever(
    answers: list[Answer], about_one: bool
) -> None:
    held_back = HeldBack()
    now = 0.0
    for answer in answers:
        now += answer.gap
        before = held_back.until(about_one=about_one)
        held_back.note(answer.error, now, about_one=answer.about_one)
        assert before <= held_back.until(about_one=about_one) <= now + 3600
