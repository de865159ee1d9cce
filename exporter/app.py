"""Wires the parts, starts and stops them. The only place that knows them all."""

import logging
import platform
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from exporter import __revision__, __version__
from exporter.comfycontrol import Client, RequestRecord, Timeouts
from exporter.comfycontrol.budget import RequestBudget
from exporter.comfycontrol.window import Limit
from exporter.comfycontrol.window_file import WindowFile
from exporter.config import Account, Config, TokenSource, TokenUnreadable
from exporter.following.access import AccountAccess
from exporter.following.choosing import sustainable_streams
from exporter.following.lister import Lister, ListingTerms
from exporter.following.poller import Poller
from exporter.following.supervisor import Supervisor
from exporter.ledger.ledger import AccountTerms, Ledger
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.totals import Buckets, LabelCaps
from exporter.metrics.announcements import Announcements
from exporter.metrics.exposition import Page, new_registry
from exporter.metrics.instruments import Instruments
from exporter.metrics.reading import AccountReading, BuildReading, ConfigReading, Reading
from exporter.observations import Moment
from exporter.sources.configured import take_up_configured
from exporter.sources.files import WatchedFiles
from exporter.sources.pushed import PushedIds

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 1.5
"""How long the threads have to end, together. Those that cannot (one that waits for a name to be
resolved) end with the process."""

UNLISTED_LOOKBACK_SECONDS: Final = 86_400.0
"""How long an open workflow of an account without a listing may stay unseen."""

KEEP_SECONDS: Final = 0.25
"""How often the ledger is kept. What a crash takes back of this time is observed again."""

WINDOWS_REMEMBERED: Final = 4
"""Periods of the rate limit whose requests are remembered over a restart: those that wait long
for their answer must not give way to younger ones."""

EXPIRY_SECONDS: Final = 10.0
"""How often time is let do its work on the ledger."""


def clocks() -> Moment:
    """Both clocks of this machine."""
    return Moment(wall=time.time(), monotonic=time.monotonic())


class _Part(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout: float) -> bool: ...


class Credentials:
    """An account's token in use: read once, and again when the service refuses it."""

    def __init__(self, account: str, source: TokenSource) -> None:
        self._account = account
        self._source = source
        self._token = source.read()

    def token(self) -> str:
        """The token in use."""
        return self._token

    def reload(self) -> bool:
        """Read it again from where it comes from; False when that failed, and the old one stays."""
        try:
            self._token = self._source.read()
        except TokenUnreadable as error:
            log.warning(
                "the token cannot be read again",
                extra={"account": self._account, "reason": error.reason},
            )
            return False
        return True


@dataclass(frozen=True, slots=True)
class _AccountParts:
    access: AccountAccess
    client: Client
    supervisor: Supervisor
    asks: bool
    """Whether it has a reason to ask the service before anybody names an id."""
    parts: tuple[_Part, ...]
    """In the order in which they start."""


class App:
    """A running exporter, but for its web side.

    Args:
        config: what to follow, and how.
        storage: the folder of the ledger; None keeps it in memory, for as long as the process
            lives.
        now: both clocks.
        jitter: numbers from 0 to 1, for backoffs.

    Raises:
        TokenUnreadable: a token cannot be read.
        LedgerInUse: another exporter has the ledger open.
        CannotOpenLedger: the storage folder cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        storage: Path | None = None,
        now: Callable[[], Moment] = clocks,
        jitter: Callable[[], float] = random.random,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._config = config
        self._now = now
        self._jitter = jitter
        self._timeouts = timeouts
        self._storage = storage
        self._read_at = now().wall
        self._registry = new_registry()
        self._instruments = Instruments(self._registry)
        self._instruments.open_accounts(account.name for account in config.accounts)
        self._ledger = Ledger(
            {account.name: _terms(account) for account in config.accounts},
            _buckets(config),
            LabelCaps(config.metrics.node_types, config.metrics.exception_types),
            now,
            None if storage is None else SqliteStore(storage, now),
        )
        self._budgets = self._make_budgets()
        self._accounts: Mapping[str, _AccountParts] = {
            account.name: self._make_account(account) for account in config.accounts
        }
        self._ledger.on_change = self._look
        self._announcements = Announcements(self._ledger.snapshot().announced)
        self.page: Final = Page(self._registry, self.read)
        self.pushed: Final = PushedIds(
            {a.name: a.push.token for a in config.accounts if a.push is not None},
            self._ledger,
            now,
        )
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="ledger", daemon=True)

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow."""
        for account in self._config.accounts:
            if account.listing is None:
                # Where there is a list, its first page draws the line, by the service's clock.
                self._ledger.draw_line(account.name, self._now().wall)
            take_up_configured(account.name, account.workflows, self._ledger, self._now)
            for part in self._accounts[account.name].parts:
                part.start()
        self._keeper.start()

    def stop(self) -> bool:
        """End within `STOP_SECONDS`, whatever the threads are at; whether all of them did."""
        self._stopping.set()
        parts = [part for account in self._accounts.values() for part in account.parts]
        for part in parts:
            part.stop()
        for budget in self._budgets.values():
            budget.close()
        deadline = self._now().monotonic + STOP_SECONDS
        ended = [part.join(max(0.0, deadline - self._now().monotonic)) for part in parts]
        self._ledger.close()
        if all(ended):
            for account in self._accounts.values():
                account.client.close()
        return all(ended)

    def is_ready(self) -> bool:
        """Whether every account had its first answer, or had nothing to ask yet."""
        return all(
            account.access.health().answered or not account.asks
            for account in self._accounts.values()
        )

    # Reading ----------------------------------------------------------------------------------

    def read(self, scraper: str | None = None) -> Reading:
        """Everything that a scrape shows, at one instant; None: nobody scrapes, we only look."""
        ledger = self._ledger.snapshot()
        accounts = {}
        for name, account in self._accounts.items():
            followed = frozenset(account.supervisor.streaming())
            accounts[name] = AccountReading(
                health=account.access.health(),
                streams=len(followed),
                followed=followed,
                list_completed_at=self._instruments.list_completed_at(name),
            )
        newest = ledger.totals.last_appeared
        announced = newest
        if scraper is not None:
            announced = self._announcements.announce(scraper, newest)
            self._ledger.note_announced(newest)
        return Reading(
            at=self._now(),
            ledger=ledger,
            accounts=accounts,
            budgets=tuple(budget.reading() for budget in self._budgets.values()),
            config=ConfigReading(last_reload_successful=True, last_reload_success_at=self._read_at),
            build=BuildReading(
                version=__version__,
                revision=__revision__,
                python_version=platform.python_version(),
            ),
            per_workflow_series=self._config.metrics.per_workflow_series,
            announced=announced,
        )

    # Wiring -----------------------------------------------------------------------------------

    def _make_budgets(self) -> dict[str, RequestBudget]:
        limits = {account.address: account.rate_limit for account in self._config.accounts}
        return {
            address: RequestBudget(
                address,
                Limit(limit.requests, limit.per, limit.cooldown, limit.reserve),
                monotonic=lambda: self._now().monotonic,
                wall=lambda: self._now().wall,
                file=self._window_file(address, limit.requests),
            )
            for address, limit in limits.items()
        }

    def _window_file(self, address: str, requests: int) -> WindowFile | None:
        if self._storage is None:
            return None
        name = re.sub(r"[^A-Za-z0-9.-]", "_", address)
        path = self._storage / f"requests-{name}.window"
        try:
            return WindowFile.on_this_machine(path, WINDOWS_REMEMBERED * requests)
        except OSError as error:
            # Not worth failing for: the worst is a refusal after a restart.
            log.warning(
                "requests cannot be remembered over a restart",
                extra={"file": str(path), "reason": error.strerror},
            )
            return None

    def _make_account(self, account: Account) -> _AccountParts:
        credentials = Credentials(account.name, account.token)

        def on_request(record: RequestRecord) -> None:
            self._instruments.request_made(
                account.name, record.endpoint, record.code, record.seconds
            )

        client = Client(
            account.base_url,
            credentials.token,
            max_streams=account.max_streams,
            on_request=on_request,
            timeouts=self._timeouts,
        )
        access = AccountAccess(
            account.name,
            client,
            self._budgets[account.address],
            reload_token=credentials.reload,
            monotonic=lambda: self._now().monotonic,
            random=self._jitter,
        )
        supervisor = Supervisor(
            access,
            self._ledger,
            self._instruments,
            capacity=self._capacity(account),
            now=self._now,
            random=self._jitter,
        )
        listing = account.listing
        poller = Poller(
            access,
            self._ledger,
            streaming=supervisor.streaming,
            list_horizon=None if listing is None else listing.lookback,
            now=self._now,
        )
        parts: list[_Part] = [supervisor, poller]
        if account.workflow_files:
            parts.append(
                WatchedFiles(account.name, account.workflow_files, self._ledger, self._now)
            )
        if listing is not None:
            parts.append(
                Lister(
                    access,
                    self._ledger,
                    self._instruments,
                    ListingTerms(listing.interval, listing.lookback, frozenset(listing.tags)),
                    streaming=supervisor.streaming,
                    poller=poller,
                    now=self._now,
                    random=self._jitter,
                )
            )
        asks = listing is not None or bool(account.workflows)
        return _AccountParts(access, client, supervisor, asks, tuple(parts))

    def _capacity(self, account: Account) -> int:
        sharing = sum(other.address == account.address for other in self._config.accounts)
        limit = account.rate_limit
        sustainable = sustainable_streams(
            Limit(limit.requests, limit.per, limit.cooldown, limit.reserve),
            None if account.listing is None else account.listing.interval,
            sharing,
        )
        return min(account.max_streams, sustainable)

    def _look(self) -> None:
        for account in self._accounts.values():
            account.supervisor.look()

    def _keep(self) -> None:
        expiry = self._now().monotonic + EXPIRY_SECONDS
        while not self._stopping.wait(KEEP_SECONDS):
            try:
                self._ledger.keep()
                if self._now().monotonic >= expiry:
                    expiry = self._now().monotonic + EXPIRY_SECONDS
                    self._ledger.expire()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the keeping
                log.error(  # noqa: TRY400 - a traceback shows values as well
                    "keeping the ledger failed", extra={"error": type(error).__name__}
                )


def _terms(account: Account) -> AccountTerms:
    if account.listing is None:
        return AccountTerms(lookback=UNLISTED_LOOKBACK_SECONDS, listed=False)
    return AccountTerms(lookback=account.listing.lookback, listed=True)


def _buckets(config: Config) -> Buckets:
    return Buckets(
        entry_queue_position=config.metrics.entry_queue_position_buckets,
        time_to_start=config.metrics.time_to_start_buckets,
        run_duration=config.metrics.run_duration_buckets,
    )
