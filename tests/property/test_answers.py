"""Drawn answers: an account goes down and up for a reason, and never to and fro."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServerFaultError
from exporter.following.answers import GRACE_SECONDS, Answers

NEEDED = {True: [Priority.LIST_FIRST_PAGE], False: [Priority.POLL, Priority.NEW_STREAM]}
OTHERS = {True: [Priority.POLL, Priority.NEW_STREAM, Priority.CAUSE], False: [Priority.RECONCILE]}

Answer = tuple[Priority, bool, float]
"""What was asked for, whether it was answered usably, and how many seconds later."""


def answers(listed: bool) -> st.SearchStrategy[list[Answer]]:
    purposes = st.sampled_from(NEEDED[listed] + OTHERS[listed])
    return st.lists(st.tuples(purposes, st.booleans(), st.floats(0.0, 40.0)), max_size=60)


@given(st.booleans().flatmap(lambda listed: st.tuples(st.just(listed), answers(listed))))
def test_it_changes_only_for_a_reason(drawn: tuple[bool, list[Answer]]) -> None:
    listed, given_ = drawn
    account, now, was_up = Answers(), 0.0, None
    account.need_list(needed=listed)
    account.usable(NEEDED[listed][0], now)
    usable_at = went_down_at = 0.0
    for priority, usable, later in given_:
        now += later
        if usable:
            account.usable(priority, now)
            usable_at = now if priority in NEEDED[listed] else usable_at
        else:
            account.failed(priority, ServerFaultError("", code="503"), now)
        health = account.health(now)
        assert (health.cause is None) is (health.down_since is None) is health.up
        if health.up is not was_up:
            if health.up is False and was_up is not None:
                assert health.down_since is not None
                assert now - health.down_since >= GRACE_SECONDS
            if health.up and was_up is False:
                assert usable_at >= went_down_at
            went_down_at = now
        was_up = health.up


@given(
    st.booleans(),
    st.lists(st.floats(0.1, GRACE_SECONDS / 3), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_what_answers_often_enough_never_goes_down(
    listed: bool, gaps: list[float], others: list[bool]
) -> None:
    account, now = Answers(), 0.0
    account.need_list(needed=listed)
    for gap, other in zip(gaps, others, strict=False):
        account.usable(NEEDED[listed][0], now)
        for priority in OTHERS[listed] + NEEDED[listed][1:]:
            if other:
                account.failed(priority, ServerFaultError("", code="503"), now)
        # The needed one itself is refused in between, time and again.
        account.failed(NEEDED[listed][0], ServerFaultError("", code="503"), now + gap / 2)
        now += gap
        assert account.health(now).up
