"""A disk that becomes full while outcomes are counted by slices and stories are written.

Totals, their slices, and what the pages show of each workflow are in one file. They must agree
whenever the disk takes writes again, also after a restart in between.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from exporter.app.app import App
from exporter.config import Config
from exporter.history.history import History
from exporter.interfaces.observations import Traits
from exporter.ledger.store import HistoryKey, HistoryRow
from exporter.simulator import Simulator, parse_scenario
from tests.integration.disks import fill, full, mounted
from tests.integration.following.exporting import NO_LIMIT, QUIET, Exporter, soon
from tests.unit.ledger.ledgers import CAUSE, Clocks, ended, finished, ledger_on_disk, uuid
from tests.unit.ledger.test_slices import TEAM, TEMPLATE, by_slices

FEW: Final = 10
MANY: Final = 400
"""Workflows enough for several pages of the file."""

KINDS: Final[tuple[tuple[Traits, str, tuple[str, str]], ...]] = (
    (Traits("sdxl v12", ("team:video",)), "completed", ("video", "sdxl")),
    (Traits("upscale", ("team=art", "gpu")), "failed", ("art", "upscale")),
    (Traits("", ()), "cancelled", ("none", "other")),
    (Traits("sdxl", ("team:ads",)), "completed", ("other", "sdxl")),
)
"""By turns: what a workflow is, how it ends, and its slices. Only two teams have a value of their
own."""


class Exporting:
    """A ledger with slices and a history, as the exporter joins them."""

    def __init__(self, folder: Path, now: Clocks) -> None:
        self._now = now
        self.ledger: Final = ledger_on_disk(folder, now, (TEAM, TEMPLATE))
        self._history: Final = History(now, self.ledger.restored_history)
        self.ledger.on_workflow_change = self._history.note
        self.ledger.set_history_source(self._rows)

    def _rows(self) -> Mapping[HistoryKey, HistoryRow | None]:
        self._history.digest(["studio"])
        return self._history.take_pending()

    def see(self, workflows: range) -> None:
        """Observe that these have ended, whether that is known or not."""
        for number in workflows:
            traits, status, _ = KINDS[number % len(KINDS)]
            cause = CAUSE if status == "failed" else None
            end = ended(number, self._now(), number + 20, status, cause=cause, traits=traits)
            self.ledger.observe(end)

    def check(self, workflows: range) -> None:
        """Totals, slices and stories are those of exactly these, each once."""
        statuses = Counter(KINDS[number % len(KINDS)][1] for number in workflows)
        slices = Counter(KINDS[number % len(KINDS)][2] for number in workflows)
        snapshot = self.ledger.snapshot()
        assert finished(snapshot) == len(workflows)
        assert by_slices(snapshot) == slices
        told = {story.workflow_id: story for story in self._history.closed()}
        assert set(told) == {uuid(number) for number in workflows}
        for number in workflows:
            story = told[uuid(number)]
            assert story.counted_as == KINDS[number % len(KINDS)][1]
            assert [event.what for event in story.events].count("counted") == 1
        hour = self._history.hour("studio")
        assert {status: n for status, n in hour.outcomes.items() if n} == statuses
        teams = Counter(team for team, _ in slices.elements() if team != "none")
        shown = {value: n for (label, value), (n, _) in hour.slices.items() if label == "team"}
        assert shown == teams

    def texts(self) -> dict[str, list[str]]:
        """What each story says."""
        return {s.workflow_id: [event.text for event in s.events] for s in self._history.closed()}


def check_stored(folder: Path, now: Clocks, workflows: range) -> None:
    """What the next start reads is of exactly these workflows."""
    again = Exporting(folder, now)
    again.check(workflows)
    again.ledger.close()


@pytest.fixture
def now() -> Clocks:
    return Clocks()


Filled = Callable[[Exporting], AbstractContextManager[None]]


@pytest.fixture(params=["the file cannot grow", "a real disk"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Filled]]:
    """The folder of a ledger, and what fills its disk."""
    if request.param == "the file cannot grow":
        yield tmp_path / "data", lambda exporting: full(exporting.ledger)
        return
    with mounted(tmp_path / "disk", "8m") as target:

        @contextmanager
        def filled(_: Exporting) -> Iterator[None]:
            filler = fill(target)
            yield
            filler.unlink()

        yield target / "data", filled


def test_everything_is_kept_when_there_is_room_again(
    disk: tuple[Path, Filled], now: Clocks
) -> None:
    folder, filled = disk
    exporting = Exporting(folder, now)
    exporting.see(range(FEW))
    exporting.ledger.persist()
    with filled(exporting):
        for end in range(FEW, MANY + 1, 30):
            exporting.see(range(end))
            now.pass_(60)
            exporting.ledger.persist()
            exporting.check(range(end))
        assert exporting.ledger.snapshot().errors >= 2
    now.pass_(60)
    exporting.ledger.persist()
    exporting.check(range(MANY))
    told = exporting.texts()
    exporting.ledger.close()
    again = Exporting(folder, now)
    again.check(range(MANY))
    assert again.texts() == told
    again.see(range(MANY))
    again.check(range(MANY))
    assert again.texts() == told
    again.ledger.close()


def test_killed_on_the_full_disk_it_goes_on_from_what_was_kept(
    disk: tuple[Path, Filled], now: Clocks, tmp_path: Path
) -> None:
    folder, filled = disk
    exporting = Exporting(folder, now)
    exporting.see(range(FEW))
    exporting.ledger.persist()
    with filled(exporting):
        exporting.see(range(MANY))
        now.pass_(60)
        exporting.ledger.persist()
        exporting.check(range(MANY))
        shutil.copytree(folder, tmp_path / "left")
    exporting.ledger.close()
    again = Exporting(tmp_path / "left", now)
    again.check(range(FEW))
    again.see(range(MANY))
    again.ledger.persist()
    again.check(range(MANY))
    again.ledger.close()
    check_stored(tmp_path / "left", now, range(MANY))


def test_restarted_on_the_full_disk(tmp_path: Path, now: Clocks) -> None:
    with mounted(tmp_path / "disk", "8m") as target:
        exporting = Exporting(target / "data", now)
        exporting.see(range(FEW))
        exporting.ledger.persist()
        filler = fill(target)
        exporting.see(range(MANY))
        exporting.ledger.close()
        again = Exporting(target / "data", now)
        again.check(range(FEW))
        again.see(range(MANY))
        again.check(range(MANY))
        filler.unlink()
        now.pass_(60)
        again.ledger.persist()
        again.ledger.close()
        check_stored(target / "data", now, range(MANY))


def is_counted(app: App, workflow_id: str) -> bool:
    """Whether its page says so."""
    story = app.views.workflow(workflow_id)
    return story is not None and story.counted_as == "completed"


def test_the_exporter_counts_by_slices_all_the_time(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "disk", "8m") as target,
        Simulator(parse_scenario(QUIET), seed=1, speed=100) as simulator,
    ):
        account = {
            "name": "studio",
            "token": simulator.tokens["studio"],
            "base_url": simulator.base_url,
            "rate_limit": NO_LIMIT,
            "listing": {"interval": "1s"},
        }
        team = {"label": "team", "from": "name", "match": "^([a-z]+)"}
        config = Config.model_validate({"accounts": [account], "metrics": {"slices": [team]}})
        teams = {"video": 30, "art": 20, "ads": 10}
        app = App(config, storage=target / "data", hold=0, jitter=soon, fresh_services=True)
        app.start()
        exporter = Exporter(app)
        exporter.until_listed()
        ids = [simulator.create(duration="1s", name="video 1") for _ in range(10)]
        exporter.until_finished(10)
        filler = fill(target)
        ids += [
            simulator.create(duration="1s", name=f"{name} 1")
            for name, wanted in teams.items()
            for _ in range(wanted - 10 * (name == "video"))
        ]
        # A series that is new stays at 0: that it was shown cannot be stored.
        exporter.until(lambda m: m.total("workflows_finished_total", team="video") == 30)
        exporter.until(lambda _: all(is_counted(app, workflow_id) for workflow_id in ids))
        assert app._ledger._writer.is_failing
        assert exporter.scrape().total("workflows_finished_total") == 30
        filler.unlink()
        exporter.until_finished(60)
        told = [app.views.workflow(workflow_id) for workflow_id in ids]
        assert app.stop()
        app = App(config, storage=target / "data", hold=0)
        shown = Exporter(app).scrape()
        for name, wanted in teams.items():
            assert shown.total("workflows_finished_total", team=name) == wanted
        assert shown.total("workflows_finished_total") == 60
        for workflow_id, before in zip(ids, told, strict=True):
            story = app.views.workflow(workflow_id)
            assert story is not None
            assert before is not None
            assert (story.events, story.counted_as) == (before.events, "completed")
        app.start()
        assert app.stop()
