"""Connects, starts and stops all parts."""

import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter import logs
from exporter.app import from_config
from exporter.app.accounts import STOP_SECONDS, FollowedAccounts
from exporter.app.budgets import Budgets
from exporter.app.dependencies import Dependencies
from exporter.app.lending import Lending
from exporter.app.maintenance import EXPIRY_SECONDS, Maintenance
from exporter.app.own_accounts import OwnAccounts
from exporter.app.readings import Readings
from exporter.comfycontrol import Timeouts
from exporter.comfycontrol.connections import check_bind
from exporter.config import Config
from exporter.config.fingerprint import fingerprint
from exporter.files.watching import FileWatcher
from exporter.following.loop import ServiceLoop
from exporter.following.reconciling import Pace
from exporter.following.stream_pool import StreamPool
from exporter.following.tempo import Tempo
from exporter.history.history import History
from exporter.interfaces.observations import Moment
from exporter.ledger.ledger import Ledger
from exporter.ledger.shared import Shared, join
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import Store
from exporter.metrics.announcements import HOLD_SECONDS, Announcements
from exporter.metrics.exposition import ALL_COLLECTORS, Page, new_registry
from exporter.metrics.instruments import Instruments
from exporter.metrics.process import ProcessCounts
from exporter.metrics.reading import ConfigReading

log = logging.getLogger(__name__)


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
        self._now = now
        self._config_reading = ConfigReading(
            last_reload_successful=True,
            last_reload_success_at=now().wall,
            fingerprint=fingerprint(config),
        )
        self.web_config_reading: Callable[[], bool | None] = lambda: None
        """Returns whether the latest web configuration file is in use; None: there is none."""
        registry = new_registry(collectors)
        self.process_counts: Final = ProcessCounts(logs.suppressed)
        """The counters of the web side."""
        registry.register(self.process_counts)
        self._instruments = Instruments(registry)
        self._shared: Shared | None = None
        store: Store | None = None
        held = config
        if config.storage.postgres is not None:
            held = from_config.held_part(config, ())
            self._shared = join(
                config.storage.postgres.dsn_file,
                lambda: self._accounts.names(),  # noqa: PLW0108 - they are made below
                now,
                lambda gained, lost: self._accounts.hold(gained, lost),  # noqa: PLW0108
                config.egress.address or "",
            )
            store = self._shared.store
        elif storage is not None:
            store = SqliteStore(storage, now)
        self._ledger = Ledger(
            from_config.terms(held),
            from_config.buckets(config),
            from_config.caps(config),
            now,
            store,
            from_config.slices(config),
        )
        if isinstance(store, SqliteStore):
            store.record()
        _log_ledger(self._ledger, store)
        self._loop = ServiceLoop()
        self._history = History(now, self._ledger.restored_history)
        self._ledger.on_workflow_change = self._history.note
        around = Dependencies(
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
        self._budgets = Budgets(now, storage, self._shared, fresh=fresh_services)
        self._accounts = FollowedAccounts(
            config, self._budgets, around, self._history, self._shared
        )
        self._instruments.on_stream_end = self._accounts.note_stream_ended
        self._ledger.on_change = self._accounts.check_streams
        self._lending = (
            None
            if self._shared is None
            else Lending(
                self._shared.exchange,
                OwnAccounts(self._accounts, self._budgets, around),
                self._shared.replica.leases,
                now,
            )
        )
        self.maintenance: Final = Maintenance(
            self._ledger,
            self._history,
            Announcements(hold, self._ledger, self._instruments),
            accounts=lambda: self._accounts.followed,
            away=self._accounts.away,
            now=now,
            expiry=expiry,
        )
        """Writes the ledger periodically."""
        readings = Readings(
            self._accounts, self._budgets, around, self._shared, self._lending, self._config_now
        )
        self.read: Final = readings.read
        """Reads everything that a scrape shows."""
        self.views: Final = readings.views(self._history)
        self.page: Final = Page(registry, readings.read, readings.asked)
        self.pushed: Final = self._accounts.pushed
        self._watcher = FileWatcher("tokens", self._check_files)
        self._was_ready = False

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._accounts.config

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all parts."""
        self._loop.start()
        self._accounts.start()
        self.maintenance.start()
        self._watcher.start()
        if self._shared is not None:
            self._shared.replica.start()
        if self._lending is not None:
            self._lending.start()

    def stop(self, within: float = STOP_SECONDS) -> bool:
        """End within this many seconds, whatever the threads are doing; return whether it did."""
        self._accounts.begin_stop()
        self.maintenance.stop()
        self._watcher.stop()
        deadline = self._now().monotonic + within
        has_given_back = self._lending is None or self._lending.stop(within / 2)
        has_left = self._shared is None or self._shared.replica.stop(within / 2)
        has_stopped = self._accounts.stop()
        self._budgets.close()
        ended = self._accounts.join(deadline)
        ended &= self._loop.stop(max(0.0, deadline - self._now().monotonic))
        self._ledger.close()
        if self._shared is not None and has_left:
            self._shared.replica.leave()
        if ended:
            self._accounts.close()
        return has_stopped and has_left and has_given_back and ended

    def is_ready(self) -> bool:
        """Whether every account had its first answer, or had nothing to ask yet.

        Once it is True it stays so: an account that a reload adds must not make the process
        unready, because that would hide the metrics of the others.
        """
        if not self._was_ready:
            has_checked = self._shared is None or self._shared.replica.has_checked
            self._was_ready = has_checked and self._accounts.are_ready()
        return self._was_ready

    # Reloading --------------------------------------------------------------------------------

    def reload(self, config: Config) -> None:
        """Apply another configuration; parts that stay the same are not interrupted.

        Raises:
            TokenUnreadableError: a token cannot be read. Then nothing was changed.
        """
        if self._accounts.reload(config):
            self._config_reading = ConfigReading(
                last_reload_successful=True,
                last_reload_success_at=self._now().wall,
                fingerprint=fingerprint(self._accounts.config),
            )

    def note_reload_failed(self) -> None:
        """Note that a configuration could not be used, so the previous one stays."""
        self._config_reading = replace(self._config_reading, last_reload_successful=False)

    def _config_now(self) -> ConfigReading:
        return replace(self._config_reading, web_last_reload_successful=self.web_config_reading())

    def _check_files(self) -> None:
        if self._lending is not None:
            self._lending.check_tokens()
        self._accounts.check_files()


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
