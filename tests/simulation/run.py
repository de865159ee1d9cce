"""One simulated run: a service, an exporter with all its lives, two scrapers, and the checks."""

from __future__ import annotations

import logging
import tempfile
import traceback
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from exporter.app.app import App
from exporter.budget import journal
from exporter.config import Config
from exporter.ledger import witness
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.sqlite import LedgerInUseError
from exporter.metrics import reading
from exporter.metrics.catalogue import CATALOGUE
from exporter.metrics.negotiation import negotiate
from exporter.simulator import PLANTED
from tests.simulation import disk, network, scheduler, virtual_threading
from tests.simulation.plan import ACCOUNT, Event, Plan
from tests.simulation.scheduler import Life, Scheduler
from tests.simulation.scraper import Scraper, samples
from tests.simulation.services import Simulated, Truth, make_service

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = frozenset(
    metric.name
    for metric in CATALOGUE
    if getattr(metric.read, "func", None) in (reading.counter, reading.histogram)
)
"""What the ledger keeps."""

PERIOD: Final = 10.0
TOLERANCE: Final = 1e-5
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


class _Ear(logging.Handler):
    """Listens to all that is logged, for what must not be."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.lines: deque[str] = deque(maxlen=400)
        self._secrets = secrets

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.name} {record.levelname} {record.getMessage()} " + " ".join(
            f"{key}={value}"
            for key, value in record.__dict__.items()
            if key not in _PLAIN and not key.startswith("_")
        )
        if record.exc_info:
            line += "\n" + "".join(traceback.format_exception(*record.exc_info))
            if record.name.startswith("exporter") or record.name == "asyncio":
                self.faults.append(f"a traceback was logged: {line}")
        self.lines.append(f"{scheduler.world().now:10.3f} {line}")
        if any(secret in line for secret in self._secrets):
            self.faults.append(f"a secret was logged: {line}")


_PLAIN: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message"}


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
        self.disk = disk.Disk(folder, Random(f"{plan.seed}/disk"))
        disk.begin(self.disk)
        witness._BOOT_ID = journal._BOOT_ID = self.disk.boot  # type: ignore[misc]
        self.service: Simulated = make_service(plan, self.network)
        self.scheduler.epoch = self.service.epoch
        self._ear = _Ear([PLANTED, *self.service.secrets])
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
        self.life: Life | None = None
        self.app: App | None = None
        self.lives = 0
        self._wanted = True
        self._power_was_cut = False
        self._stop = virtual_threading.Event()
        self._has_lost_memory = False
        self._others = False
        self._is_over = False
        self.scrapers = [Scraper(KEPT), Scraper(KEPT)]

    # The whole --------------------------------------------------------------------------------

    def go(self) -> Result:
        """Do it."""
        here, faults = self.scheduler, self.result.faults
        self.service.start()
        here.spawn(self._guarded(self._drive), "driver", self.driver)
        for scraper, pace in zip(self.scrapers, (25.0, 50.0), strict=True):
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
        faults += self._ear.faults
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
        self._stop = virtual_threading.Event()
        self.app = None
        self.scheduler.spawn(self._live, "main", life)

    def _live(self) -> None:
        here = self.scheduler
        life = self.life
        assert life is not None
        stop = self._stop
        config = Config.model_validate({"accounts": [self._account]})
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
        if app._ledger._keeping.is_failing:
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

    def _died(self, life: Life) -> None:
        self.network.sever(life)
        if self.app is not None and self.app._ledger._keeping.is_failing:
            # What was shown meanwhile was nowhere else.
            self._has_lost_memory = True
        self.app = None

    def _restart(self, after: float, *, power_cut: bool = False) -> None:
        """The process is gone: bring it back."""
        here = self.scheduler
        self.disk.dies_in_commit = None
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
        config = Config.model_validate({"accounts": [self._account]})
        assert self.life is not None
        self.scheduler.spawn(lambda: app.reload(config), "reload", self.life)

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
        if scraper.faults or self._ear.faults:
            self._is_over = True  # there is nothing more to learn

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
        app = self.app
        if app is None:
            return ["the exporter does not run"]
        snapshot = app._ledger.snapshot()
        totals = snapshot.totals
        truth: Truth = self.service.truth()
        told = []
        outcomes = self._counted()
        expected = Counter(truth.outcomes)
        extra = outcomes - expected
        if expected - outcomes or extra - truth.early:
            told.append(f"outcomes are {dict(outcomes)}, in truth {truth.outcomes}")
        if snapshot.open_workflows and self.service.is_idle():
            told.append(f"{len(snapshot.open_workflows)} are still open")
        causes = Counter[tuple[str, str]]()
        for (_, node, exception), total in totals.counters_named("failures"):
            causes[node, exception] += int(total.value)
        if truth.causes is not None and +causes != Counter(truth.causes):
            told.append(f"causes are {dict(+causes)}, in truth {truth.causes}")
        if told:
            return told  # the rest costs more
        page = app.page.render("text/plain").body.decode()
        latest = samples(page)
        for status, (count, least, most) in truth.runs.items():
            labels = f'{{account="{ACCOUNT}",status="{status}"}}'
            name = "comfycontrol_workflow_run_duration_seconds"
            found = latest.get(f"{name}_count{labels}", 0)
            if not count <= found <= count + truth.early[status]:
                told.append(f"{found:g} runs of {status}, in truth {count}")
            seconds = latest.get(f"{name}_sum{labels}", 0.0)
            if truth.early[status]:
                continue
            if not least - TOLERANCE <= seconds <= most + TOLERANCE:
                told.append(f"{seconds} s of {status}, in truth {least} to {most}")
        return told

    def _counted(self) -> Counter[str]:
        assert self.app is not None
        outcomes = Counter[str]()
        for (_, status), total in self.app._ledger.snapshot().totals.counters_named("finished"):
            outcomes[status] += int(total.value)
        return +outcomes

    def _finish(self) -> None:
        faults, here = self.result.faults, self.scheduler
        app = self.app
        assert app is not None
        for scraper in self.scrapers:
            self._answer(app, scraper, self.lives)  # each has seen the end
        latest = self.scrapers[0].latest
        self._check_sums(latest)
        up = latest.get(f'comfycontrol_account_up{{account="{ACCOUNT}"}}')
        if up != 1:
            faults.append(f"the account is up, and account_up says {up}")
        self._check_requests()
        self._check_increase()
        self.result.finished = self._counted().total()
        self._stop.set()
        assert self.life is not None
        for _ in range(60):
            if self.life.is_dead:
                break
            here.sleep(0.5)
        else:
            faults.append("the stop did not come to an end")

    def _check_sums(self, latest: dict[str, float]) -> None:
        def sum_of(name: str) -> float:
            return sum(value for series, value in latest.items() if series.startswith(f"{name}{{"))

        discovered = sum_of("comfycontrol_workflows_discovered_total")
        finished = sum_of("comfycontrol_workflows_finished_total")
        still_open = sum_of("comfycontrol_workflows")
        dropped = sum_of("comfycontrol_workflows_dropped_total")
        if discovered != finished + still_open + dropped:
            self.result.faults.append(
                f"discovered {discovered:g} is not finished {finished:g} + open {still_open:g} + "
                f"dropped {dropped:g}"
            )

    def _check_requests(self) -> None:
        times = self.service.asked_at()
        self.result.requests = len(times)
        share = int(40 * (1 - self._account["rate_limit"]["reserve"]) + 1e-9)
        window: deque[float] = deque()
        for at in times:
            window.append(at)
            # The service's window is open at its beginning.
            while window[0] <= at - PERIOD:
                window.popleft()
            if len(window) > share:
                self.result.faults.append(
                    f"{len(window)} requests in the period until {at:.3f}, the share is {share}"
                )
                break
        if self.service.refused() and not (self._others or self.service.has_neighbours):
            self.result.faults.append(f"{self.service.refused()} requests were refused")

    def _check_increase(self) -> None:
        # What is counted is right: that was seen. So it is what must be seen to have grown.
        truth = self._counted()
        for number, scraper in enumerate(self.scrapers):
            if scraper.was_cut:
                continue
            for status in ("completed", "failed", "cancelled", "invalid"):
                labels = f'{{account="{ACCOUNT}",status="{status}"}}'
                series = f"comfycontrol_workflows_finished_total{labels}"
                points = scraper.series.get(series, [])
                if len(points) < 2:
                    continue
                found = scraper.increase(series, points[0][0] - 1e-9, points[-1][0])
                expected = truth[status] - points[0][1]
                if found is None or abs(found - expected) > 1e-6 * max(1.0, expected):
                    self.result.faults.append(
                        f"scraper {number}: increase of {status} is {found}, in truth {expected}"
                    )
            # Series whose labels nobody knew in advance: each is seen at 0 first.
            grown = first = 0.0
            for series, points in scraper.series.items():
                if series.startswith("comfycontrol_workflow_failures_total{"):
                    first += points[0][1]
                    grown += points[-1][1]
            if first:
                self.result.faults.append(
                    f"scraper {number}: failures of new labels began at {first:g}, not at 0"
                )


def run(plan: Plan) -> tuple[Result, list[str]]:
    """Run a plan; what came of it, and the end of the log."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=_memory()) as folder:
        it = Run(plan, Path(folder))
        result = it.go()
        return result, list(it._ear.lines)


def _memory() -> str | None:
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() else None
