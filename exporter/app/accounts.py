"""Which accounts are followed: those of the configuration that this replica holds."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from exporter.app import from_config
from exporter.app.account import FollowedAccount
from exporter.app.budgets import Budgets
from exporter.app.dependencies import Dependencies
from exporter.config import Account, Config, TokenUnreadableError
from exporter.history.history import History
from exporter.interfaces.observations import Moment
from exporter.interfaces.telemetry import StreamEnd
from exporter.ledger.shared import Lease, Shared, SharedStore
from exporter.ledger.store import StoreError
from exporter.sources.pushed import PushedIds

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 1.5
"""Seconds for all threads together to end. Those that cannot, such as one that waits for
name resolution, end with the process."""


class FollowedAccounts:
    """Begins and ends accounts: a reload changes the configuration, and leases what is held.

    What it shows of them is replaced as a whole, so any thread may read it.

    Args:
        config: the complete configuration.
        budgets: the request budgets.
        around: what all accounts use together.
        history: is handed over with an account.
        shared: the ledger that replicas share; None: there are no replicas.

    Raises:
        TokenUnreadableError: a token cannot be read.
    """

    def __init__(
        self,
        config: Config,
        budgets: Budgets,
        around: Dependencies,
        history: History,
        shared: Shared | None,
    ) -> None:
        self._budgets = budgets
        self._around = around
        self._ledger = around.ledger
        self._history = history
        self._shared = shared
        # The accounts that this replica holds; None: there are no replicas, and it holds all.
        self._held: frozenset[str] | None = None if shared is None else frozenset()
        # Held while the followed accounts are changed or stopped.
        self._changing = threading.Lock()
        self._is_stopping = threading.Event()
        self.config = config
        """The complete configuration in use."""
        self.held_config = from_config.held_part(config, self._held)
        """The configuration of the accounts that are followed now."""
        self._stopped: list[FollowedAccount] = []
        self.followed: Mapping[str, FollowedAccount] = {
            account.name: self._make_account(account, self.held_config)
            for account in self.held_config.accounts
        }
        """The accounts that are followed now."""
        around.instruments.open_accounts(self.followed)
        self.pushed: Final = PushedIds(
            from_config.push_tokens(config),
            around.ledger,
            around.now,
            self._recheck,
            self._note_withdrawn,
        )
        """Takes the ids that are pushed for them."""

    def _make_account(self, account: Account, config: Config) -> FollowedAccount:
        capacity = from_config.capacity(account, config)
        return FollowedAccount(account, self._budgets.of(account), capacity, self._around)

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all accounts."""
        for account in self.followed.values():
            account.start()

    def begin_stop(self) -> None:
        """Begin no more changes."""
        self._is_stopping.set()

    def stop(self) -> bool:
        """Stop all accounts; return False if a change of them goes on."""
        # A running reload may be reading a file on a disk that does not answer.
        has_lock = self._changing.acquire(timeout=STOP_SECONDS / 2)
        # A reload that goes on may exchange them meanwhile.
        self._stopped = list(self.followed.values())
        for account in self._stopped:
            account.stop()
        if has_lock:
            self._changing.release()
        return has_lock

    def join(self, deadline: float) -> bool:
        """Wait until all have ended, until that monotonic time; return whether they have."""
        now = self._around.now
        ended = [a.join(max(0.0, deadline - now().monotonic)) for a in self._stopped]
        return all(ended)

    def close(self) -> None:
        """Close the connections, after everything has ended."""
        for account in self._stopped:
            account.close()

    # Changes ----------------------------------------------------------------------------------

    def reload(self, config: Config) -> bool:
        """Apply another configuration; return False if it is too late for that.

        Raises:
            TokenUnreadableError: a token cannot be read. Then nothing was changed.
        """
        with self._changing:
            if self._is_stopping.is_set():
                return False
            fixed = {"storage": self.config.storage, "egress": self.config.egress}
            if any(getattr(config, key) != value for key, value in fixed.items()):
                log.warning("changes to storage and egress need a restart")
                config = config.model_copy(update=fixed)
            was = {account.name: account for account in self.held_config.accounts}
            begun, ended = self._follow(config, again=True)
            changed = [a.name for a in config.accounts if a.name in was and a != was[a.name]]
            told = {"accounts": self.followed, "begun": begun, "ended": ended, "changed": changed}
            log.info(
                "configuration reloaded",
                extra={mark: ",".join(names) for mark, names in told.items() if names},
            )
            return True

    def hold(self, gained: Collection[Lease], lost: Collection[str]) -> Collection[str]:
        """Start counting some accounts, stop counting others; return those that were started."""
        with self._changing:
            shared, held = self._shared, self._held
            if shared is None or held is None or self._is_stopping.is_set():
                return ()
            if lost:
                self._held = held - set(lost)
                self._follow(self.config, again=False)
                for account in lost:
                    self._ledger.release_account(account, partial(shared.store.release, account))
                    self._history.release_account(account)
            configured = {account.name: account for account in self.config.accounts}
            begun: list[str] = []
            for lease in gained:
                account_ = configured.get(lease.account)
                if account_ is not None and self._adopt(shared.store, lease, account_):
                    begun.append(lease.account)
            if begun:
                self._held = (held - set(lost)) | set(begun)
                self._follow(self.config, again=False)
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

    def _follow(self, config: Config, *, again: bool) -> tuple[Collection[str], Collection[str]]:
        """Follow the accounts of this configuration that this replica holds.

        Return the names of the accounts that were started and of those that were stopped.

        Args:
            config: the complete configuration.
            again: see `FollowedAccount.start`.

        Raises:
            TokenUnreadableError: a token cannot be read. Then nothing was changed.
        """
        before, all_of_it = self.followed, config
        config = from_config.held_part(config, self._held)
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
        self._budgets.change(from_config.limits(all_of_it))
        ended = {name: account for name, account in before.items() if name not in going_on}
        _end(ended.values(), self._around.now)
        self._ledger.change(
            from_config.terms(config),
            from_config.buckets(config),
            from_config.caps(config),
            from_config.slices(config),
        )
        names = {account.name for account in all_of_it.accounts}
        # Streams of accounts that were removed from the configuration may have been borrowed.
        gone = {account.name for account in self.config.accounts} - names
        for name in (ended.keys() - begun.keys()) | gone:
            self._around.instruments.close_account(name)
        self._around.instruments.open_accounts(begun)
        self.followed = {a.name: (going_on | begun)[a.name] for a in config.accounts}
        self.config, self.held_config = all_of_it, config
        # Pushes for an account of another replica get "try later", not "unknown token".
        self.pushed.change(from_config.push_tokens(all_of_it))
        for followed in begun.values():
            followed.start(again=again)
        for account in config.accounts:
            if account.name in going_on:
                going_on[account.name].change(
                    account, tokens[account.name], from_config.capacity(account, config)
                )
        # Stored now: an id that was dropped and is named again must not be dropped after a crash.
        self._ledger.persist()
        return begun, ended

    # While they run ---------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All accounts of the configuration."""
        return [account.name for account in self.config.accounts]

    def are_ready(self) -> bool:
        """Whether every account had its first answer, or had nothing to ask yet."""
        return all(account.is_ready() for account in self.followed.values())

    def elsewhere(self) -> dict[str, str]:
        """Accounts that are not counted here, each with the replica that holds it; empty: none."""
        held, shared = self._held, self._shared
        if held is None or shared is None:
            return {}
        reading = shared.reading()
        return {
            name: reading.holder_of(name)
            for name in self.names()
            # While the database cannot be reached, accounts that stay here are not reported.
            if name not in held or name not in reading.held
        }

    def away(self) -> list[str]:
        """Accounts that the service does not answer for now, or that are not counted here."""
        out_of_sight = [a.name for a in self.followed.values() if a.is_out_of_sight()]
        return [*out_of_sight, *self.elsewhere()]

    def check_streams(self) -> None:
        """Check soon which workflows need streams."""
        for account in self.followed.values():
            account.check_streams()

    def check_files(self) -> None:
        """Read changed token files again, and retry the ids that could not be tracked."""
        for account in self.followed.values():
            try:
                account.check_token()
                account.retry_ids()
            except Exception as error:  # noqa: BLE001 - it must not hold up the other accounts
                log.error(  # noqa: TRY400 - a traceback shows values as well
                    "checking an account failed",
                    extra={"account": account.name, "error": type(error).__name__},
                )

    def note_stream_ended(
        self, account: str, reason: StreamEnd, workflow_id: str, seconds: float | None
    ) -> None:
        """Note the end of a stream in the history."""
        if account in self.followed:  # otherwise its holder has its history
            self._history.stream_ended(account, reason, workflow_id, seconds)

    def _recheck(self, account: str, workflow_ids: Collection[str]) -> None:
        followed = self.followed.get(account)
        if followed is not None:  # otherwise a reload has just removed it
            followed.recheck(workflow_ids, "pushed")

    def _note_withdrawn(self, account: str, workflow_id: str) -> None:
        followed = self.followed.get(account)
        if followed is not None:
            followed.note_withdrawn(workflow_id)


def _end(accounts: Collection[FollowedAccount], now: Callable[[], Moment]) -> None:
    """Stop these accounts, and wait until their last observations have been applied."""
    for account in accounts:
        account.stop()
    deadline = now().monotonic + STOP_SECONDS
    for account in accounts:
        if account.join(max(0.0, deadline - now().monotonic)):
            account.close()
