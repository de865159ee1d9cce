"""How the history's rows get into the ledger while several threads write it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

from exporter.app.maintenance import Maintenance
from exporter.history.history import History
from exporter.ledger.ledger import Ledger
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import Batch, HistoryKey, HistoryRow
from exporter.metrics.announcements import Announcements
from tests.unit.ledger.ledgers import Clocks, make_ledger, seen, uuid


class TellingStore(SqliteStore):
    """A store that notes of each batch how many workflows and how many stories it has."""

    def __init__(self, folder: Path, now: Clocks) -> None:
        super().__init__(folder, now)
        self.batches: list[tuple[int, int]] = []

    def persist(self, batch: Batch) -> None:
        super().persist(batch)
        stories = sum(kind == "story" for _, kind, _ in batch.history)
        self.batches.append((len(batch.workflows), stories))


class OvertakenHistory(History):
    """A history that has another thread work right after rows of it were taken, once.

    If they are taken under the ledger's lock, no other thread can write then, and none is tried.
    """

    def __init__(self, ledger: Ledger, now: Clocks) -> None:
        super().__init__(now, ledger.restored_history)
        self._ledger = ledger
        self.overtake: Callable[[], object] | None = None

    def take_pending(self) -> Mapping[HistoryKey, HistoryRow | None]:
        rows = super().take_pending()
        overtake = self.overtake
        if rows and overtake is not None and not self._ledger._lock.locked():
            self.overtake = None
            other = Thread(target=overtake)
            other.start()
            other.join()
        return rows


class Exporting:
    """A ledger in a folder with a history, joined as in the exporter."""

    def __init__(self, folder: Path) -> None:
        self.now = Clocks()
        self.store = TellingStore(folder, self.now)
        self.ledger = make_ledger(self.now, self.store)
        self.history = OvertakenHistory(self.ledger, self.now)
        self.ledger.on_workflow_change = self.history.note
        self.maintenance = Maintenance(
            self.ledger,
            self.history,
            Announcements(65.0, self.ledger),
            accounts=lambda: ["studio"],
            away=list,
            now=self.now,
        )

    def see_the_end(self) -> None:
        self.ledger.observe(seen(1, "completed", self.now(), started=2, completed=5))

    def events(self) -> list[str]:
        story = self.history.story(("studio", uuid(1)))
        return [] if story is None else [event.text for event in story.events]


def test_a_stored_row_is_never_replaced_by_one_that_was_taken_earlier(tmp_path: Path) -> None:
    it = Exporting(tmp_path)

    def learn_more() -> None:
        it.history.stream_ended("studio", "limit", uuid(1), 240.0)
        it.maintenance.persist()

    it.see_the_end()
    it.history.overtake = learn_more
    it.ledger.snapshot()
    if it.history.overtake is not None:  # no other thread could write in between, so it is late
        learn_more()
    it.maintenance.persist()
    told = it.events()
    it.ledger.close()
    assert told[-1] == "A stream ended after 4 min: the service's own limit."
    assert Exporting(tmp_path).events() == told


def test_no_count_is_stored_without_its_story(tmp_path: Path) -> None:
    it = Exporting(tmp_path)
    it.store.batches.clear()
    it.see_the_end()
    it.history.overtake = it.maintenance.persist
    it.ledger.snapshot()
    assert it.store.batches[0] == (1, 1)
