"""Which snapshots of a stream are told to the ledger, and which only say that it was seen again."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.app.maintenance import EXPIRY_SECONDS
from exporter.comfycontrol import Cause, NewSnapshot, RepeatedSnapshot, Snapshot
from exporter.config import Listing
from exporter.following.reading import (
    REPORT_SECONDS,
    RUNNING_REPORT_SECONDS,
    StreamReading,
    says_the_same,
)
from exporter.interfaces.observations import Moment, Observation, Status
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.tracker import START_UNCERTAINTY_SECONDS
from exporter.ledger.workflow import Workflow
from exporter.metrics.reading import POSITION_FRESH_SECONDS

BEGAN = Moment(1_700_000_000.0, 100.0)
RULES = CountingRules(cutoff=0.0, listed=True)

STATUSES = st.sampled_from(
    ["accepted", "queued", "Queued", "running", "completed", "failed", "invalid", "paused"]
)
STAMPS = st.none() | st.sampled_from([BEGAN.wall + 1.0, BEGAN.wall + 2.0])
SNAPSHOTS = st.builds(
    Snapshot,
    status=STATUSES,
    queue_number=st.none() | st.integers(0, 2),
    outputs=st.none() | st.integers(0, 1),
    cause=st.none() | st.just(Cause("KSampler", None)),
    started_at=STAMPS,
    completed_at=STAMPS,
)


def observation(snapshot: Snapshot, at: Moment) -> Observation:
    return Observation(
        account="studio",
        workflow_id="w1",
        via="stream",
        at=at,
        status=snapshot.status,
        queue_position=snapshot.queue_number,
        started_at=snapshot.started_at,
        completed_at=snapshot.completed_at,
        cause=snapshot.cause,
        outputs=snapshot.outputs,
    )


@given(first=SNAPSHOTS, one=SNAPSHOTS, other=SNAPSHOTS, status=STATUSES, number=st.integers(0, 2))
def test_snapshots_that_say_the_same_leave_the_same_behind(
    first: Snapshot, one: Snapshot, other: Snapshot, status: str, number: int
) -> None:
    """For any workflow that was seen before: the same row, and the same facts."""
    known = tracker.observe(None, observation(first, BEGAN), RULES).workflow
    assert known is not None
    near = replace(one, queue_number=number)
    at = Moment(BEGAN.wall + 2, BEGAN.monotonic + 2)
    for second in (other, near, replace(near, status=status)):
        if says_the_same(one, second):
            assert took(known, one, at) == took(known, second, at)


def took(known: Workflow, snapshot: Snapshot, at: Moment) -> tracker.Change:
    return tracker.observe(known, observation(snapshot, at), RULES)


def test_a_position_counts_while_it_is_queued_alone() -> None:
    assert says_the_same(Snapshot("running", queue_number=1), Snapshot("running", queue_number=2))
    assert not says_the_same(Snapshot("queued", queue_number=1), Snapshot("queued", queue_number=2))


class Told:
    """A register and a telemetry that remember."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.now = BEGAN

    def snapshot_read(self, _account: str, result: str) -> None:
        self.read.append(result)

    def reading(self) -> StreamReading:
        access: Any = SimpleNamespace(account="studio", service_wall=lambda: None)
        telemetry: Any = self
        return StreamReading(access, telemetry, "w1", lambda: self.now)

    def after(self, seconds: float) -> Moment:
        self.now = Moment(BEGAN.wall + seconds, BEGAN.monotonic + seconds)
        return self.now


def new(status: str, **fields: Any) -> NewSnapshot:
    malformed = fields.pop("malformed", ())
    return NewSnapshot(Snapshot(status, **fields), malformed)


def test_what_says_the_same_is_told_with_the_next_that_says_more() -> None:
    told = Told()
    reading = told.reading()
    assert reading.is_news(new("running"), told.now.monotonic)
    list(reading.take(new("running")))
    told.after(2)
    assert not reading.is_news(new("running", queue_number=7), told.now.monotonic)
    latest = told.after(4)
    assert not reading.is_news(None, told.now.monotonic)
    told.after(6)
    assert reading.is_news(new("completed"), told.now.monotonic)
    again, end = [seen for seen in reading.take(new("completed")) if seen is not None]
    assert (again.status, again.at) == (Status.RUNNING, latest)
    assert (end.status, end.at) == (Status.COMPLETED, told.now)
    assert told.read == ["new", "new", "repeated", "new"]
    assert reading.updates == 4


@pytest.mark.parametrize(
    ("status", "seconds"), [("queued", REPORT_SECONDS), ("running", RUNNING_REPORT_SECONDS)]
)
def test_what_says_the_same_is_told_now_and_then(status: str, seconds: float) -> None:
    told = Told()
    reading = told.reading()
    list(reading.take(new(status)))
    told.after(seconds - 1)
    assert not reading.is_news(None, told.now.monotonic)
    told.after(seconds)
    assert reading.is_news(None, told.now.monotonic)
    list(reading.take(RepeatedSnapshot(Snapshot(status))))
    told.after(seconds + 1)
    assert not reading.is_news(None, told.now.monotonic)


def test_a_waiting_workflow_is_told_while_its_position_and_its_wait_still_count() -> None:
    # Two seconds go by from one snapshot of a stream to the next.
    assert min(POSITION_FRESH_SECONDS, START_UNCERTAINTY_SECONDS) > REPORT_SECONDS + 2


def test_a_running_workflow_is_told_before_it_counts_as_unseen() -> None:
    shortest = Listing.model_validate({"interval": "5s", "lookback": "1m"}).lookback
    with pytest.raises(ValidationError):
        Listing.model_validate({"interval": "5s", "lookback": f"{shortest - 1:g}s"})
    assert shortest > RUNNING_REPORT_SECONDS + EXPIRY_SECONDS


def test_what_may_be_an_end_or_lacks_a_field_is_told_each_time() -> None:
    reading = Told().reading()
    for status in ("completed", "invalid", "paused"):
        list(reading.take(new(status)))
        assert reading.is_news(None, BEGAN.monotonic)
        assert reading.is_news(new(status), BEGAN.monotonic)
    list(reading.take(new("running")))
    assert reading.is_news(new("running", malformed=("cause",)), BEGAN.monotonic)


def test_what_is_settled_meanwhile_is_told_at_once() -> None:
    reading = Told().reading()
    list(reading.take(new("running")))
    reading.is_open = lambda: False
    assert reading.is_news(None, BEGAN.monotonic)
