"""A service, a lister, a ledger and a reconciler in virtual time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    BadRequestError,
    Call,
    ServiceError,
    TooLargeError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following.list_pages import ListPages
from exporter.following.page_observations import observations_of
from exporter.following.paging import PageToRead
from exporter.following.reconciler import Reconciler
from exporter.following.reconciling import ListTerms, Pace, Reconciliation
from exporter.following.rereading import ComparedAccount
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import DOCUMENTED_ENDS, Moment
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.ledger import Ledger
from exporter.ledger.store import Store
from exporter.retrying import Backoff
from tests.running import at_once, called
from tests.unit.ledger.ledgers import T0, Clocks, counter, make_ledger, uuid

LOOKBACK = 86_400.0
LIST_EVERY = 5.0
LOOK_AT_CLOCK_SECONDS = 1e-5
TERMS = {"studio": AccountTerms(LOOKBACK, listed=True)}


class Silent:
    """Anyone who is notified of pages."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Takes whatever it is told."""
        return lambda *_: None


class Straight:
    """The way to the service without a gate and a budget."""

    def __init__(self, service: "Service") -> None:
        self.account = "studio"
        self.client = service

    in_thread = staticmethod(called)

    async def ask(self, priority: Priority, request: Callable[[Call], Any], **_: Any) -> Any:
        """Ask at once."""
        assert priority is Priority.RECONCILE
        return request(Call())


@dataclass
class Service:
    """Workflows by number, newest first in its lists, and what it makes of requests."""

    now: Callable[[], float]
    rows: dict[int, WorkflowSummary] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=dict)
    """Ends of runs so far, by status."""
    per_page: int = 100
    """The most that it gives at once."""
    stale: float = 0.0
    """How old its totals are; seconds."""
    clock: float = 0.0
    """By how much the clock that its answers tell is ahead of that of its stamps; seconds."""
    refused: dict[str, ServiceError] = field(default_factory=dict)
    outage: ServiceError | None = None
    """What it answers to all that asks for more than a row."""
    unfiltered: set[str] = field(default_factory=set)
    """Statuses that it does not filter by, and shows everything instead."""
    deepest: float = inf
    """Rows further down than this are refused."""
    longest: float = inf
    """Rows beyond which a page is too long."""
    beyond: dict[str, int] = field(default_factory=dict)
    """What its total of a status says more than its list shows."""
    first_page: int = 1
    """The number of its first page."""
    malformed: int = 0
    """Entries of each page that cannot be read."""
    asked: list[tuple[str | None, PageToRead]] = field(default_factory=list)
    totals: list[tuple[float, str | None, int]] = field(default_factory=list)

    def create(self, number: int) -> None:
        """A workflow is queued."""
        self.rows[number] = WorkflowSummary(
            uuid(number), "queued", created_at=self.now(), updated_at=self.now()
        )

    def run(self, number: int) -> None:
        """It starts, or starts again."""
        self.rows[number] = replace(
            self.rows[number],
            status="running",
            started_at=self.now(),
            completed_at=None,
            updated_at=self.now(),
        )

    def finish(self, number: int, status: str) -> None:
        """Its run ends."""
        self.rows[number] = replace(
            self.rows[number], status=status, completed_at=self.now(), updated_at=self.now()
        )
        self.outcomes[status] = self.outcomes.get(status, 0) + 1

    def shown(self, status: str | None = None) -> list[WorkflowSummary]:
        """What its list has, newest first."""
        return [
            row
            for number, row in sorted(self.rows.items(), reverse=True)
            if number not in self.hidden and status in {None, row.status}
        ]

    def note_totals(self) -> None:
        """Remember them, for answers that are stale."""
        if not self.stale:
            return
        for status in (None, "queued", "running", *(s.value for s in DOCUMENTED_ENDS)):
            self.totals.append((self.now(), status, len(self.shown(status))))
        del self.totals[:-2000]

    def _total(self, status: str | None) -> int:
        if not self.stale:
            return len(self.shown(status)) + self.beyond.get(status or "", 0)
        then = self.now() - self.stale
        known = [n for at, of, n in self.totals if of == status and at <= then]
        return known[-1] if known else 0

    def list_workflows(
        self, *, page: int, per_page: int, status: str | None, call: Call
    ) -> WorkflowPage:
        """Answer."""
        name = status
        self.asked.append((name, PageToRead(page, per_page)))
        if name in self.refused:
            raise self.refused[name]
        if self.outage is not None and per_page > 1:
            raise self.outage
        if name in self.unfiltered:
            name = None
        size = min(per_page, self.per_page)
        if size > self.longest:
            raise TooLargeError("list: the body is too long", code="200")
        first = (page - self.first_page) * size
        if first >= self.deepest:
            raise BadRequestError("list: answered with status 400", code="400")
        rows = tuple(self.shown(name)[max(0, first) : first + size]) if first >= 0 else ()
        return WorkflowPage(
            rows, self._total(name), self.malformed, len(rows), self.now() + self.clock
        )


class World:
    """All of it, and what time does."""

    def __init__(self, pace: Pace | None = None, store: Store | None = None) -> None:
        self.clocks = Clocks()
        self.clocks.wall = T0 + 100.0
        self.service = Service(lambda: self.clocks.wall)
        self.missed: set[int] = set()
        """Workflows that the lister never sees."""
        self.pace = pace or Pace()
        self.ledger = self.open_ledger(store)
        self._list_read_at: float | None = None
        self._listed = self.clocks.monotonic
        self.restart()

    def open_ledger(self, store: Store | None = None) -> Ledger:
        """A ledger, as a starting process has it."""
        self.ledger = make_ledger(self.clocks, store, terms=TERMS)
        return self.ledger

    def restart(self) -> None:
        """Another process, on the same ledger."""
        self._list_read_at = None
        self._listed_as: dict[str, WorkflowSummary] = {}
        access: Any = Straight(self.service)
        silent: Any = Silent()
        self.lists = ListPages(
            access,
            silent,
            take_top=lambda _: None,
            top_again=inf,
            now=self.clocks,
            backoff=Backoff(lambda: 0.5),
            turns=(Priority.RECONCILE, Priority.RECONCILE),
            sleep=self._sleep,
        )
        no_loop: Any = None
        self.reconciler = Reconciler(
            no_loop,
            ComparedAccount(
                name="studio",
                lists=self.lists,
                books=self.ledger,
                terms=ListTerms(LIST_EVERY, LOOKBACK),
                pace=self.pace,
                list_read_at=lambda: self._list_read_at,
                now=self.moving,
                in_thread=called,
            ),
        )
        self._step_at = self.clocks.monotonic

    async def _sleep(self, seconds: float) -> None:
        self.clocks.pass_(seconds)

    def moving(self) -> Moment:
        """Now, and no two looks at the clock see the same, as on any real machine."""
        self.clocks.pass_(LOOK_AT_CLOCK_SECONDS)
        return self.clocks()

    def stop_reconciling(self) -> None:
        """Until the restart."""
        self._step_at = inf

    def list_workflows(self) -> None:
        """A pass over the list."""
        at = self.clocks()
        rows = tuple(
            row
            for number, row in sorted(self.service.rows.items(), reverse=True)
            if number not in self.missed | self.service.hidden
        )
        # What has not changed says nothing new.
        news = tuple(row for row in rows if self._listed_as.get(row.id) != row)
        self._listed_as.update({row.id: row for row in news})
        for observation in observations_of("studio", news, ServiceClock(), at):
            self.ledger.observe(observation)
        if rows and rows[0].created_at is not None:
            self.ledger.advance_list_watermark("studio", rows[0].created_at)
        self._list_read_at = at.wall

    def pass_(self, seconds: float, *, listing: bool = True) -> None:
        """Let time pass, and everyone do what they do meanwhile."""
        end = self.clocks.monotonic + seconds
        while True:
            due = min(self._step_at, self._listed if listing else inf)
            if due > end:
                break
            self.clocks.pass_(max(0.0, due - self.clocks.monotonic))
            self.service.note_totals()
            if due == self._listed and listing:
                self.list_workflows()
                self._listed = self.clocks.monotonic + LIST_EVERY
            else:
                self._step_at = self.clocks.monotonic + max(0.1, at_once(self.reconciler.step()))
        self.clocks.pass_(end - self.clocks.monotonic)
        self._listed = max(self._listed, self.clocks.monotonic)

    # What is looked at ------------------------------------------------------------------------

    @property
    def shown(self) -> Reconciliation:
        """What the reconciler shows."""
        return self.reconciler.reading()

    @property
    def differences(self) -> dict[str, int]:
        """What is missing, by status, where anything is."""
        return {s.value: n for s, n in self.shown.differences.items() if n}

    @property
    def counted(self) -> dict[str, int]:
        """Outcomes that were counted, by status."""
        finished = self.ledger.finished("studio")
        return {status.value: n for status, n in finished.items() if n}

    @property
    def recovered(self) -> float:
        """How many of those only the reconciler found."""
        return counter(self.ledger.snapshot(), "recovered")

    def live(self, numbers: Iterable[int], status: str = "completed") -> None:
        """Workflows come, run for ten seconds and end, all at the same time."""
        numbers = list(numbers)
        for number in numbers:
            self.service.create(number)
        self.pass_(6)
        for number in numbers:
            self.service.run(number)
        self.pass_(10)
        for number in numbers:
            self.service.finish(number, status)
