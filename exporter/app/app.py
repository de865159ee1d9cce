"""Connects, starts, changes and stops all parts. Only this module knows all of them."""

import logging
import platform
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from exporter import __version__, logs
from exporter.app.account import FollowedAccount
from exporter.app.dependencies import Dependencies
from exporter.app.lending import BorrowedAccount, Lending
from exporter.app.maintenance import EXPIRY_SECONDS, Maintenance
from exporter.budget.budget import RequestBudget
from exporter.budget.journal import RequestJournal
from exporter.budget.sliding_window import Limit
from exporter.comfycontrol import Timeouts
from exporter.comfycontrol.connections import check_bind
from exporter.config import Account, Config, RateLimit, TokenSource, TokenUnreadableError
from exporter.config.fingerprint import fingerprint
from exporter.config.models import MOST_STREAMS
from exporter.config.slices import compiled
from exporter.files.watching import FileWatcher
from exporter.following.choosing import StreamCapacity, listing_costs
from exporter.following.loop import ServiceLoop
from exporter.following.reconciling import Pace
from exporter.following.stream_pool import StreamPool, shared_out
from exporter.following.tempo import Tempo
from exporter.history.history import History
from exporter.history.live import AccountNow, LiveViews, Sources
from exporter.interfaces.observations import Moment, Observation
from exporter.interfaces.telemetry import StreamEnd
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.ledger import Ledger
from exporter.ledger.lending import Room
from exporter.ledger.shared import Lease, Shared, SharedStore, join
from exporter.ledger.slicing import SliceRule
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import Store, StoreError
from exporter.ledger.totals import Buckets, LabelCaps
from exporter.metrics.announcements import HOLD_SECONDS, Announcements
from exporter.metrics.exposition import ALL_COLLECTORS, AsAsked, Page, new_registry
from exporter.metrics.instruments import Instruments
from exporter.metrics.process import ProcessCounts
from exporter.metrics.reading import BuildReading, ConfigReading, Reading
from exporter.revision import revision
from exporter.sources.pushed import PushedIds

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 1.5
"""Seconds for all threads together to end. Those that cannot, such as one that waits for
name resolution, end with the process."""

UNLISTED_LOOKBACK_SECONDS: Final = 86_400.0
"""Seconds that an open workflow may stay unseen if the account has no listing."""


def clocks() -> Moment:
    """The present time of both clocks of this machine (wall and monotonic)."""
    return Moment(wall=time.time(), monotonic=time.monotonic())


class App:
    """A running exporter, without its web side.

    Args:
        config: what to follow, and how.
        storage: the folder of the ledger; None: it is in memory and lost when the process ends.
        now: returns the time of both clocks (wall and monotonic).
        jitter: returns random numbers from 0 to 1, for backoffs.
        hold: seconds for which a new series shows 0 before it shows its value.
        timeouts: the timeouts of requests; None: the defaults.
        reconciling: how often the service's totals are compared with the ledger's; None: never.
        fresh_services: whether no request was ever sent to these services, as with a simulator
            that this process has started. Otherwise, if `storage` does not show earlier requests,
            as many as allowed are assumed.
        stream_descriptors: how many streams the limit of open files allows for all accounts
            together; None: there is no limit.
        collectors: which series of the process itself are shown.
        expiry: seconds between two checks for expired data in the ledger.
        tempo: the waits of the parts that follow an account.

    Raises:
        TokenUnreadableError: a token cannot be read.
        LedgerInUseError: another exporter has the ledger open.
        OpenLedgerError: the storage folder cannot be used.
        CannotBind: the local address for requests cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what a process is made of
        self,
        config: Config,
        *,
        storage: Path | None = None,
        now: Callable[[], Moment] = clocks,
        jitter: Callable[[], float] = random.random,
        timeouts: Timeouts | None = None,
        hold: float = HOLD_SECONDS,
        reconciling: Pace | None = Pace(),  # noqa: B008 - a constant
        fresh_services: bool = False,
        stream_descriptors: int | None = None,
        collectors: Collection[str] = ALL_COLLECTORS,
        expiry: float = EXPIRY_SECONDS,
        tempo: Tempo = Tempo(),  # noqa: B008 - a constant
    ) -> None:
        if config.egress.bind is not None:
            check_bind(config.egress.bind)
        self._config = config
        self._stream_descriptors = stream_descriptors
        self._now = now
        self._storage = storage
        self._fresh_services = fresh_services
        self._config_reading = ConfigReading(
            last_reload_successful=True,
            last_reload_success_at=now().wall,
            fingerprint=fingerprint(config),
        )
        self.web_config_reading: Callable[[], bool | None] = lambda: None
        """Returns whether the latest web configuration file is in use; None: there is none."""
        self._registry = new_registry(collectors)
        self.process_counts: Final = ProcessCounts(logs.suppressed)
        """The counters of the web side."""
        self._registry.register(self.process_counts)
        self._instruments = Instruments(self._registry)
        # The accounts that this replica holds; None: there are no replicas, and it holds all.
        self._held: frozenset[str] | None = None
        self._shared: Shared | None = None
        store: Store | None = None
        if config.storage.postgres is not None:
            self._held = frozenset()
            self._shared = join(
                config.storage.postgres.dsn_file,
                self._account_names,
                now,
                self._hold,
                config.egress.address or "",
            )
            store = self._shared.store
        elif storage is not None:
            store = SqliteStore(storage, now)
        # The configuration of the accounts that are followed now.
        self._following = followed = self._followed(config)
        self._ledger = Ledger(
            _terms(followed), _buckets(config), _caps(config), now, store, _slices(config)
        )
        _log_ledger(self._ledger, store)
        self._loop = ServiceLoop()
        self._history = History(now, self._ledger.restored_history)
        self._ledger.on_workflow_change = self._history.note
        self._instruments.on_stream_end = self._note_stream_ended
        self._around = Dependencies(
            self._ledger,
            self._instruments,
            now,
            jitter,
            timeouts,
            self._loop,
            reconciling,
            config.egress.bind,
            StreamPool(stream_descriptors),
            tempo,
        )
        # One for each address that was ever used. If a reload brings an address back, the service
        # still counts the earlier requests.
        self._budgets: dict[str, RequestBudget] = {}
        # Held while the followed accounts are changed or stopped.
        self._changing = threading.Lock()
        self._is_stopping = threading.Event()
        self._was_ready = False
        self._accounts: Mapping[str, FollowedAccount] = {
            account.name: self._make_account(account, followed) for account in followed.accounts
        }
        self._instruments.open_accounts(self._accounts)
        self._ledger.on_change = self._check_streams
        self._lending = (
            None
            if self._shared is None
            else Lending(
                self._shared.exchange, _OwnAccounts(self), self._shared.replica.leases, now
            )
        )
        self.maintenance: Final = Maintenance(
            self._ledger,
            self._history,
            Announcements(hold, self._ledger, self._instruments),
            accounts=lambda: self._accounts,
            away=self._away,
            now=now,
            expiry=expiry,
        )
        """Writes the ledger periodically."""
        self.views: Final = self._make_views()
        self.page: Final = Page(self._registry, self.read, self._asked)
        self.pushed: Final = PushedIds(
            _push_tokens(config), self._ledger, now, self._recheck, self._note_withdrawn
        )
        self._watcher = FileWatcher("tokens", self._check_accounts)

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._config

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all parts."""
        self._loop.start()
        for account in self._accounts.values():
            account.start()
        self.maintenance.start()
        self._watcher.start()
        if self._shared is not None:
            self._shared.replica.start()
        if self._lending is not None:
            self._lending.start()

    def stop(self, within: float = STOP_SECONDS) -> bool:
        """End within this many seconds, whatever the threads are doing; return whether it did."""
        self._is_stopping.set()
        self.maintenance.stop()
        self._watcher.stop()
        deadline = self._now().monotonic + within
        has_given_back = self._lending is None or self._lending.stop(within / 2)
        has_left = self._shared is None or self._shared.replica.stop(within / 2)
        # A running reload may be reading a file on a disk that does not answer.
        has_lock = self._changing.acquire(timeout=STOP_SECONDS / 2)
        accounts = list(self._accounts.values())
        for account in accounts:
            account.stop()
        for budget in list(self._budgets.values()):
            budget.close()
        ended = [a.join(max(0.0, deadline - self._now().monotonic)) for a in accounts]
        ended.append(self._loop.stop(max(0.0, deadline - self._now().monotonic)))
        self._ledger.close()
        if self._shared is not None and has_left:
            self._shared.replica.leave()
        if all(ended):
            for account in accounts:
                account.close()
        if has_lock:
            self._changing.release()
        return has_lock and has_left and has_given_back and all(ended)

    def is_ready(self) -> bool:
        """Whether every account had its first answer, or had nothing to ask yet.

        Once it is True it stays so: an account that a reload adds must not make the process
        unready, because that would hide the metrics of the others.
        """
        if not self._was_ready:
            has_checked = self._shared is None or self._shared.replica.has_checked
            self._was_ready = has_checked and all(a.is_ready() for a in self._accounts.values())
        return self._was_ready

    # Reading ----------------------------------------------------------------------------------

    def read(self) -> Reading:
        """Everything that a scrape shows, at one moment."""
        config, followed = self._config, self._accounts
        addresses = {account.address for account in config.accounts}
        # Read before the ledger, which may wait for its disk: series that are announced during that
        # wait are not shown to scrapes that came before.
        requests = self._instruments.requests()
        ledger = self._ledger.snapshot()
        return Reading(
            at=self._now(),
            ledger=ledger,
            requests=requests,
            streams=self._open_streams(followed, ledger),
            # An account whose lease has expired is not shown: another replica may show it.
            accounts={
                name: account.reading()
                for name, account in followed.items()
                if self._shared is None or name in ledger.accounts
            },
            replicas=None if self._shared is None else self._shared.reading(),
            budgets=tuple(
                budget.reading()
                for address, budget in list(self._budgets.items())
                if address in addresses
            ),
            config=replace(
                self._config_reading, web_last_reload_successful=self.web_config_reading()
            ),
            build=BuildReading(
                version=__version__,
                revision=revision(),
                python_version=platform.python_version(),
            ),
            per_workflow_series=config.metrics.per_workflow_series,
            label_caps=_caps(config),
            streams_held_back={
                "descriptors": self._held_back(config, ledger),
                "threads": sum(account.without_thread for account in followed.values()),
            },
        )

    def _open_streams(
        self, followed: Mapping[str, FollowedAccount], ledger: LedgerSnapshot
    ) -> dict[str, int]:
        borrowed = {} if self._lending is None else self._lending.streams()
        return borrowed | {
            name: account.streams
            for name, account in followed.items()
            if self._shared is None or name in ledger.accounts
        }

    def _asked(self) -> AsAsked:
        """Return a function that limits a later reading to the series that are announced now.

        So a scrape that has to wait still shows only what it would have shown at once.
        """
        requests, ledger = self._instruments.announced(), self._ledger.announced()

        def as_asked(reading: Reading) -> Reading:
            counted, kept = reading.requests, reading.ledger
            return replace(
                reading,
                requests=replace(counted, announced=min(counted.announced, requests)),
                ledger=replace(kept, announced=min(kept.announced, ledger)),
            )

        return as_asked

    def _accounts_now(self) -> dict[str, AccountNow]:
        config, followed, elsewhere = self._config, self._accounts, self._elsewhere()
        limits = {a.name: (a.address, a.rate_limit) for a in config.accounts}
        return {
            name: AccountNow(
                reading=account.reading(),
                plan=account.plan(),
                last_error=account.last_error(),
                address=limits[name][0],
                limit=limits[name][1].requests,
                share=_limit(limits[name][1]).share,
                period=limits[name][1].per,
            )
            for name, account in followed.items()
            if name in limits and name not in elsewhere  # otherwise a reload is removing it
        }

    def _elsewhere(self) -> dict[str, str]:
        """Accounts that are not counted here, each with the replica that holds it; empty: none."""
        held, shared = self._held, self._shared
        if held is None or shared is None:
            return {}
        reading = shared.reading()
        return {
            account.name: reading.holder_of(account.name)
            for account in self._config.accounts
            # While the database cannot be reached, accounts that stay here are not reported.
            if account.name not in held or account.name not in reading.held
        }

    def _make_views(self) -> LiveViews:
        sources = Sources(
            now=self._now,
            accounts=self._accounts_now,
            elsewhere=self._elsewhere,
            budgets=lambda: [budget.reading() for budget in list(self._budgets.values())],
            config=lambda: replace(
                self._config_reading, web_last_reload_successful=self.web_config_reading()
            ),
            version=__version__,
            revision=revision(),
        )
        return LiveViews(self._ledger, self._history, sources)

    # Reloading --------------------------------------------------------------------------------

    def reload(self, config: Config) -> None:
        """Apply another configuration; parts that stay the same are not interrupted.

        Raises:
            TokenUnreadableError: a token cannot be read. Then nothing was changed.
        """
        with self._changing:
            if self._is_stopping.is_set():
                return
            fixed = {"storage": self._config.storage, "egress": self._config.egress}
            if any(getattr(config, key) != value for key, value in fixed.items()):
                log.warning("changes to storage and egress need a restart")
                config = config.model_copy(update=fixed)
            self._change(config)
            self._config_reading = ConfigReading(
                last_reload_successful=True,
                last_reload_success_at=self._now().wall,
                fingerprint=fingerprint(config),
            )

    def note_reload_failed(self) -> None:
        """Note that a configuration could not be used, so the previous one stays."""
        self._config_reading = replace(self._config_reading, last_reload_successful=False)

    def _change(self, config: Config) -> None:
        was = {account.name: account for account in self._following.accounts}
        begun, ended = self._follow(config, again=True)
        changed = [a.name for a in config.accounts if a.name in was and a != was[a.name]]
        told = {"accounts": self._accounts, "begun": begun, "ended": ended, "changed": changed}
        log.info(
            "configuration reloaded",
            extra={mark: ",".join(names) for mark, names in told.items() if names},
        )

    def _follow(self, config: Config, *, again: bool) -> tuple[Collection[str], Collection[str]]:
        """Follow the accounts of this configuration that this replica holds.

        Return the names of the accounts that were started and of those that were stopped.

        Args:
            config: the complete configuration.
            again: see `FollowedAccount.start`.

        Raises:
            TokenUnreadableError: a token cannot be read. Then nothing was changed.
        """
        before, all_of_it, config = self._accounts, config, self._followed(config)
        going_on = {
            account.name: before[account.name]
            for account in config.accounts
            if account.name in before and before[account.name].can_become(account)
        }
        # Everything that can fail comes first.
        tokens = {account.name: account.token.read() for account in config.accounts}
        begun = {
            account.name: self._make_account(account, config)
            for account in config.accounts
            if account.name not in going_on
        }
        for address, limit in _limits(all_of_it).items():
            if address in self._budgets:
                self._budgets[address].change(_limit(limit))
        ended = {name: account for name, account in before.items() if name not in going_on}
        _end(ended.values(), self._now)
        self._ledger.change(_terms(config), _buckets(config), _caps(config), _slices(config))
        names = {account.name for account in all_of_it.accounts}
        # Streams of accounts that were removed from the configuration may have been borrowed.
        gone = {account.name for account in self._config.accounts} - names
        for name in (ended.keys() - begun.keys()) | gone:
            self._instruments.close_account(name)
        self._instruments.open_accounts(begun)
        self._accounts = {a.name: (going_on | begun)[a.name] for a in config.accounts}
        self._config, self._following = all_of_it, config
        # Pushes for an account of another replica get "try later", not "unknown token".
        self.pushed.change(_push_tokens(all_of_it))
        for followed in begun.values():
            followed.start(again=again)
        for account in config.accounts:
            if account.name in going_on:
                going_on[account.name].change(
                    account, tokens[account.name], _capacity(account, config)
                )
        # Stored now: an id that was dropped and is named again must not be dropped after a crash.
        self._ledger.persist()
        return begun, ended

    # Accounts that move between replicas ------------------------------------------------------

    def _account_names(self) -> list[str]:
        return [account.name for account in self._config.accounts]

    def _followed(self, config: Config) -> Config:
        """The configuration without the accounts that this replica does not hold."""
        held = self._held
        if held is None:
            return config
        accounts = tuple(account for account in config.accounts if account.name in held)
        return config.model_copy(update={"accounts": accounts})

    def _hold(self, gained: Collection[Lease], lost: Collection[str]) -> Collection[str]:
        """Start counting some accounts, stop counting others; return those that were started."""
        with self._changing:
            shared, held = self._shared, self._held
            if shared is None or held is None or self._is_stopping.is_set():
                return ()
            if lost:
                self._held = held - set(lost)
                self._follow(self._config, again=False)
                for account in lost:
                    self._ledger.release_account(account, partial(shared.store.release, account))
                    self._history.release_account(account)
            configured = {account.name: account for account in self._config.accounts}
            begun: list[str] = []
            for lease in gained:
                account_ = configured.get(lease.account)
                if account_ is not None and self._adopt(shared.store, lease, account_):
                    begun.append(lease.account)
            if begun:
                self._held = (held - set(lost)) | set(begun)
                self._follow(self._config, again=False)
            return begun

    def _adopt(self, store: SharedStore, lease: Lease, account: Account) -> bool:
        """Continue an account's ledger here; return False if that is not possible."""
        try:
            # Read before anything is started: if it fails here, another replica may succeed.
            account.token.read()
            stories = self._ledger.adopt(
                account.name, partial(store.adopt, lease, account.max_open_workflows)
            )
            self._history.adopt(account.name, stories)
        except (TokenUnreadableError, StoreError) as error:
            log.error(  # noqa: TRY400 - it is not about where in the code
                "could not start an account, another replica may take it",
                extra={"account": account.name, "reason": str(error)},
            )
            return False
        return True

    # Wiring -----------------------------------------------------------------------------------

    def _make_account(self, account: Account, config: Config) -> FollowedAccount:
        return FollowedAccount(
            account, self._budget(account), _capacity(account, config), self._around
        )

    def _held_back(self, config: Config, ledger: LedgerSnapshot) -> int:
        """How many more streams the accounts would have with more descriptors."""
        if self._stream_descriptors is None:
            return 0
        open_now = Counter(workflow.account for workflow in ledger.open_workflows)
        wanted = {a.name: min(open_now[a.name], _capacity(a, config).full) for a in config.accounts}
        return sum(wanted.values()) - sum(shared_out(self._stream_descriptors, wanted).values())

    def _budget(self, account: Account) -> RequestBudget:
        budget = self._budgets.get(account.address)
        if budget is None:
            budget = self._budgets[account.address] = RequestBudget(
                account.address,
                _limit(account.rate_limit),
                monotonic=lambda: self._now().monotonic,
                wall=lambda: self._now().wall,
                file=self._window_file(account.address),
                # The database has recorded earlier requests.
                fresh=self._fresh_services or self._shared is not None,
                shared_window=(
                    None
                    if self._shared is None
                    else self._shared.permits(account.address, _limit(account.rate_limit))
                ),
            )
        return budget

    def _window_file(self, address: str) -> RequestJournal | None:
        if self._storage is None or self._shared is not None:
            return None
        name = f"requests-{quote(address, safe='')}.window"
        return RequestJournal.on_this_machine(self._storage / name)

    # Streams of other replicas' accounts ------------------------------------------------------

    def held_accounts(self) -> dict[str, tuple[FollowedAccount, Account, StreamCapacity]]:
        """The accounts that this replica holds, with their present configuration."""
        followed, config = self._accounts, self._following
        return {
            account.name: (followed[account.name], account, _capacity(account, config))
            for account in config.accounts
            if account.name in followed
        }

    def rooms(self) -> list[Room]:
        """How many streams this process can hold at each service address."""
        held = self.held_accounts()
        rooms = []
        for address, limit in _limits(self._config).items():
            there = [one for one in held.values() if one[1].address == address]
            most = StreamCapacity(MOST_STREAMS, _limit(limit)).full
            for _, account, _ in there:
                if account.listing is not None:
                    most -= listing_costs(account.listing.interval)
            if self._stream_descriptors is not None:
                most = min(most, self._stream_descriptors)
            own = sum(followed.needed_streams for followed, _, _ in there)
            rooms.append(Room(address, max(0, most), own))
        return rooms

    def terms(self, account: str) -> tuple[Account, StreamCapacity] | None:
        """The settings for streaming an account of another replica; None: not configured here."""
        for each in self._config.accounts:
            if each.name == account:
                return each, StreamCapacity(each.max_streams, _limit(each.rate_limit))
        return None

    def borrow(self, config: Account, capacity: StreamCapacity) -> BorrowedAccount:
        """Create what streams an account of another replica.

        Raises:
            TokenUnreadableError: its token cannot be read.
        """
        self._instruments.open_accounts([config.name])
        return BorrowedAccount(config, self._budget(config), capacity, self._around)

    def open_ids(self, account: str) -> frozenset[str]:
        """The ids of an account's workflows that are not settled."""
        return frozenset(w.workflow_id for w in self._ledger.open_workflows(account))

    def observe(self, seen: Observation) -> None:
        """Apply an observation from another replica's stream."""
        self._ledger.observe(seen)

    # Threads ----------------------------------------------------------------------------------

    def _check_streams(self) -> None:
        for account in self._accounts.values():
            account.check_streams()

    def _recheck(self, account: str, workflow_ids: Collection[str]) -> None:
        followed = self._accounts.get(account)
        if followed is not None:  # otherwise a reload has just removed it
            followed.recheck(workflow_ids, "pushed")

    def _note_withdrawn(self, account: str, workflow_id: str) -> None:
        followed = self._accounts.get(account)
        if followed is not None:
            followed.note_withdrawn(workflow_id)

    def _note_stream_ended(
        self, account: str, reason: StreamEnd, workflow_id: str, seconds: float | None
    ) -> None:
        if account in self._accounts:  # otherwise its holder has its history
            self._history.stream_ended(account, reason, workflow_id, seconds)

    def _away(self) -> list[str]:
        """Accounts that the service does not answer for now, or that are not counted here."""
        out_of_sight = [a.name for a in self._accounts.values() if a.is_out_of_sight()]
        return [*out_of_sight, *self._elsewhere()]

    def _check_accounts(self) -> None:
        if self._lending is not None:
            self._lending.check_tokens()
        for account in self._accounts.values():
            try:
                account.check_token()
                account.retry_ids()
            except Exception as error:  # noqa: BLE001 - it must not hold up the other accounts
                log.error(  # noqa: TRY400 - a traceback shows values as well
                    "checking an account failed",
                    extra={"account": account.name, "error": type(error).__name__},
                )


class _OwnAccounts:
    """Implements `exporter.lending.Accounts`."""

    def __init__(self, app: App) -> None:
        self.held = app.held_accounts
        self.rooms = app.rooms
        self.terms = app.terms
        self.borrow = app.borrow
        self.open_ids = app.open_ids
        self.observe = app.observe


def _log_ledger(ledger: Ledger, store: Store | None) -> None:
    """Log which ledger this is: with another folder, counting would silently begin at 0."""
    if not isinstance(store, SqliteStore | None):
        return  # each account logs this itself when it is taken over
    if store is None:
        log.info("the ledger is in memory only: counters start at 0 and are lost at exit")
        return
    if store.is_new:
        log.info("new ledger: counters start at 0", extra={"file": str(store.path)})
        return
    found = ledger.snapshot()
    log.info(
        "ledger opened, counters continue",
        extra={
            "file": str(store.path),
            "settled": found.settled,
            "open": len(found.open_workflows),
        },
    )


def _end(accounts: Collection[FollowedAccount], now: Callable[[], Moment]) -> None:
    """Stop these accounts, and wait until their last observations have been applied."""
    for account in accounts:
        account.stop()
    deadline = now().monotonic + STOP_SECONDS
    for account in accounts:
        if account.join(max(0.0, deadline - now().monotonic)):
            account.close()


# From the configuration to the parts --------------------------------------------------------------


def _terms(config: Config) -> dict[str, AccountTerms]:
    return {
        account.name: AccountTerms(
            lookback=(
                UNLISTED_LOOKBACK_SECONDS if account.listing is None else account.listing.lookback
            ),
            listed=account.listing is not None,
            most_open=account.max_open_workflows,
        )
        for account in config.accounts
    }


def _buckets(config: Config) -> Buckets:
    return Buckets(
        entry_queue_position=config.metrics.entry_queue_position_buckets,
        time_to_start=config.metrics.time_to_start_buckets,
        run_duration=config.metrics.run_duration_buckets,
    )


def _caps(config: Config) -> LabelCaps:
    return LabelCaps(config.metrics.node_types, config.metrics.exception_types)


def _slices(config: Config) -> tuple[SliceRule, ...]:
    return tuple(
        SliceRule(one.label, one.origin, compiled(one.match), one.values, one.default)
        for one in config.metrics.slices
    )


def _push_tokens(config: Config) -> dict[str, TokenSource]:
    return {a.name: a.push.token for a in config.accounts if a.push is not None}


def _limits(config: Config) -> dict[str, RateLimit]:
    return {account.address: account.rate_limit for account in config.accounts}


def _limit(limit: RateLimit) -> Limit:
    return Limit(limit.requests, limit.per, limit.cooldown, limit.reserve)


def _capacity(account: Account, config: Config) -> StreamCapacity:
    return StreamCapacity(
        most=account.max_streams,
        limit=_limit(account.rate_limit),
        listing_interval=None if account.listing is None else account.listing.interval,
        sharing=sum(other.address == account.address for other in config.accounts),
    )
