"""The file that remembers our requests over a `kill -9`."""

import errno
import logging
import math
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.budget import journal
from exporter.budget.budget import RequestBudget
from exporter.budget.journal import RequestJournal
from exporter.budget.sliding_window import (
    UNDER_WAY_SECONDS,
    EarlierRequest,
    Limit,
    Priority,
    WindowMemory,
)
from exporter.comfycontrol.client import Timeouts
from tests.turns import Turn

BOOT = bytes(range(16))
LATER_BOOT = bytes(range(1, 17))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.window"


def begun(
    path: Path, records: int, memory: WindowMemory | None = None, boot: bytes = BOOT
) -> RequestJournal:
    """A file that goes on from what it tells."""
    file = RequestJournal(path, boot)
    assert file.begin(memory or file.memory or WindowMemory(), records)
    return file


def told(path: Path, boot: bytes = BOOT) -> WindowMemory:
    memory = RequestJournal(path, boot).memory
    assert memory is not None
    return memory


def sent(path: Path) -> list[float]:
    return [each.sent for each in told(path).requests]


def test_where_there_is_no_file_nothing_is_known(path: Path) -> None:
    assert RequestJournal(path, BOOT).memory is None


def test_the_next_process_finds_what_was_asked(path: Path) -> None:
    file = begun(path, 4, WindowMemory(since=0.5))
    first, second, third = file.sent(1.0), file.sent(2.0), file.sent(3.0)
    file.answered(first, 1.5)
    file.answered(third, -math.inf)
    file.refused(99.0, 7.5)
    # Nothing is closed nor flushed: this is how a `kill -9` leaves it.
    assert told(path) == WindowMemory(
        (
            EarlierRequest(1.0, 1.5),
            EarlierRequest(2.0, None),
            EarlierRequest(3.0, -math.inf),
        ),
        since=0.5,
        closed_until=99.0,
        share=7.5,
    )
    assert second == 1


def test_the_oldest_give_way_whoever_wrote_them(path: Path) -> None:
    file = begun(path, 3)
    for moment in (1.0, 2.0):
        file.answered(file.sent(moment), moment)
    later = begun(path, 3)
    for moment in (3.0, 4.0):
        later.answered(later.sent(moment), moment)
    assert sent(path) == [2.0, 3.0, 4.0]


def test_one_that_is_under_way_does_not_give_way(path: Path) -> None:
    file = begun(path, 3)
    slow = file.sent(1.0)
    for moment in (2.0, 3.0, 4.0, 5.0):
        file.answered(file.sent(moment), moment)
    assert sent(path) == [1.0, 4.0, 5.0]
    file.answered(slow, 6.0)
    assert EarlierRequest(1.0, 6.0) in told(path).requests


def test_where_some_have_given_way_it_is_whole_from_the_oldest_on(path: Path) -> None:
    file = begun(path, 3, WindowMemory(since=0.5))
    for moment in (1.0, 2.0):
        file.answered(file.sent(moment), moment)
    assert told(path).since == 0.5
    for moment in (3.0, 4.0):
        file.answered(file.sent(moment), moment)
    assert told(path).since == 2.0


def test_another_life_of_the_machine_knows_nothing(path: Path) -> None:
    file = begun(path, 4)
    file.sent(1.0)
    file.refused(99.0, 7.5)
    assert RequestJournal(path, LATER_BOOT).memory is None
    begun(path, 4, boot=LATER_BOOT)
    assert RequestJournal(path, BOOT).memory is None


@pytest.mark.parametrize(("records", "kept"), [(2, [2.0, 3.0]), (7, [1.0, 2.0, 3.0])])
def test_another_limit_forgets_nothing(path: Path, records: int, kept: list[float]) -> None:
    file = begun(path, 4)
    for moment in (1.0, 2.0, 3.0):
        file.answered(file.sent(moment), moment)
    file.refused(99.0, 7.5)
    later = begun(path, records)
    assert sent(path) == kept
    later.sent(4.0)
    assert sent(path) == [*kept, 4.0][-records:]
    assert (told(path).closed_until, told(path).share) == (99.0, 7.5)


def test_it_grows_while_requests_are_under_way(path: Path) -> None:
    file = begun(path, 2, WindowMemory(since=0.5))
    under_way = [file.sent(1.0), file.sent(2.0)]
    file.grow(6)
    file.grow(3)
    for moment in (3.0, 4.0, 5.0):
        file.answered(file.sent(moment), moment)
    file.answered(under_way[0], 6.0)
    memory = told(path)
    assert sent(path) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [each.answered for each in memory.requests] == [6.0, None, 3.0, 4.0, 5.0]
    assert memory.since == 0.5
    for moment in (7.0, 8.0, 9.0, 10.0):
        file.answered(file.sent(moment), moment)
    # The one that is still under way has kept its place.
    assert sent(path) == [2.0, 5.0, 7.0, 8.0, 9.0, 10.0]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "garbage": lambda content: b"garbage",
    "cut": lambda content: content[:-5],
    "cut between two": lambda content: content[:-16],
    "longer": lambda content: content + b"more",
    "ones": lambda content: b"\xff" * len(content),
    "records": lambda content: content[:56] + b"\xff" * (len(content) - 56),
    "an older layout": lambda content: b"ccxwin02" + content[8:],
    "since": lambda content: content[:32] + struct.pack("<d", 6.0) + content[40:],
    "cooldown": lambda content: content[:40] + b"\xff" * 8 + content[48:],
    "long cooldown": lambda content: content[:40] + struct.pack("<d", 3700.0) + content[48:],
    "share": lambda content: content[:48] + struct.pack("<d", 0.5) + content[56:],
    "the future": lambda content: content[:56] + struct.pack("<d", 5.5) + content[64:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_no_memory(path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = begun(path, 4)
    file.answered(file.sent(1.0), 1.5)
    path.write_bytes(damage(path.read_bytes()))
    now = 5.0
    budget = RequestBudget(
        "service",
        Limit(),
        monotonic=lambda: now,
        wall=lambda: now,
        file=RequestJournal(path, BOOT),
        fresh=False,
    )
    assert budget.reading().used == 0
    assert budget.reading().cooldown_until == 0
    turn = Turn(budget, Priority.NEW_STREAM)
    assert turn.wait()
    turn.answered()
    # The second goes as one of the ten that the limit leaves.
    now = 6.9
    assert not Turn(budget, Priority.NEW_STREAM).over.wait(0.05)
    budget.close()
    # From then on it is whole again.
    assert told(path) == WindowMemory((EarlierRequest(5.0, 5.0),), since=5.0)


def test_where_it_cannot_be_made_nothing_is_remembered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = RequestJournal(tmp_path / "missing" / "requests.window", BOOT)
    assert file.memory is None
    assert not file.begin(WindowMemory(), 4)
    file.answered(file.sent(1.0), 1.5)
    file.refused(2.0, 7.5)
    file.grow(7)
    assert [record.message for record in caplog.records] == [
        "cannot save the request journal: the next start begins with fewer requests"
    ]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A disk on which nothing can be written."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        yield patch


def test_what_cannot_be_noted_is_said_once_and_leaves_a_file_that_tells_nothing(
    path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    file = begun(path, 4)
    file.answered(file.sent(1.0), 1.5)
    request.getfixturevalue("full")
    file.answered(file.sent(2.0), 2.5)
    file.refused(3.0, 7.5)
    assert len(caplog.records) == 1
    # It could be believed, and lacks a request.
    assert RequestJournal(path, BOOT).memory is None


def test_once_there_is_room_again_it_is_whole_from_then_on(
    path: Path, full: pytest.MonkeyPatch
) -> None:
    file = RequestJournal(path, BOOT)
    assert not file.begin(WindowMemory(), 4)
    slow = file.sent(1.0)
    file.refused(99.0, 7.5)
    full.undo()
    file.sent(2.0)
    file.answered(slow, 3.0)
    assert told(path) == WindowMemory((EarlierRequest(2.0, None),), 2.0, 99.0, 7.5)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_that_cannot_be_written_is_not_believed(
    path: Path, full: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.undo()
    file = begun(path, 160)
    file.answered(file.sent(1.0), 1.5)

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("pwrite", "truncate", "open"):
        monkeypatch.setattr(os, name, refuse)
    budget = RequestBudget(
        "service",
        Limit(reserve=0.0),
        monotonic=lambda: 20.0,
        wall=lambda: 20.0,
        file=RequestJournal(path, BOOT),
        fresh=False,
    )
    assert not Turn(budget, Priority.NEW_STREAM).over.wait(0.05)
    budget.close()


def test_of_this_machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_this_machine() -> RequestJournal:
        file = RequestJournal.on_this_machine(path)
        file.begin(file.memory or WindowMemory(), 4)
        return file

    on_this_machine().sent(1.0)
    assert on_this_machine().memory == WindowMemory((EarlierRequest(1.0, None),))
    # Where nothing tells one life from another, times that lie ahead do.
    monkeypatch.setattr(journal, "_BOOT_ID", path.with_name("none"))
    assert on_this_machine().memory is None
    assert on_this_machine().memory == WindowMemory()


LIMIT = Limit(requests=4, per=10.0, reserve=0)


class Machine:
    """One budget after another on the same file."""

    def __init__(self, path: Path) -> None:
        self.now = 100.0
        self._path = path
        self._budgets: list[RequestBudget] = []

    def start(self, limit: Limit = LIMIT, *, fresh: bool = True) -> RequestBudget:
        budget = RequestBudget(
            "service",
            limit,
            monotonic=lambda: self.now,
            wall=lambda: self.now,
            file=RequestJournal(self._path, BOOT),
            fresh=fresh,
        )
        self._budgets.append(budget)
        return budget

    def close(self) -> None:
        for budget in self._budgets:
            budget.close()


@pytest.fixture
def machine(path: Path) -> Iterator[Machine]:
    machine = Machine(path)
    yield machine
    machine.close()


def test_a_budget_goes_on_where_the_earlier_one_was_killed(machine: Machine) -> None:
    first = machine.start()
    turns = [Turn(first, Priority.LIST_FIRST_PAGE) for _ in range(4)]
    assert all(turn.wait() for turn in turns)
    turns[0].answered()
    turns[1].unused()
    # Killed once that was noted.
    first.close()
    machine.now += 5.0
    # One answered five seconds ago, two under way.
    second = machine.start()
    assert second.reading().used == 3
    # One under way may be counted until its process would have given it up, were it alive.
    machine.now = 100.0 + UNDER_WAY_SECONDS + 9.9
    assert second.reading().used == 2
    assert machine.start().reading().used == 2
    machine.now += 0.2
    assert second.reading().used == 0


def test_the_client_waits_no_longer_for_headers() -> None:
    assert Timeouts().headers == UNDER_WAY_SECONDS


def test_those_an_earlier_process_left_under_way_hold_nobody_up_for_longer(
    machine: Machine,
) -> None:
    first = machine.start()
    assert Turn(first, Priority.LIST_FIRST_PAGE).wait()
    second = machine.start()
    turns = [Turn(second, Priority.LIST_FIRST_PAGE) for _ in range(3)]
    assert all(turn.wait() for turn in turns)
    for turn in turns:
        turn.answered()
    assert second.reading().used == 4
    machine.now += 10.1
    assert second.reading().used == 1


def test_what_was_not_known_by_one_is_not_known_by_the_next(machine: Machine) -> None:
    machine.start(fresh=False)
    machine.now += 5.0
    # The file is whole, but only for five seconds.
    second = machine.start(fresh=False)
    turn = Turn(second, Priority.LIST_FIRST_PAGE)
    assert not turn.over.wait(0.05)
    machine.now += 5.0
    Turn(second, Priority.LIST_FIRST_PAGE)
    assert turn.wait()


def test_a_start_without_memory_says_so(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    machine.start(fresh=False)
    machine.now += 20.0
    machine.start(fresh=False)
    assert [record.message for record in caplog.records] == [
        "no record of earlier requests: starting with fewer requests"
    ]


def test_a_limit_that_was_raised_is_remembered_whole(machine: Machine, path: Path) -> None:
    budget = machine.start()
    budget.change(Limit(requests=40, per=10.0, reserve=0))
    for _ in range(20):
        turn = Turn(budget, Priority.LIST_FIRST_PAGE)
        assert turn.wait()
        turn.answered()
    assert machine.start(Limit(requests=40, per=10.0, reserve=0)).reading().used == 20
    assert told(path).since == -math.inf
