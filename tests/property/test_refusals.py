"""Refusals of ids, at any times, between observations and other answers of any kind."""

from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ServerFaultError,
    ServiceError,
)
from exporter.following.ending import Next
from exporter.following.refusals import Refusals
from exporter.interfaces.observations import DropReason, Moment, OpenWorkflow, Removed, Status
from exporter.ledger.workflow import Workflow

ID = "00000000-0000-4000-8000-000000000001"

Event = Literal["refused", "edge", "seen", "usable"]

REFUSED: dict[DropReason, ServiceError] = {
    "not_found": NotFoundError("", code="404"),
    "forbidden": ForbiddenError("", code="403"),
    "malformed": BadRequestError("", code="400"),
}


@dataclass
class Register:
    """Knows one workflow, and notes when it is dropped."""

    last_seen: Moment | None = None
    dropped: list[Removed] = field(default_factory=list)

    def open_workflow(self, account: str, workflow_id: str) -> OpenWorkflow:
        return Workflow(
            account,
            workflow_id,
            "pushed",
            Moment(0.0, 0.0),
            status=None if self.last_seen is None else Status.RUNNING,
            last_seen=self.last_seen,
        )

    def is_open(self, account: str, workflow_id: str) -> bool:
        return not self.dropped

    def drop(self, given: Removed) -> None:
        self.dropped.append(given)


steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 5.0, 29.0, 45.0, 130.0, 299.0, 301.0, 600.0]),
        st.sampled_from(["refused", "refused", "edge", "seen", "usable", "usable"]),
        st.sampled_from(sorted(REFUSED)),
    ),
    max_size=60,
)


def judged(refusals: Refusals, register: Any, error: ServiceError, at: Moment) -> Next:
    """What follows a refusal; the id is dropped if that is it."""
    then = refusals.judge(register, "studio", ID, error, at.monotonic)
    if then.drop_reason is not None:
        register.drop(Removed("studio", ID, then.drop_reason, at))
    return then


@given(steps=steps, begins_seen=st.booleans())
def test_what_was_seen_goes_only_on_what_lasts_and_is_its_own(
    steps: list[tuple[float, Event, DropReason]], begins_seen: bool
) -> None:
    register: Any = Register(Moment(0.0, 0.0) if begins_seen else None)
    refusals = Refusals()
    now = 0.0
    refused_at: list[float] = []
    usable_at: list[float] = []
    for pause, event, reason in steps:
        now += pause
        at = Moment(now, now)
        if event == "usable":
            refusals.answered(now)
            usable_at.append(now)
        elif event == "seen":
            register.last_seen = at
            refused_at = []
        else:
            error = REFUSED[reason] if event == "refused" else ServerFaultError("", code="403")
            then = judged(refusals, register, error, at)
            if event == "edge":
                assert then.action == "back_off"
                continue
            refused_at.append(now)
            assert (then.action == "drop") is bool(register.dropped)
        if not register.dropped:
            continue
        assert register.dropped == [Removed("studio", ID, reason, at)]
        lasted = now - refused_at[0]
        if register.last_seen is None:
            assert lasted >= 30
            return
        assert lasted >= 600
        assert len(refused_at) >= 3
        # Others were answered usably all along: never for five minutes were they not.
        since = now - 600
        answers = [each for each in usable_at if each >= since - 300]
        assert all(b - a <= 300 for a, b in zip([*answers], [*answers[1:], now], strict=True))
        assert answers
        assert answers[0] <= since
        return


@given(
    storm=st.lists(st.sampled_from([1.0, 10.0, 60.0, 240.0]), min_size=1, max_size=200),
    before=st.floats(0, 1000),
)
def test_what_all_get_at_once_drops_nothing_that_was_seen(
    storm: list[float], before: float
) -> None:
    """However long it lasts, and however well the account was answered until then."""
    register: Any = Register(Moment(0.0, 0.0))
    refusals = Refusals()
    refusals.answered(0.0)
    refusals.answered(before / 4)
    now = before
    for number, pause in enumerate(storm):
        now += pause
        judged(refusals, register, REFUSED["not_found"], Moment(now, now))
        if number == 0:
            refusals.answered(now)  # one that was under way already
    assert not register.dropped


@given(every=st.sampled_from([1.0, 15.0, 60.0, 120.0, 240.0]), begins_seen=st.booleans())
def test_what_is_gone_is_dropped_in_the_end(every: float, begins_seen: bool) -> None:
    register: Any = Register(Moment(0.0, 0.0) if begins_seen else None)
    refusals = Refusals()
    now = 1.0
    while not register.dropped:
        refusals.answered(now)
        judged(refusals, register, REFUSED["not_found"], Moment(now, now))
        now += every
        assert now < 1500
