"""Workflows that are streamed here for the replica that counts them."""

from dataclasses import replace

from exporter.app.handing_back import read, written
from exporter.comfycontrol import Cause
from exporter.following.borrowing import AGAIN_SECONDS, BorrowedWorkflows
from exporter.interfaces.observations import Moment, Observation, Removed, Status
from exporter.ledger.lending import Borrowed

ONE, TWO = "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "a1b2c3d4-e5f6-7890-abcd-ef1234567891"


class Clock:
    """Both clocks, which stand still."""

    monotonic = 50.0

    def __call__(self) -> Moment:
        return Moment(1_700_000_000 + self.monotonic, self.monotonic)


def lent(workflow_id: str, epoch: int = 1) -> Borrowed:
    return Borrowed("studio", workflow_id, "listing", Status.RUNNING, None, Clock()(), epoch)


def seen(status: str, workflow_id: str = ONE) -> Observation:
    return Observation("studio", workflow_id, "stream", Clock()(), status)


def borrowed(clock: Clock) -> BorrowedWorkflows:
    made = BorrowedWorkflows("studio", clock)
    made.lend({ONE: lent(ONE), TWO: lent(TWO)}, 1)
    return made


def test_what_is_seen_is_put_aside_once_and_in_order() -> None:
    workflows = borrowed(Clock())
    assert workflows.observe(seen("queued"))
    assert workflows.observe(seen("running", TWO))
    untold = workflows.take_untold()
    assert [one.status for one in untold] == ["queued", "running"]
    assert not workflows.take_untold()
    workflows.observe(seen("completed"))
    workflows.put_back(untold)
    assert [one.status for one in workflows.take_untold()] == ["queued", "running", "completed"]


def test_what_is_over_is_streamed_no_more_unless_it_stays_lent() -> None:
    clock = Clock()
    workflows = borrowed(clock)
    assert not workflows.observe(seen("completed"))
    assert [one.workflow_id for one in workflows.open_workflows("studio")] == [TWO]
    clock.monotonic += AGAIN_SECONDS
    assert workflows.is_open("studio", ONE)


def test_an_unknown_status_with_an_end_is_over_and_without_one_is_not() -> None:
    workflows = borrowed(Clock())
    assert workflows.observe(seen("odd"))
    assert not workflows.observe(replace(seen("odd"), completed_at=5.0))


def test_another_holder_is_told_at_once_what_the_one_before_was_told() -> None:
    workflows = borrowed(Clock())
    workflows.observe(seen("completed"))
    workflows.lend({ONE: lent(ONE, 2)}, 2)
    assert workflows.is_open("studio", ONE)


def test_what_is_lent_no_more_is_wanted_no_more() -> None:
    workflows = borrowed(Clock())
    workflows.lend({TWO: lent(TWO)}, 1)
    assert not workflows.observe(seen("running"))
    assert not workflows.is_open("studio", ONE)


def test_an_id_that_is_refused_for_good_is_left_to_its_holder() -> None:
    clock = Clock()
    workflows = borrowed(clock)
    workflows.drop(Removed("studio", ONE, "not_found", clock()))
    clock.monotonic += AGAIN_SECONDS
    assert not workflows.is_open("studio", ONE)
    assert not workflows.take_untold()


def test_all_that_a_stream_tells_comes_to_the_holder_by_its_clocks() -> None:
    told = replace(
        seen("failed"),
        queue_position=3,
        started_at=1_700_000_001.5,
        completed_at=1_700_000_009.0,
        cause=Cause("KSampler", None),
        outputs=2,
        service_wall=1_700_000_010.0,
        cause_unreadable=True,
    )
    said = written([told], Moment(1_700_000_052, 52.0))
    (read_back,) = read("studio", said, 0.5, Moment(9_000.0, 7.0))
    assert read_back == replace(told, at=Moment(9_000.0 - 2.5, 7.0 - 2.5))


def test_what_another_version_writes_costs_that_alone() -> None:
    good = written([seen("running")], Clock()())
    said = f'[{{"id": 5}}, "odd", {good[1:]}'
    assert [one.status for one in read("studio", said, 0.0, Clock()())] == ["running"]
    assert not read("studio", "{", 0.0, Clock()())
    assert not read("studio", "5", 0.0, Clock()())
