"""One simulated run: a service, an exporter with all its lives, two scrapers, and the checks."""

from __future__ import annotations

import logging
import tempfile
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from exporter.app.app import App
from exporter.budget import journal
from exporter.config import Config
from exporter.interfaces.observations import NoRoomError, TrackError
from exporter.ledger import witness
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.sqlite import LedgerInUseError
from exporter.metrics import reading
from exporter.metrics.catalogue import CATALOGUE
from exporter.metrics.negotiation import negotiate
from exporter.simulator import PLANTED
from tests.simulation import disk, network, scheduler, verdict, virtual_threading
from tests.simulation.ear import Ear
from tests.simulation.page_checks import Around, faults_of
from tests.simulation.plan import ACCOUNT, Event, Plan
from tests.simulation.scheduler import Life, Scheduler
from tests.simulation.scraper import Scraper
from tests.simulation.services import Simulated, make_service

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = frozenset(
    metric.name
    for metric in CATALOGUE
    if getattr(metric.read, "func", None) in (reading.counter, reading.histogram)
)
"""What the ledger keeps."""

STOP_WITHIN: Final = 3.0
MOST_STEPS: Final = 3_000_000


@dataclass
class Result:
    """What came of a run."""

    seed: int
    seconds: float = 0.0
    steps: int = 0
    trace: int = 0
    lives: int = 0
    finished: int = 0
    requests: int = 0
    healed: float = 0.0
    """Seconds of fair weather until everything was right."""
    faults: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


class Run:
    """A run of a plan."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.result = Result(plan.seed, parts=plan.parts)
        self.scheduler = Scheduler(
            Random(f"{plan.seed}/schedule"), eagerness=plan.eagerness, cost=plan.cost
        )
        self.scheduler.wall_error = plan.wall_error
        scheduler.begin(self.scheduler)
        self._dice = Random(f"{plan.seed}/events")
        self.network = network.Network(plan.latency)
        network.begin(self.network)
        self.disk = disk.Disk(
            folder,
            Random(f"{plan.seed}/disk"),
            loses_power=any(event.kind == "power-cut" for event in plan.events),
        )
        disk.begin(self.disk)
        witness._BOOT_ID = journal._BOOT_ID = self.disk.boot  # type: ignore[misc]
        self.service: Simulated = make_service(plan, self.network)
        self.scheduler.epoch = self.service.epoch
        self._ear = Ear([PLANTED, *self.service.secrets])
        root = logging.getLogger()
        root.handlers[:] = [self._ear]
        root.setLevel(logging.INFO)
        self._jitter = Random(f"{plan.seed}/jitter").random
        self.driver = Life("driver")
        self._account: dict[str, Any] = {
            "name": ACCOUNT,
            "token": self.service.token,
            "base_url": "http://service",
            **plan.account,
        }
        self._id_file = folder / "ids.yml"
        if any(event.kind == "id-file" for event in plan.events):
            self._account["workflow_files"] = [str(self._id_file)]
        self.life: Life | None = None
        self.app: App | None = None
        self.lives = 0
        self._wanted = True
        self._power_was_cut = False
        self._stop = virtual_threading.Event()
        self._has_lost_memory = False
        self._clock_was_put = False
        self._named_at = -inf
        self._forgot_at: list[float] = []
        self._begins: Life | None = None
        self._began_at = inf
        self._others = False
        self._most_open = 0.0
        self._is_over = False
        self.scrapers = [Scraper(KEPT), Scraper(KEPT)]

    # The whole --------------------------------------------------------------------------------

    def go(self) -> Result:
        """Do it."""
        here, faults = self.scheduler, self.result.faults
        self.service.start()
        here.spawn(self._guarded(self._drive), "driver", self.driver)
        for scraper, pace in zip(self.scrapers, self.plan.paces, strict=True):
            here.spawn(self._guarded(partial(self._scrape, scraper, pace)), "scraper", self.driver)
        try:
            here.run(lambda: self._is_over or bool(here.failures) or here.steps > MOST_STEPS)
        except scheduler.Stuck:
            faults.append("nothing can happen any more, and the end has not come")
        if here.steps > MOST_STEPS:
            faults.append(f"no end after {MOST_STEPS} steps: something goes round in circles")
        faults += here.failures
        for scraper in self.scrapers:
            faults += scraper.faults
        faults += self._ear.faults + self.network.wire.faults
        result = self.result
        result.seconds, result.steps, result.trace = here.now, here.steps, here.trace
        result.lives = self.lives
        return result

    def _guarded(self, function: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                function()
            except Exception:  # noqa: BLE001 - of the simulation itself
                self.scheduler.failures.append(traceback.format_exc())
            if self.scheduler.failures:
                self._is_over = True

        return run

    # Lives ------------------------------------------------------------------------------------

    def _begin_life(self) -> None:
        """Start the process, as a service manager does."""
        self.lives += 1
        life = self.life = Life(f"exporter {self.lives}")
        life.on_death = lambda: self._died(life)
        self._begins, self._began_at = life, self.scheduler.now
        self._named_at = self.scheduler.now
        self._stop = virtual_threading.Event()
        self.app = None
        self.scheduler.spawn(self._live, "main", life)

    def _live(self) -> None:
        here = self.scheduler
        life = self.life
        assert life is not None
        stop = self._stop
        config = self._config()
        app = None
        while app is None:
            try:
                app = App(
                    config,
                    storage=self.disk.folder,
                    jitter=self._jitter,
                    collectors=(),
                    fresh_services=False,
                )
            except (OpenLedgerError, LedgerInUseError) as error:
                if self.disk.fault is None:
                    here.failures.append(f"it would not start: {error}")
                    return
                here.sleep(5.0)
        app.start()
        self.app = app
        stop.wait()
        self.app = None
        if not app.stop(STOP_WITHIN):
            self.result.faults.append(f"it did not stop in {STOP_WITHIN} s at {here.now:.3f}")
        if app._ledger._writer.is_failing:
            self._has_lost_memory = True
        # Pools let their threads go a moment later.
        for _ in range(20):
            if len(life.alive()) <= 1:
                break
            here.sleep(0.5)
        left = [task.name for task in life.alive() if task is not here.current]
        if left:
            self.result.faults.append(f"threads are left after the stop: {left}")
        life.on_death = None
        self.network.sever(life)
        life.is_dead = True

    def _config(self) -> Config:
        return Config.model_validate({"accounts": [self._account], "metrics": self.plan.metrics})

    def _died(self, life: Life) -> None:
        self.network.sever(life)
        if self.app is not None and self.app._ledger._writer.is_failing:
            # What was shown meanwhile was nowhere else.
            self._has_lost_memory = True
        self.app = None

    def _restart(self, after: float, *, power_cut: bool = False) -> None:
        """The process is gone: bring it back."""
        here = self.scheduler
        self.disk.dies_in_commit = None
        if power_cut or self.disk.lost_a_note:
            self._forgot_at.append(here.monotonic())
        self.disk.after_kill(power_cut=power_cut)
        here.sleep(after)
        self._begin_life()

    # What befalls it --------------------------------------------------------------------------

    def _drive(self) -> None:
        here = self.scheduler
        here.sleep(self._dice.uniform(0, 5))
        self._begin_life()
        # What ends before the line is drawn is nobody's to count.
        while not self._has_listed():
            here.sleep(0.2)
        self.service.open_up()
        for event in self.plan.events:
            self._until(event.at)
            self._befall(event)
        self._until(self.plan.storm)
        self._clear_up()
        self._heal()
        self._finish()
        self._is_over = True

    def _has_listed(self) -> bool:
        app = self.app
        return app is not None and app._instruments.list_completed_at(ACCOUNT) is not None

    def _until(self, at: float) -> None:
        """Wait until then; bring the process back whenever it dies."""
        here = self.scheduler
        while here.now < at:
            here.sleep(min(1.0, at - here.now))
            if self.life is not None and self.life.is_dead:
                self._restart(self._dice.uniform(0.1, 30.0))

    def _befall(self, event: Event) -> None:
        here, life = self.scheduler, self.life
        here.note(event.kind)
        assert life is not None
        match event.kind:
            case "kill" | "power-cut":
                if not life.is_dead:
                    here.kill(life)
                self._restart(event.much, power_cut=event.kind == "power-cut")
            case "kill-later":
                life.dies_at = life.steps + int(self._dice.expovariate(1 / 300))
            case "kill-in-commit":
                self.disk.dies_in_commit = self._dice.randint(0, 6)
            case "stop":
                self._stop.set()
                while not life.is_dead:
                    here.sleep(0.5)
                self._restart(event.much)
            case "reload":
                self._reload()
            case "push" | "withdraw":
                self._name_some(event.kind)
            case "id-file":
                self._write_ids()
            case "away":
                self._for(event.much, lambda on: setattr(self.network, "is_away", on))
            case "disk-full" | "disk-read-only" | "disk-failing":
                fault = event.kind.removeprefix("disk-")
                self._for(event.much, lambda on: setattr(self.disk, "fault", fault if on else None))
            case "others":
                self._others = True
                self.scheduler.spawn(
                    self._guarded(lambda: self._use_up(event.much)), "others", self.driver
                )
            case "drop-connections":
                for sock in list(self.network.open.values()):
                    sock.broken(104)
            case "clock-jumps":
                self._clock_was_put = True
                here.wall_error += self._dice.choice((-3600.0, -5.0, 5.0, 3600.0))
            case "standstill":
                # Of the whole machine, in which the service goes on.
                self._stand_still(life, event.much)
            case _:
                raise ValueError(event.kind)

    def _for(self, seconds: float, switch: Callable[[bool], None]) -> None:
        switch(True)
        self.scheduler.after(seconds, lambda: switch(False))

    def _stand_still(self, life: Life, seconds: float) -> None:
        here = self.scheduler
        here.freeze(life, here.now + seconds)

    def _use_up(self, seconds: float) -> None:
        """Somebody else on the address asks, more than is left to them."""
        here, end = self.scheduler, self.scheduler.now + seconds
        while here.now < end:
            self.service.others_ask()
            here.sleep(self._dice.expovariate(4.0))

    def _reload(self) -> None:
        app = self.app
        if app is None:
            return
        self._account["max_streams"] = self._dice.choice((1, 3, 500))
        listing = dict(self._account["listing"])
        listing["interval"] = self._dice.choice((5, 10, 20))
        self._account["listing"] = listing
        config = self._config()
        assert self.life is not None
        self.scheduler.spawn(lambda: app.reload(config), "reload", self.life)

    def _name_some(self, what: str) -> None:
        """A program pushes what it has submitted, and an id that does not exist; or takes back."""
        app = self.app
        known = self.service.new_ids()
        ids = self._dice.sample(known, min(len(known), 5))
        if app is None or self.life is None:
            return

        def act() -> None:
            self._named_at = inf  # until it is over, and from then on it is so old
            # The sender of what was not taken is told, and pushes again; here the list tells it.
            with suppress(NoRoomError, TrackError):
                if what == "push":
                    unknown = UUID(int=self._dice.getrandbits(128), version=4)
                    app.pushed.push(ACCOUNT, [*ids, str(unknown)])
                else:
                    for each in ids:
                        app.pushed.untrack(ACCOUNT, each)
            self._named_at = self.scheduler.now

        self.scheduler.spawn(act, what, self.life)

    def _write_ids(self) -> None:
        """A file of ids is written, half written, or gone."""
        known = self.service.new_ids()
        ids = self._dice.sample(known, min(len(known), 5))
        text = "".join(f"- {each}\n" for each in ids) or "[]\n"
        fate = self._dice.random()
        if fate < 0.2:
            self._id_file.unlink(missing_ok=True)
            return
        if fate < 0.4:
            text = text[: len(text) // 2]
        # As a careful program does: another file of the same name.
        fresh = self._id_file.with_suffix(".new")
        fresh.write_text(text, "ascii")
        fresh.replace(self._id_file)
        self._named_at = self.scheduler.now + 15.0  # it is read by then

    def _clear_up(self) -> None:
        """From now on the weather is fair."""
        self.network.is_away = False
        self.disk.fault = None
        self.disk.dies_in_commit = None
        if self.life is not None:
            self.life.dies_at = None
        self.service.calm()
        if self.life is not None and self.life.is_dead:
            self._restart(1.0)

    # The scrapers -----------------------------------------------------------------------------

    def _scrape(self, scraper: Scraper, pace: float) -> None:
        here = self.scheduler
        here.sleep(self._dice.uniform(0, 10))
        while not self._is_over:
            app, life = self.app, self.life
            if app is not None and life is not None:
                # In a thread of the process: it may be killed on the way.
                here.spawn(partial(self._answer, app, scraper, self.lives), "scrape", life)
            here.sleep(pace)

    def _answer(self, app: App, scraper: Scraper, life: int) -> None:
        as_asked = app.page.asked()
        self.scheduler.give_way()
        page = app.page.rendered(as_asked(app.page.read()), negotiate("text/plain")).body.decode()
        if any(secret in page for secret in (PLANTED, *self.service.secrets)):
            self.result.faults.append("a secret is on the page")
        if self._has_lost_memory:
            # Killed while the disk took nothing: counters may go back, once.
            self._has_lost_memory = False
            for each in self.scrapers:
                each.forget()
        scraper.take(self.scheduler.now, life, page)
        self._look_at(scraper.latest)
        if scraper.faults or self._ear.faults or self.network.wire.faults or self.result.faults:
            self._is_over = True  # there is nothing more to learn

    def _look_at(self, page: dict[str, float]) -> None:
        here, life = self.scheduler, self.life
        if life is None or self._begins is not life:
            return
        open_now = page.get('comfycontrol_exporter_ledger_workflows{state="open"}', 0.0)
        self._most_open = max(self._most_open, open_now)
        known = self.network.wire.of(life)
        around = Around(
            wall=here.wall(),
            clock_was_put=self._clock_was_put,
            age=here.now - self._began_at,
            list_age=here.now - known.listed_at,
            has_slices=bool(self.plan.metrics),
            share=self._share,
            silence=here.now - max(known.heard_at, self._named_at),
        )
        at = f" at {here.now:.3f}"
        self.result.faults += [fault + at for fault in faults_of(page, around)]

    # The end ----------------------------------------------------------------------------------

    def _heal(self) -> None:
        """Wait until all is right, for an hour at most."""
        here = self.scheduler
        begin = here.now
        while here.now < begin + self.plan.patience:
            here.sleep(5.0)
            if self.service.is_idle() and not self._differences():
                break
        self.result.healed = here.now - begin
        # What is counted twice comes late; and new series are held at 0 for a while.
        here.sleep(self.plan.settle)
        self.result.faults += self._differences()

    def _differences(self) -> list[str]:
        """Every way in which what is counted is not what happened."""
        if self.app is None:
            return ["the exporter does not run"]
        return verdict.differences(self.app, self.service)

    @property
    def _share(self) -> int:
        return int(40 * (1 - self._account["rate_limit"]["reserve"]) + 1e-9)

    def _finish(self) -> None:
        faults, here, app, life = self.result.faults, self.scheduler, self.app, self.life
        assert app is not None
        assert life is not None
        for scraper in self.scrapers:
            self._answer(app, scraper, self.lives)  # each has seen the end
        faults += verdict.of_sums(self.scrapers[0].latest)
        age = here.now - self._began_at
        faults += verdict.of_itself(self.scrapers[0].latest, here.wall(), age)
        faults += verdict.of_requests(
            self.service, self._share, self._forgot_at, others_ask=self._others
        )
        self.result.requests = len(self.service.asked_at())
        # What is counted is right: that was seen. So it is what must be seen to have grown.
        counted = verdict.counted(app)
        faults += verdict.of_increase(self.scrapers, counted)
        files = {path.name: path.stat().st_size for path in self.disk.folder.iterdir()}
        sockets = sum(each.life is life for each in self.network.open.values())
        faults += verdict.of_growth(app, life, sockets - int(self._most_open), files)
        self.result.finished = counted.total()
        self._stop.set()
        for _ in range(60):
            if life.is_dead:
                break
            here.sleep(0.5)
        else:
            faults.append("the stop did not come to an end")


def run(plan: Plan) -> tuple[Result, list[str]]:
    """Run a plan; what came of it, and the end of the log."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=_memory()) as folder:
        it = Run(plan, Path(folder))
        result = it.go()
        return result, list(it._ear.lines)


def _memory() -> str | None:
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() else None
