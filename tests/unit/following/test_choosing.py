"""Who has a stream."""

import pytest

from exporter.budget.sliding_window import Limit, Priority
from exporter.following.choosing import StreamCapacity, choose_streams, priority_of
from exporter.interfaces.observations import Moment, Source, Status
from exporter.ledger.workflow import Workflow


def workflow(
    workflow_id: str,
    status: Status | None = Status.QUEUED,
    *,
    source: Source = "listing",
    created_at: float | None = None,
    first_seen: float = 1000.0,
    last_seen: float | None = None,
) -> Workflow:
    return Workflow(
        account="studio",
        workflow_id=workflow_id,
        source=source,
        first_seen=Moment(first_seen, first_seen),
        status=status,
        created_at=created_at,
        last_seen=None if last_seen is None else Moment(last_seen, last_seen),
    )


def test_named_ids_come_before_listed_ones() -> None:
    workflows = [
        workflow("listed", Status.QUEUED),
        workflow("file", None, source="file"),
        workflow("configured", Status.RUNNING, source="configured"),
        workflow("pushed", Status.ACCEPTED, source="pushed"),
    ]
    chosen = choose_streams(workflows, (), 3)
    assert set(chosen) == {"file", "configured", "pushed"}


def test_then_the_queued_then_the_running_then_the_rest() -> None:
    workflows = [
        workflow("unseen", None),
        workflow("accepted", Status.ACCEPTED),
        workflow("uploaded", Status.UPLOADED),
        workflow("running", Status.RUNNING),
        workflow("queued", Status.QUEUED),
    ]
    chosen = choose_streams(workflows, (), 5)
    assert chosen[:2] == ["queued", "running"]
    assert set(chosen[2:]) == {"unseen", "accepted", "uploaded"}


def test_then_the_oldest_by_creation_or_by_first_sight() -> None:
    workflows = [
        workflow("c", created_at=30.0),
        workflow("a", created_at=10.0),
        workflow("b", created_at=None, first_seen=20.0),
    ]
    assert choose_streams(workflows, (), 3) == ["a", "b", "c"]


def test_within_a_class_whoever_has_a_stream_keeps_it() -> None:
    workflows = [workflow("older", created_at=1.0), workflow("streaming", created_at=2.0)]
    assert choose_streams(workflows, {"streaming"}, 1) == ["streaming"]


def test_a_better_class_takes_the_stream_of_a_lesser() -> None:
    workflows = [workflow("streaming", Status.RUNNING), workflow("new", Status.QUEUED)]
    assert choose_streams(workflows, {"streaming"}, 1) == ["new"]


def test_no_more_than_there_is_room_for() -> None:
    assert len(choose_streams([workflow(str(n)) for n in range(10)], (), 4)) == 4
    assert choose_streams([], (), 4) == []


def test_a_crowd_of_ids_that_nobody_ever_saw_takes_a_part_of_the_streams() -> None:
    crowd = [workflow(f"unseen {n}", None, source="pushed") for n in range(1000)]
    listed = [workflow(f"listed {n}", last_seen=1001.0) for n in range(300)]
    seen = [workflow(f"seen {n}", source="pushed", last_seen=1001.0) for n in range(50)]
    chosen = choose_streams([*crowd, *listed, *seen], (), 400)
    assert set(chosen[:50]) == {f"seen {n}" for n in range(50)}
    assert sum(each.startswith("unseen") for each in chosen) == 100
    assert sum(each.startswith("listed") for each in chosen) == 250
    # Where nobody else wants them, they have the rest as well.
    assert len(choose_streams(crowd, (), 400)) == 400


def test_one_that_was_just_pushed_comes_before_all_that_the_list_has_shown() -> None:
    listed = [workflow(f"listed {n}", last_seen=1001.0) for n in range(300)]
    pushed = workflow("pushed", None, source="pushed", first_seen=2000.0)
    assert choose_streams([*listed, pushed], {"listed 7"}, 1) == ["pushed"]
    assert priority_of(pushed) < priority_of(listed[0]) == Priority.NEW_STREAM


@pytest.mark.parametrize(
    ("limit", "interval", "accounts", "streams"),
    [
        # 30 in 10 s are ours: 3 a second hold 720 streams of 240 s, and a fifth is left over.
        (Limit(), None, 1, 576),
        (Limit(), 5.0, 1, 537),
        (Limit(), 5.0, 2, 249),
        (Limit(requests=40, reserve=0.0), None, 1, 768),
        # However little there is, one can always be tried.
        (Limit(requests=1, per=3600.0), None, 1, 1),
        (Limit(), 0.1, 1, 1),
    ],
)
def test_as_many_streams_as_can_be_kept_open(
    limit: Limit, interval: float | None, accounts: int, streams: int
) -> None:
    assert StreamCapacity(2000, limit, interval, accounts).full == streams
    assert StreamCapacity(20, limit, interval, accounts).full == min(20, streams)


def test_a_smaller_share_keeps_fewer_open() -> None:
    capacity = StreamCapacity(500, Limit(), 5.0)
    assert [capacity.at(share) for share in (30, 15, 3, 1)] == [500, 249, 19, 1]
