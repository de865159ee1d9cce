"""The file that remembers our requests over a `kill -9`."""

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.comfycontrol import window_file
from exporter.comfycontrol.budget import RequestBudget
from exporter.comfycontrol.window import Limit, Purpose
from exporter.comfycontrol.window_file import EarlierRequest, WindowFile

BOOT = bytes(range(16))
LATER_BOOT = bytes(range(1, 17))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.window"


def test_a_fresh_file_knows_nothing(path: Path) -> None:
    file = WindowFile(path, 4, BOOT)
    assert file.earlier() == []
    assert (file.closed_until, file.share) == (-math.inf, math.inf)


def test_the_next_process_finds_what_was_asked(path: Path) -> None:
    file = WindowFile(path, 4, BOOT)
    first, second, third = file.sent(1.0), file.sent(2.0), file.sent(3.0)
    file.answered(first, 1.5)
    file.answered(third, -math.inf)
    file.refused(99.0, 7.5)
    # Nothing is closed nor flushed: this is how a `kill -9` leaves it.
    later = WindowFile(path, 4, BOOT)
    assert later.earlier() == [
        EarlierRequest(1.0, 1.5),
        EarlierRequest(2.0, None),
        EarlierRequest(3.0, -math.inf),
    ]
    assert (later.closed_until, later.share) == (99.0, 7.5)
    assert second == 1


def test_the_oldest_give_way_whoever_wrote_them(path: Path) -> None:
    file = WindowFile(path, 3, BOOT)
    for moment in (1.0, 2.0):
        file.sent(moment)
    later = WindowFile(path, 3, BOOT)
    for moment in (3.0, 4.0):
        later.sent(moment)
    assert [e.sent for e in WindowFile(path, 3, BOOT).earlier()] == [2.0, 3.0, 4.0]


def test_another_life_of_the_machine_begins_anew(path: Path) -> None:
    file = WindowFile(path, 4, BOOT)
    file.sent(1.0)
    file.refused(99.0, 7.5)
    later = WindowFile(path, 4, LATER_BOOT)
    assert later.earlier() == []
    assert (later.closed_until, later.share) == (-math.inf, math.inf)
    assert WindowFile(path, 4, BOOT).earlier() == []


@pytest.mark.parametrize(("records", "kept"), [(2, [2.0, 3.0]), (7, [1.0, 2.0, 3.0])])
def test_another_limit_forgets_nothing(path: Path, records: int, kept: list[float]) -> None:
    file = WindowFile(path, 3, BOOT)
    for moment in (1.0, 2.0, 3.0):
        file.sent(moment)
    file.refused(99.0, 7.5)
    later = WindowFile(path, records, BOOT)
    assert [e.sent for e in later.earlier()] == kept
    later.sent(4.0)
    last = WindowFile(path, records, BOOT)
    assert [e.sent for e in last.earlier()] == [*kept, 4.0][-records:]
    assert (last.closed_until, last.share) == (99.0, 7.5)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"garbage",
        lambda content: content[:-5],
        lambda content: content + b"more",
        lambda content: b"\xff" * len(content),
        lambda content: content[:32] + b"\xff" * (len(content) - 32),
        lambda content: content[:24] + b"\xff" * 8 + content[32:],
    ],
    ids=["empty", "garbage", "cut", "longer", "ones", "records", "cooldown"],
)
def test_a_damaged_file_does_no_harm(path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = WindowFile(path, 4, BOOT)
    file.sent(1.0)
    path.write_bytes(damage(path.read_bytes()))
    later = WindowFile(path, 4, BOOT)
    budget = RequestBudget("service", Limit(), monotonic=lambda: 5.0, wall=lambda: 5.0, file=later)
    turn = budget.enter(Purpose.NEW_STREAM)
    assert turn.wait()
    turn.answered()
    assert budget.reading().cooldown_until == 0
    budget.close()
    assert EarlierRequest(5.0, 5.0) in WindowFile(path, 4, BOOT).earlier()


def test_where_it_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"requests\.window"):
        WindowFile(tmp_path / "missing" / "requests.window", 4, BOOT)


def test_a_full_disk_is_said_once_and_stops_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = WindowFile(path, 4, BOOT)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        file.answered(file.sent(1.0), 1.5)
        file.refused(2.0, 7.5)
    assert len(caplog.records) == 1
    file.sent(2.0)
    assert [e.sent for e in WindowFile(path, 4, BOOT).earlier()] == [2.0]


def test_of_this_machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WindowFile.on_this_machine(path, 4).sent(1.0)
    assert len(WindowFile.on_this_machine(path, 4).earlier()) == 1
    # Where nothing tells one life from another, times that lie ahead do.
    monkeypatch.setattr(window_file, "_BOOT_ID", path.with_name("none"))
    WindowFile.on_this_machine(path, 4).sent(1.0)
    assert len(WindowFile.on_this_machine(path, 4).earlier()) == 1


def test_a_budget_goes_on_where_the_earlier_one_was_killed(path: Path) -> None:
    limit = Limit(requests=4, per=10.0, reserve=0)
    time = 100.0

    def budget() -> RequestBudget:
        return RequestBudget(
            "service",
            limit,
            monotonic=lambda: time,
            wall=lambda: time,
            file=WindowFile(path, 16, BOOT),
        )

    first = budget()
    turns = [first.enter(Purpose.LIST_FIRST_PAGE) for _ in range(4)]
    assert all(turn.wait() for turn in turns)
    turns[0].answered()
    turns[1].unused()
    time += 5.0
    second = budget()
    # One answered five seconds ago, two under way that may be counted as late as now.
    assert second.reading().used == 3
    first.close()
    second.close()
