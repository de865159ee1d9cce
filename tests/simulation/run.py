"""One simulated run: a service, an exporter with all its lives, two scrapers, and the checks."""

from __future__ import annotations

import logging
import tempfile
import traceback
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from exporter.app.app import App
from exporter.budget import journal
from exporter.config import Config
from exporter.following.reconciling import Pace
from exporter.ledger import witness
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.sqlite import LedgerInUseError
from exporter.simulator import PLANTED
from tests.simulation import disk, network, quiet, scheduler, verdict, virtual_threading
from tests.simulation.ear import Ear
from tests.simulation.events import Events
from tests.simulation.growth import Growth
from tests.simulation.plan import ACCOUNT, Plan
from tests.simulation.quiet import Quiet
from tests.simulation.scheduler import Life, Scheduler
from tests.simulation.scraping import Scrapes
from tests.simulation.services import Simulated, make_service

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_WITHIN: Final = 3.0


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
    objects: int = 0
    """The most that the process held in a long run, when nothing happened."""
    rows: int = 0
    """The most settled workflows in its ledger, and the size of that below."""
    size: int = 0
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
        self.scheduler.epoch = plan.epoch
        scheduler.begin(self.scheduler)
        self._dice = Random(f"{plan.seed}/events")
        self.network = network.Network(plan.latency)
        network.begin(self.network)
        self.quiet = Quiet(lambda: self.app, ACCOUNT)
        quiet.begin(self.quiet if plan.days else None)
        self.disk = disk.Disk(
            folder,
            Random(f"{plan.seed}/disk"),
            loses_power=any(event.kind == "power-cut" for event in plan.events),
            has_boot_id=plan.has_boot_id,
        )
        disk.begin(self.disk)
        witness._BOOT_ID = journal._BOOT_ID = self.disk.boot  # type: ignore[misc]
        self.service: Simulated = make_service(plan, self.network)
        self.scheduler.epoch = self.service.epoch
        # Only now: the service has made its clock, which is right.
        self.scheduler.wall_error = plan.wall_error
        self.ear = Ear([PLANTED, *self.service.secrets])
        root = logging.getLogger()
        root.handlers[:] = [self.ear]
        root.setLevel(logging.INFO)
        self._jitter = Random(f"{plan.seed}/jitter").random
        self.driver = Life("driver")
        self.token_file = folder / "token"
        if plan.days:
            self.give_token(self.service.token)
        self.account: dict[str, Any] = {
            "name": ACCOUNT,
            **(
                {"token_file": str(self.token_file)} if plan.days else {"token": self.service.token}
            ),
            "base_url": "http://service",
            **plan.account,
        }
        self.id_file = folder / "ids.yml"
        if any(event.kind == "id-file" for event in plan.events):
            self.account["workflow_files"] = [str(self.id_file)]
        self.life: Life | None = None
        self.app: App | None = None
        self.lives = 0
        self.stop = virtual_threading.Event()
        self.has_lost_memory = False
        self.clock_put_until = -inf
        """Until then what was noted by its wall clock may be from before somebody has put it."""
        self.named_at = -inf
        self.stood_until = -inf
        """Until then the process did not go on: what had come meanwhile was read then."""
        self._forgot_at: list[float] = []
        self._booted = -scheduler.MONOTONIC
        self._uptime = Random(f"{plan.seed}/uptime")
        self._is_new_here = True
        self._first_steps: list[tuple[float, float]] = []
        self.begins: Life | None = None
        self.began_at = inf
        self.others_ask = False
        self.is_over = False
        self._look = 300.0 if plan.days else 1.0
        self.growth = Growth(self)
        self.events = Events(self, self._dice)
        self.scrapes = Scrapes(self, self._dice)

    # The whole --------------------------------------------------------------------------------

    def go(self) -> Result:
        """Do it."""
        here, faults = self.scheduler, self.result.faults
        self.service.start()
        here.spawn(self.guarded(self._drive), "driver", self.driver)
        if self.plan.days:
            here.spawn(self.guarded(self.growth.watch), "growth", self.driver)
        for scraper, pace in zip(self.scrapes.servers, self.plan.paces, strict=True):
            here.spawn(
                self.guarded(partial(self.scrapes.scrape, scraper, pace)), "scraper", self.driver
            )
        try:
            here.run(lambda: self.is_over or bool(here.failures) or here.steps > self.plan.steps)
        except scheduler.Stuck:
            faults.append("nothing can happen any more, and the end has not come")
        if here.steps > self.plan.steps:
            faults.append(f"no end after {here.steps} steps: something goes round in circles")
        faults += here.failures
        for scraper in self.scrapes.servers:
            faults += scraper.faults
        faults += self.ear.faults + self.network.wire.faults
        result = self.result
        result.seconds, result.steps, result.trace = here.now, here.steps, here.trace
        result.lives = self.lives
        return result

    def guarded(self, function: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                function()
            except Exception:  # noqa: BLE001 - of the simulation itself
                self.scheduler.failures.append(traceback.format_exc())
            if self.scheduler.failures:
                self.is_over = True

        return run

    @property
    def clock_was_put(self) -> bool:
        return self.scheduler.now < self.clock_put_until

    # Lives ------------------------------------------------------------------------------------

    def _begin_life(self) -> None:
        """Start the process, as a service manager does."""
        self.lives += 1
        life = self.life = Life(f"exporter {self.lives}")
        life.on_death = lambda: self._died(life)
        # What the driver asks of the exporter it asks on its machine.
        life.booted = self.driver.booted = self._booted
        now = self._service_now()
        if self._is_new_here:
            self._first_steps.append((now, now + verdict.PERIOD))
            self._is_new_here = False
        elif self._first_steps:
            # Another start learns what was asked by then.
            begin, end = self._first_steps[-1]
            self._first_steps[-1] = begin, min(end, now)
        self.scrapes.forget()
        self.begins, self.began_at = life, self.scheduler.now
        self.named_at = self.scheduler.now
        self.stop = virtual_threading.Event()
        self.app = None
        self.scheduler.spawn(self._live, "main", life)

    def _service_now(self) -> float:
        """Now, by the service's clock."""
        return self.scheduler.now + scheduler.MONOTONIC

    def _live(self) -> None:
        here = self.scheduler
        life = self.life
        assert life is not None
        stop = self.stop
        config = self.config()
        app = None
        while app is None:
            try:
                app = App(
                    config,
                    storage=self.disk.folder,
                    jitter=self._jitter,
                    collectors=(),
                    fresh_services=False,
                    reconciling=Pace(**self.plan.reconciling),
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
            self.has_lost_memory = True
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

    def give_token(self, token: str) -> None:
        """Let the exporter have a token."""
        self.token_file.write_text(token, "ascii")

    def config(self) -> Config:
        content = {"accounts": [self.account], "metrics": self.plan.metrics}
        return Config.model_validate(content)

    def _died(self, life: Life) -> None:
        self.network.sever(life)
        if self.app is not None and self.app._ledger._writer.is_failing:
            # What was shown meanwhile was nowhere else.
            self.has_lost_memory = True
        self.app = None

    def restart(self, after: float, *, power_cut: bool = False) -> None:
        """The process is gone: bring it back."""
        here = self.scheduler
        self.disk.dies_in_commit = None
        if power_cut or self.disk.lost_a_note:
            self._forgot_at.append(self._service_now())
        if power_cut:
            # The machine's clock begins again. What an earlier boot noted may look as if it were
            # of this one, so only the first cut surely makes it forget.
            self._is_new_here = self._booted == -scheduler.MONOTONIC
            self._booted = here.now - self._uptime.uniform(5.0, 60.0)
        self.disk.after_kill(power_cut=power_cut)
        here.sleep(after)
        self._begin_life()

    # Its course -------------------------------------------------------------------------------

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
            self.events.befall(event)
        self._until(self.plan.storm)
        self._clear_up()
        self._heal()
        self._finish()
        self.is_over = True

    def _has_listed(self) -> bool:
        app = self.app
        return app is not None and app._instruments.list_completed_at(ACCOUNT) is not None

    def _until(self, at: float) -> None:
        """Wait until then; bring the process back whenever it dies."""
        here = self.scheduler
        while here.now < at:
            here.sleep(min(self._look, at - here.now))
            if self.life is not None and self.life.is_dead:
                self.restart(self._dice.uniform(0.1, 30.0))

    def _clear_up(self) -> None:
        """From now on the weather is fair."""
        self.network.is_away = False
        self.disk.fault = None
        self.disk.dies_in_commit = None
        if self.life is not None:
            self.life.dies_at = None
        self.service.calm()
        if self.life is not None and self.life.is_dead:
            self.restart(1.0)

    # The end ----------------------------------------------------------------------------------

    def _heal(self) -> None:
        """Wait until all is right, for an hour at most, or for as long as a long plan says."""
        here = self.scheduler
        begin = here.now
        faults: list[str] = []
        while here.now < begin + self.plan.patience:
            here.sleep(max(5.0, self._look))
            # So that it is still true after the wait below.
            lately = self.plan.interval + verdict.LIST_SECONDS / 2
            if not self.service.is_idle() or self._differences(lately):
                continue
            self.result.healed = here.now - begin
            # What is counted twice comes late; and new series are held at 0 for a while.
            here.sleep(self.plan.settle)
            faults = self._differences(self.plan.interval + verdict.LIST_SECONDS)
            if not faults:
                return
            # Perhaps what is counted was right by chance: one that had ended before counting began
            # was counted, which is allowed, and one that ended just now was not seen yet.
        self.result.healed = here.now - begin
        self.result.faults += faults or self._differences(self.plan.interval + verdict.LIST_SECONDS)

    def _differences(self, lately: float) -> list[str]:
        """Every way in which what is counted is not what happened."""
        if self.app is None:
            return ["the exporter does not run"]
        here = self.scheduler
        age = here.now - self.began_at
        return verdict.differences(self.app, self.service, here.wall(), age, lately)

    @property
    def share(self) -> int:
        return int(40 * (1 - self.account["rate_limit"]["reserve"]) + 1e-9)

    def _finish(self) -> None:
        faults, here, app, life = self.result.faults, self.scheduler, self.app, self.life
        assert app is not None
        assert life is not None
        for scraper in self.scrapes.servers:
            self.scrapes.answer(app, scraper, self.lives)  # each has seen the end
        faults += verdict.of_sums(self.scrapes.servers[0].latest)
        age = here.now - self.began_at
        lately = self.plan.interval + verdict.LIST_SECONDS
        faults += verdict.of_itself(self.scrapes.servers[0].latest, here.wall(), age, lately)
        faults += verdict.of_requests(
            self.service, self.share, self._forgot_at, others_ask=self.others_ask
        )
        faults += verdict.of_first_steps(self.service, self.share, self._first_steps)
        self.result.requests = len(self.service.asked_at())
        # What is counted is right: that was seen. So it is what must be seen to have grown.
        counted = verdict.counted(app)
        faults += verdict.of_increase(self.scrapes.servers, counted)
        files = {path.name: path.stat().st_size for path in self.disk.folder.iterdir()}
        sockets = sum(each.life is life for each in self.network.open.values())
        faults += verdict.of_growth(app, life, sockets - int(self.scrapes.most_open), files)
        self.result.finished = counted.total()
        self.stop.set()
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
        return result, list(it.ear.lines)


def _memory() -> str | None:
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() else None
