"""New series over any days of births, scrapes, restarts, crashes, pauses, full disks and reloads.

Servers ask at gaps of up to a minute, come when the process is down, or when it stands still. One
that has asked all along sees every new series at 0 before its value. One that comes late is shown
what is old as it is. Nobody is ever shown less than anybody was before.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.comfycontrol import Cause
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.forms import CounterName, Labels
from exporter.ledger.store import Batch, MemoryStore, RestoredState, StoreError
from exporter.metrics.announcements import HOLD_SECONDS, STANDSTILL_SECONDS, Announcements
from exporter.metrics.instruments import Instruments
from exporter.retrying import LEDGER_WRITES
from tests.unit.ledger.ledgers import BUCKETS, CAPS, LOOKBACK, Clocks, ended, make_ledger

if TYPE_CHECKING:
    from exporter.ledger.totals import CounterTotal

ACCOUNTS = ("studio", "agency")
TERMS = {name: AccountTerms(LOOKBACK, listed=True) for name in ACCOUNTS}
TICK = 1.0
PATIENCE = 2 * TICK
"""A birth is noticed within a tick, and so is the end of a hold."""

Series = tuple[str, Labels]


class Disk(MemoryStore):
    """What is kept outlives the process."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.is_behind = False
        """Something that was shown may not be kept."""
        self.counters: dict[tuple[CounterName, Labels], CounterTotal] = {}
        self.announced = 0

    def persist(self, batch: Batch) -> None:
        self.is_behind = self.is_full
        if self.is_full:
            raise StoreError("disk full")
        super().persist(batch)
        self.counters.update(batch.counters)
        if batch.announced is not None:
            self.announced = batch.announced

    def load(self, most_open: object = None) -> RestoredState:
        del most_open
        return RestoredState(
            counters={key: total.copied() for key, total in self.counters.items()},
            announced=self.announced,
            appeared=max((t.appeared for t in self.counters.values()), default=0),
        )

    def shows(self, series: Series) -> float:
        """What the next process would show at once of this series, at most."""
        total = self.counters.get(("failures", series[1]))
        return total.value if total is not None and total.appeared <= self.announced else 0.0


class Process:
    """One life of the exporter."""

    def __init__(self, disk: Disk, clocks: Clocks, accounts: tuple[str, ...]) -> None:
        self.clocks = clocks
        self.ever_followed = {*accounts}
        self.ledger = make_ledger(clocks, disk, terms={name: TERMS[name] for name in accounts})
        self.instruments = Instruments(CollectorRegistry())
        self.instruments.open_accounts(accounts)
        self.announcements = Announcements(HOLD_SECONDS, self.ledger, self.instruments)

    def tick(self, rested: float) -> None:
        self.announcements.update(self.clocks().monotonic, rested)
        self.ledger.persist()

    def follow(self, accounts: tuple[str, ...], before: tuple[str, ...]) -> None:
        self.ever_followed.update(accounts)
        self.ledger.change({name: TERMS[name] for name in accounts}, BUCKETS, CAPS)
        for name in {*before} - {*accounts}:
            self.instruments.close_account(name)
        self.instruments.open_accounts({*accounts} - {*before})

    def scrape(self) -> dict[Series, tuple[float, float]]:
        """By new series, what is shown and what it is."""
        requests = self.instruments.requests()
        snapshot = self.ledger.snapshot()
        found: dict[Series, tuple[float, float]] = {}
        for name, totals, announced in (
            ("failures", snapshot.totals.counters_named("failures"), snapshot.announced),
            ("requests", requests.totals.items(), requests.announced),
        ):
            for labels, total in totals:
                if total.appeared:
                    value = total.value if total.appeared <= announced else 0.0
                    found[name, labels] = (value, total.value)
        return found


@dataclass
class Server:
    """Scrapes at these gaps, again and again."""

    gaps: Iterator[float]
    next_at: float
    seen: dict[Series, float] = field(default_factory=dict)


class Day:
    """What happens, and what everybody is shown."""

    def __init__(self, gaps: list[list[float]]) -> None:
        self.clocks = Clocks()
        self.disk = Disk()
        self.accounts: tuple[str, ...] = ACCOUNTS
        self.process = self.started()
        self.workflows = 0
        self.highest: dict[Series, float] = {}
        self.visible_since: dict[Series, float] = {}
        self.well_since = self.now
        self.servers = []
        for each in gaps:
            turns = cycle(each)
            self.servers.append(Server(turns, self.now + next(turns)))

    @property
    def now(self) -> float:
        return self.clocks.monotonic

    def started(self) -> Process:
        return Process(self.disk, self.clocks, self.accounts)

    # Time -------------------------------------------------------------------------------------

    def go_on(self, seconds: float) -> None:
        """Let time pass while all is well."""
        until = self.now + seconds
        while self.now < until:
            self.clocks.pass_(TICK)
            self.process.tick(TICK)
            self.ask()

    def ask(self) -> None:
        """Answer those who have asked by now."""
        for server in self.servers:
            if server.next_at <= self.now:
                self.check(server.seen)
                while server.next_at <= self.now:
                    server.next_at += next(server.gaps)

    def miss(self) -> None:
        """Nobody who has asked by now was answered."""
        for server in self.servers:
            while server.next_at <= self.now:
                server.next_at += next(server.gaps)

    # What must hold ---------------------------------------------------------------------------

    def check(self, seen: dict[Series, float] | None) -> None:
        """One scrape, by a server that has been there all along, or by somebody else."""
        shown = self.process.scrape()
        for series, (value, truth) in shown.items():
            assert value in (0.0, truth)
            assert value >= self.highest.get(series, 0.0), "never a step back"
            if value:
                self.highest[series] = value
            if seen is not None:
                assert series in seen or value == 0, "0 comes before the value"
                seen[series] = value
            since = max(self.visible_since.setdefault(series, self.now), self.well_since)
            if self.now - since >= HOLD_SECONDS + PATIENCE:
                assert value == truth, "what is old is shown as it is"
                event("an old series is shown")
        for series in self.visible_since.keys() - shown.keys():
            del self.visible_since[series]

    # Events -----------------------------------------------------------------------------------

    def fails(self, node: str, account: str) -> None:
        """Maybe as the last word of an account that is followed no more."""
        if account not in self.process.ever_followed:
            return
        self.workflows += 1
        failed = ended(self.workflows, self.clocks(), status="failed", via="stream")
        self.process.ledger.observe(
            replace(failed, account=account, cause=Cause(node, "ValueError"))
        )

    def is_answered(self, code: str, account: str) -> None:
        self.process.instruments.request_made(account, "list", code, 0.1)

    def somebody_looks(self) -> None:
        self.check(None)

    def dies(self, seconds: float) -> None:
        """Killed, and started again after this time."""
        self.forget_requests(ACCOUNTS)
        if self.disk.is_behind:
            # Counts that the disk has not kept are taken back: that is said of it. But not a
            # whole series.
            for series in self.highest:
                self.highest[series] = min(self.highest[series], self.disk.shows(series))
            assert all(self.highest.values()), "a series that was shown has gone back to 0"
        self.disk.is_behind = False
        self.visible_since.clear()
        self.clocks.pass_(seconds)
        self.miss()
        self.process = self.started()

    def stands_still(self, seconds: float) -> None:
        self.clocks.pass_(seconds)
        if seconds > STANDSTILL_SECONDS:
            self.visible_since.clear()
            self.miss()
        self.process.tick(seconds)
        self.ask()

    def disk_is_full(self) -> None:
        self.disk.is_full = True
        self.well_since = float("inf")

    def disk_is_well(self) -> None:
        if self.disk.is_full:
            self.disk.is_full = False
            self.well_since = self.now + LEDGER_WRITES.waits[-1] - HOLD_SECONDS

    def follows(self, accounts: tuple[str, ...]) -> None:
        self.process.follow(accounts, self.accounts)
        gone = {*self.accounts} - {*accounts}
        self.accounts = accounts
        self.forget_requests(gone)
        self.visible_since = {
            key: since for key, since in self.visible_since.items() if key[1][0] not in gone
        }

    def forget_requests(self, accounts: Collection[str]) -> None:
        """What the process has counted for these accounts is no more, and begins at 0."""
        for seen in (self.highest, *(server.seen for server in self.servers)):
            for key in [k for k in seen if k[0] == "requests" and k[1][0] in accounts]:
                del seen[key]


Happening = tuple[str, tuple[object, ...]]
"""A method of the day, and what it is given."""


def _of(what: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Happening]:
    return st.tuples(st.just(what), st.tuples(*arguments))


accounts = st.sampled_from(ACCOUNTS)
happenings = st.one_of(
    _of("fails", st.sampled_from("ABC"), accounts),
    _of("fails", st.sampled_from("ABC"), accounts),
    _of("is_answered", st.sampled_from(["502", "504"]), accounts),
    _of("somebody_looks"),
    _of("dies", st.sampled_from([0.0, 0.5, 30.0, 200.0])),
    _of("stands_still", st.sampled_from([1.0, 2.0, 3.0, 4.0, 20.0, 300.0])),
    _of("disk_is_full"),
    _of("disk_is_well"),
    _of("follows", st.sampled_from([ACCOUNTS, ("studio",), ("agency",)])),
)
pauses = st.sampled_from([0.0, 0.0, 1.0, 5.0, 20.0, 58.0, 61.0, 64.0, 65.0, 66.0, 70.0, 130.0])
gaps = st.lists(st.sampled_from([1.0, 5.0, 15.0, 30.0, 59.0, 60.0]), min_size=1, max_size=4)


@settings(max_examples=300)
@given(
    servers=st.lists(gaps, min_size=1, max_size=3),
    story=st.lists(st.tuples(happenings, pauses), min_size=1, max_size=25),
)
# An account goes before anybody has seen its new series, and comes back.
@example(
    servers=[[60.0]],
    story=[
        (("somebody_looks", ()), 20.0),
        (("fails", ("A", "studio")), 1.0),
        (("follows", (("agency",),)), 40.0),
        (("follows", (ACCOUNTS,)), 130.0),
    ],
)
def test_a_new_series_is_seen_at_zero_and_an_old_one_as_it_is(
    servers: list[list[float]], story: list[tuple[Happening, float]]
) -> None:
    day = Day(servers)
    for (what, arguments), pause in story:
        getattr(day, what)(*arguments)
        day.go_on(pause)
    day.disk_is_well()
    day.follows(ACCOUNTS)
    day.somebody_looks()
    day.go_on(2 * HOLD_SECONDS)
    for value, truth in day.process.scrape().values():
        assert value == truth
