"""What is remembered of each workflow: through a ledger, as the exporter wires it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.history.history import FAILURES_SURE, MOST_CLOSED, History
from exporter.history.story import MOST_BYTES, MOST_EVENTS, Story
from exporter.interfaces.observations import Removed
from exporter.ledger.store import Batch, HistoryKey, HistoryRow, MemoryStore
from tests.unit.ledger.ledgers import CAUSE, Clocks, ledger_on_disk, make_ledger, seen, uuid

if TYPE_CHECKING:
    from exporter.ledger.ledger import Ledger


class Remembered:
    """A ledger with a history, and clocks that move when told to."""

    def __init__(self, folder: Path | None = None) -> None:
        self.now = Clocks()
        self.folder = folder
        self.open()

    def open(self) -> None:
        self.ledger: Ledger = (
            make_ledger(self.now) if self.folder is None else ledger_on_disk(self.folder, self.now)
        )
        self.history = History(self.now, self.ledger.restored_history)
        self.ledger.on_workflow_change = self.history.note
        self.ledger.set_history_source(self._rows)

    def _rows(self) -> Mapping[HistoryKey, HistoryRow | None]:
        self.history.digest(["studio"])
        return self.history.take_pending()

    def see(self, number: int, status: str, **more: object) -> None:
        self.now.pass_(1.0)
        self.ledger.observe(seen(number, status, self.now(), **more))  # type: ignore[arg-type]

    def story(self, number: int) -> Story:
        story = self.history.story(("studio", uuid(number)))
        assert story is not None
        return story

    def story_number(self, number: int) -> int:
        (found,) = [s.number for s in self.history.closed() if s.workflow_id == uuid(number)]
        return found

    def texts(self, number: int) -> list[str]:
        return [event.text for event in self.story(number).events]


def id_of(story: Story) -> str:
    return story.workflow_id


def test_a_life_is_told_from_its_finding_to_its_count() -> None:
    it = Remembered()
    it.see(1, "queued", position=9)
    it.see(1, "queued", position=7, via="stream")
    it.see(1, "queued", position=3, via="stream")
    it.see(1, "queued", position=3, via="stream")
    it.see(1, "running", via="stream", started=4)
    it.history.stream_ended("studio", "limit", uuid(1), 240.0)
    it.see(1, "failed", via="stream", started=4, completed=14, cause=CAUSE)
    assert it.texts(1) == [
        "Found in the account's list.",
        "Now queued, at position 9.",
        "From position 9 to 3.",
        "Now running.",
        "Started after 3.0 s; this time is counted.",
        "A stream ended after 4 min: the service's own limit.",
        "Counted as failed, after a run of 10 s.",
        "Failed in KSampler with ValueError.",
    ]
    story = it.story(1)
    assert (story.counted_as, story.not_counted) == ("failed", "")
    assert (story.node_type, story.exception_type) == ("KSampler", "ValueError")
    assert (story.wait_seconds, story.run_seconds) == (3.0, 10.0)
    assert [event.via for event in story.events][2:5] == ["stream", "stream", "stream"]


def test_a_cause_that_comes_later_is_told_after_the_count() -> None:
    it = Remembered()
    it.see(1, "running", started=2)
    it.see(1, "failed", started=2, completed=5)
    assert it.texts(1)[-1] == "Its cause is not known yet; it is requested."
    it.see(1, "failed", via="detail", started=2, completed=5, cause=CAUSE)
    assert it.texts(1)[-1] == "Failed in KSampler with ValueError."


@pytest.mark.parametrize(
    ("created", "completed", "why"),
    [(-500.0, -10.0, "before the exporter first read"), (None, None, "neither its creation")],
)
def test_what_is_not_counted_says_why(
    created: float | None, completed: float | None, why: str
) -> None:
    it = Remembered()
    it.see(1, "completed", created=created, completed=completed)
    story = it.story(1)
    assert story.counted_as == ""
    assert why in story.not_counted
    assert story.events[-1].what == "not_counted"


def test_a_workflow_that_is_given_up_says_why() -> None:
    it = Remembered()
    it.see(1, "running", started=2)
    it.ledger.drop(Removed("studio", uuid(1), "not_found", it.now()))
    story = it.story(1)
    assert story.phase == "dropped"
    assert "404" in story.not_counted


def test_a_status_that_nobody_knows_is_cleaned_and_said() -> None:
    it = Remembered()
    it.see(1, "paused\u202e\x1b[31m")
    assert it.texts(1)[-1] == "In status “paused [31m”, which this version does not know."


def test_a_run_that_follows_is_told_as_such_and_counted_again() -> None:
    it = Remembered()
    it.see(1, "running", started=2)
    it.see(1, "completed", started=2, completed=5)
    it.now.pass_(100)
    it.see(1, "running", started=90)
    assert it.story(1).counted_as == ""
    assert "It runs again: run 2." in it.texts(1)
    it.see(1, "cancelled", started=90, completed=95)
    assert (it.story(1).counted_as, it.story(1).run) == ("cancelled", 2)


def test_a_restart_keeps_stories_and_the_last_hour(tmp_path: Path) -> None:
    it = Remembered(tmp_path)
    it.see(1, "running", started=2)
    it.see(1, "failed", via="stream", started=2, completed=5, cause=CAUSE)
    it.see(2, "completed", created=-500, completed=-10)
    it.ledger.persist()
    before = it.story(1), it.story(2), it.history.hour("studio")
    # No last word: as after kill -9.
    it.ledger._writer._store.close()
    it.open()
    assert (it.story(1), it.story(2), it.history.hour("studio")) == before
    assert before[2].outcomes == {"failed": 1}


def test_the_last_hour_has_outcomes_causes_and_waits() -> None:
    it = Remembered()
    for number in range(4):
        it.see(number, "running", via="stream", started=2)
        it.see(
            number,
            "failed" if number else "completed",
            via="stream",
            started=2,
            completed=5,
            cause=CAUSE,
        )
    it.history.digest(["studio"])
    hour = it.history.hour("studio")
    assert hour.outcomes == {"completed": 1, "failed": 3}
    (cause,) = hour.failures
    assert (cause.node_type, cause.exception_type, cause.count) == ("KSampler", "ValueError", 3)
    assert (cause.share, cause.latest_workflow_id) == (0.75, uuid(3))
    completed, failed, waits = hour.plots
    assert (completed.values[-1], failed.values[-1], waits.values[-1]) == (1.0, 3.0, 1.0)
    assert set(completed.values[:-1]) == {None}
    it.now.pass_(120)
    it.history.digest(["studio"])
    assert it.history.hour("studio").plots[0].values[-3:] == (1.0, None, 0.0)
    it.now.pass_(3600)
    it.history.digest(["studio"])
    assert it.history.hour("studio").outcomes == {}


def test_outcomes_stand_in_one_order_whichever_came_first() -> None:
    it = Remembered()
    for number, status in enumerate(("invalid", "cancelled", "failed", "completed")):
        it.see(number, status, via="stream", started=2, completed=5)
    it.history.digest(["studio"])
    shown = list(it.history.hour("studio").outcomes)
    assert shown == ["completed", "failed", "cancelled", "invalid"]


def test_it_is_bounded_and_failures_stay_longer(tmp_path: Path) -> None:
    it = Remembered(tmp_path)
    it.see(0, "failed", via="stream", started=2, completed=5, cause=CAUSE)
    for number in range(1, MOST_CLOSED + 300):
        it.see(number, "completed", via="stream", started=2, completed=5)
        if number % 500 == 0:
            it.ledger.persist()
    it.ledger.persist()
    closed = it.history.closed()
    assert len(closed) == MOST_CLOSED
    assert {story.workflow_id for story in closed} >= {uuid(0), uuid(MOST_CLOSED + 299)}
    it.ledger.close()
    it.open()
    kept = [
        Story.unpacked(row) for (_, kind, _), row in it.ledger.restored_history if kind == "story"
    ]
    assert sorted(map(id_of, kept)) == sorted(map(id_of, closed))


def test_failures_alone_fill_it_and_give_way_to_newer_ones() -> None:
    it = Remembered()
    for number in range(MOST_CLOSED + 10):
        it.see(number, "failed", via="stream", started=2, completed=5, cause=CAUSE)
    it.see(MOST_CLOSED + 10, "completed", via="stream", started=2, completed=5)
    it.history.digest()
    closed = {story.workflow_id for story in it.history.closed()}
    assert len(closed) == MOST_CLOSED > FAILURES_SURE
    assert uuid(0) not in closed
    assert uuid(MOST_CLOSED + 10) in closed


def test_one_story_is_bounded_in_events_and_bytes() -> None:
    it = Remembered()
    it.see(1, "queued")
    for number in range(500):
        it.history.stream_ended("studio", "dropped", uuid(1), float(number))
        it.see(1, f"{number:04} " + "ß" * 400)
    story = it.story(1)
    assert len(story.events) <= MOST_EVENTS
    assert story.events[0].text == "Found in the account's list."
    assert len(story.events) + story.left_out == 1 + 1 + 2 * 500
    assert len(story.packed()) <= MOST_BYTES


def test_a_row_of_the_history_that_is_damaged_costs_that_row(tmp_path: Path) -> None:
    it = Remembered(tmp_path)
    for number in (1, 2):
        it.see(number, "completed", via="stream", started=2, completed=5)
    it.ledger.persist()
    database = it.ledger._writer._store._file._database  # type: ignore[attr-defined]
    database.execute("UPDATE history SET content = x'00' WHERE number = ?", (it.story_number(1),))
    it.ledger.close()
    it.open()
    assert [story.workflow_id for story in it.history.closed()] == [uuid(2)]
    assert it.ledger.glance().errors == 0


def test_an_account_goes_to_another_process_with_what_has_ended() -> None:
    """As from one replica to another: each numbers its rows by itself."""
    first, second = Remembered(), Remembered()
    kept: dict[HistoryKey, HistoryRow] = {}

    def keep(it: Remembered) -> None:
        it.history.digest()
        for key, row in it.history.take_pending().items():
            if row is None:
                kept.pop(key)
            else:
                kept[key] = row

    first.see(1, "failed", via="stream", started=2, completed=5, cause=CAUSE)
    first.see(2, "running", started=2)
    second.see(7, "completed", via="stream", started=2, completed=5)
    keep(first)
    told = first.story(1), first.history.hour("studio")
    first.history.release_account("studio")
    assert first.history.closed() == []
    assert first.history.story(("studio", uuid(2))) is None
    second.history.adopt("studio", list(kept.items()))
    assert (second.story(1), second.history.hour("studio")) == told
    # In place of what it knew itself; and what it adds has numbers of its own.
    assert second.history.story(("studio", uuid(7))) is None
    second.see(3, "completed", via="stream", started=2, completed=5)
    second.see(4, "completed", via="stream", started=2, completed=5)
    keep(second)
    first.history.adopt("studio", list(kept.items()))
    assert [first.story(number) for number in (1, 3, 4)] == [
        second.story(number) for number in (1, 3, 4)
    ]


class TellingStore(MemoryStore):
    """Tells what each batch holds."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, int]] = []

    def persist(self, batch: Batch) -> None:
        super().persist(batch)
        stories = sum(kind == "story" for _, kind, _ in batch.history)
        self.batches.append((len(batch.workflows), stories))


def test_what_is_learnt_while_another_keeps_is_kept_with_its_story() -> None:
    now, store = Clocks(), TellingStore()
    ledger = make_ledger(now, store)
    history = History(now)
    ledger.on_workflow_change = history.note

    def rows() -> Mapping[HistoryKey, HistoryRow | None]:
        history.digest()
        return history.take_pending()

    def learn() -> None:
        history.digest()
        # Before the turn to use the store has come.
        ledger.observe(seen(1, "completed", now(), via="stream", started=2, completed=5))

    ledger.before_persisting = learn
    ledger.set_history_source(rows)
    ledger.persist()
    assert store.batches[-1] == (1, 1)


def test_what_came_from_another_process_gives_way_by_its_age() -> None:
    first, second = Remembered(), Remembered()
    second.see(1, "completed", via="stream", started=2, completed=5)
    first.now.pass_(3600)
    second.now.pass_(7200)
    for number in range(2, MOST_CLOSED + 1):
        first.see(number, "completed", via="stream", started=2, completed=5)
    second.see(MOST_CLOSED + 1, "completed", via="stream", started=2, completed=5)
    first.history.digest()
    rows = [(key, row) for key, row in first.history.take_pending().items() if row is not None]
    others = [((f"of {key[0]}", *key[1:]), row.replace(b"studio", b"agency")) for key, row in rows]
    second.history.adopt("agency", others)
    left = {(story.account, story.workflow_id) for story in second.history.closed()}
    assert len(left) == MOST_CLOSED
    assert ("studio", uuid(1)) not in left
    assert ("studio", uuid(MOST_CLOSED + 1)) in left
