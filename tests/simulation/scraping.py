"""The scrapes of a run, and what is checked in each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.metrics import reading
from exporter.metrics.catalogue import CATALOGUE
from exporter.metrics.negotiation import negotiate
from exporter.simulator import PLANTED
from tests.simulation.page_checks import Around, faults_of
from tests.simulation.plan import ACCOUNT
from tests.simulation.scraper import Scraper

if TYPE_CHECKING:
    from random import Random

    from exporter.app.app import App
    from tests.simulation.run import Run

KEPT: Final = frozenset(
    metric.name
    for metric in CATALOGUE
    if getattr(metric.read, "func", None) in (reading.counter, reading.histogram)
)
"""What the ledger keeps."""

LATE_SECONDS: Final = 60.0
"""What the list shows may be known so much later: a copy of it may lag by half a minute, a pass
takes some seconds, and a workflow without a stream is looked for every few seconds."""


class Scrapes:
    """Two servers, which look at all that is shown.

    Args:
        run: whose exporter is scraped.
        dice: draws when they begin.
    """

    def __init__(self, run: Run, dice: Random) -> None:
        self._run, self._dice = run, dice
        self.servers = [Scraper(KEPT, pace) for pace in run.plan.paces]
        self.most_open = 0.0
        """The largest number of open workflows that was shown."""
        self._known: set[str] = set()

    def forget(self) -> None:
        """Another process begins: what the one before knew may be lost."""
        self._known.clear()

    def scrape(self, scraper: Scraper, pace: float) -> None:
        """Be one server, until the run is over."""
        here = self._run.scheduler
        here.sleep(self._dice.uniform(0, 10))
        while not self._run.is_over:
            app, life = self._run.app, self._run.life
            if app is not None and life is not None:
                # In a thread of the process: it may be killed on the way.
                here.spawn(partial(self.answer, app, scraper, self._run.lives), "scrape", life)
            here.sleep(pace)

    def answer(self, app: App, scraper: Scraper, life: int) -> None:
        """Let a server have a page, and check it."""
        asked = scraper.ask()
        as_asked = app.page.asked()
        self._run.scheduler.give_way()
        page = app.page.rendered(as_asked(app.page.read()), negotiate("text/plain")).body.decode()
        if any(secret in page for secret in (PLANTED, *self._run.service.secrets)):
            self._run.result.faults.append("a secret is on the page")
        if self._run.has_lost_memory:
            # Killed while the disk took nothing: counters may go back, once.
            self._run.has_lost_memory = False
            for each in self.servers:
                each.forget()
        if scraper.has_asked_since(asked):
            return  # the machine stood still: the server has given this scrape up
        scraper.take(self._run.scheduler.now, life, page)
        self._look_at(scraper.latest)
        self._look_for_unknown(app, scraper.latest)
        if (
            scraper.faults
            or self._run.ear.faults
            or self._run.network.wire.faults
            or self._run.result.faults
        ):
            self._run.is_over = True  # there is nothing more to learn

    def _look_at(self, page: dict[str, float]) -> None:
        here, life = self._run.scheduler, self._run.life
        if life is None or self._run.begins is not life:
            return
        open_now = page.get('comfycontrol_exporter_ledger_workflows{state="open"}', 0.0)
        self.most_open = max(self.most_open, open_now)
        known = self._run.network.wire.of(life)
        around = Around(
            wall=here.wall(),
            clock_was_put=self._run.clock_was_put,
            age=here.now - self._run.began_at,
            list_age=here.now - known.listed_at,
            interval=self._run.plan.interval,
            has_slices=bool(self._run.plan.metrics),
            share=self._run.share,
            silence=here.now - max(known.heard_at, self._run.named_at, self._run.stood_until),
        )
        at = f" at {here.now:.3f}"
        self._run.result.faults += [fault + at for fault in faults_of(page, around)]

    def _look_for_unknown(self, app: App, page: dict[str, float]) -> None:
        """Whether what was in the list when it was read is known, and so are the ends."""
        name = "comfycontrol_listing_last_success_timestamp_seconds"
        at = page.get(f'{name}{{account="{ACCOUNT}"}}')
        if at is None or self._run.clock_was_put or not self._run.plan.shows_all_rows:
            return
        here = self._run.scheduler
        read = here.now - (here.wall() - at)
        for workflow_id, since, ended in self._run.service.listed():
            if workflow_id not in self._known and app._ledger.find(workflow_id):
                self._known.add(workflow_id)
            is_known = workflow_id in self._known
            is_over = is_known and not app._ledger.is_open(ACCOUNT, workflow_id)
            late = read - (ended if is_known else since)
            if not is_over and late > LATE_SECONDS:
                what = "its end" if is_known else "it"
                self._run.result.faults.append(
                    f"{workflow_id}: the list was read {late:.0f} s after {what}, "
                    f"and it is not known at {here.now:.3f}"
                )
                return
