"""All parts of one configured account, connected."""

import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from math import inf
from typing import Final, Protocol

from exporter.app.dependencies import Dependencies, way_to_service
from exporter.budget.budget import RequestBudget
from exporter.budget.sliding_window import Priority
from exporter.config import Account
from exporter.following.answer_size import AcceptedSize
from exporter.following.answers import LastError
from exporter.following.asking import Asking
from exporter.following.choosing import StreamCapacity
from exporter.following.list_pages import ListPages
from exporter.following.lister import Lister, ListingTerms
from exporter.following.poller import Poller
from exporter.following.rechecker import Rechecker
from exporter.following.reconciler import Reconciler
from exporter.following.reconciling import COMPARED, ListTerms, Reconciliation
from exporter.following.rereading import ComparedAccount
from exporter.following.runner_watch import RunnerTerms, RunnerWatch
from exporter.following.supervisor import Supervisor
from exporter.following.traits_reader import TraitsReader
from exporter.history.outlook import Plan
from exporter.interfaces.observations import OpenWorkflow, Source
from exporter.ledger.lending import LentStream  # noqa: TC001 - beside the others
from exporter.metrics.reading import AccountReading
from exporter.sources.files import WatchedFiles
from exporter.sources.named import NamedIds

REPLACED_SECONDS: Final = 1.0
"""Seconds to wait for a part that a reload replaces. It ends in any case, but a request that it is
making may come in addition to those of the new part."""


class _Part(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout: float) -> bool: ...


class FollowedAccount:
    """Follows one account from `start` to `stop`, and applies changes of its configuration.

    Args:
        config: the account as configured.
        budget: the request budget of its service address.
        capacity: how many streams it may have.
        around: what all accounts use together.

    Raises:
        TokenUnreadable: its token cannot be read.
    """

    def __init__(
        self,
        config: Account,
        budget: RequestBudget,
        capacity: StreamCapacity,
        around: Dependencies,
    ) -> None:
        self.name: Final = config.name
        self._config = config
        self._around = around
        self.lent: Mapping[str, LentStream] = {}
        """Its workflows whose streams other replicas hold."""
        self._credentials, self._client, self._access = way_to_service(config, budget, around)
        self._supervisor = Supervisor(
            self._access,
            around.ledger,
            around.instruments,
            capacity=capacity,
            share=budget.allowed,
            now=around.now,
            random=around.jitter,
            backoff=around.backoff,
            loop=around.loop,
            elsewhere=lambda: {known: lent.is_open for known, lent in self.lent.items()},
            pool=around.pool,
            settled=around.tempo.settled_stream,
            without_threads=around.tempo.without_threads,
            cause=around.tempo.cause,
        )
        self._accepted = AcceptedSize()
        self._asking = Asking(self._access, around.ledger, around.instruments, around.now)
        self._rechecker = Rechecker(
            around.loop,
            self._access,
            self._asking,
            around.ledger,
            now=around.now,
            backoff=around.backoff(),
        )
        self._named = NamedIds(config.name, around.ledger, around.now, self.recheck)
        # A reload and the end of the process may happen at the same time, so parts are started and
        # replaced under this lock. `stop` needs it, so no file is read and no thread awaited
        # under it.
        self._lock = threading.Lock()
        self._is_started = self._is_stopping = False
        self._listing = self._make_listing(config)
        self._runners = self._make_runners(config)
        self._files = self._make_files(config)

    # Life -------------------------------------------------------------------------------------

    def start(self, *, again: bool = False) -> None:
        """Begin to follow.

        Args:
            again: whether a reload has just added this account, so that its dropped ids are tracked
                again. At the start of the process they are not.
        """
        self._named.begin(
            self._config.workflows, has_files=bool(self._config.workflow_files), again=again
        )
        with self._lock:
            if self._is_stopping:
                return
            self._is_started = True
            for part in self._parts():
                part.start()

    def stop(self) -> None:
        """End everything soon, from any thread, without waiting for it."""
        with self._lock:
            self._is_stopping = True
            for part in self._parts():
                part.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the end, for that many seconds; return whether everything has ended."""
        if not self._is_started:
            return True
        deadline = self._around.now().monotonic + timeout
        ended = [
            part.join(max(0.0, deadline - self._around.now().monotonic)) for part in self._parts()
        ]
        return all(ended)

    def close(self) -> None:
        """Close the connections, after everything has ended."""
        self._access.close()
        self._client.close()

    def _parts(self) -> tuple[_Part, ...]:
        return (self._supervisor, self._rechecker, *self._listing, *self._runners, *self._files)

    # While it runs ----------------------------------------------------------------------------

    def check_streams(self) -> None:
        """Check soon which workflows need streams, because the open ones have changed."""
        self._supervisor.check_soon()

    def recheck(self, workflow_ids: Collection[str], source: Source) -> None:
        """Check these ended workflows, which were named again: they may run once more."""
        self._rechecker.recheck(workflow_ids, source)

    def note_withdrawn(self, workflow_id: str) -> None:
        """Note that this id was withdrawn by a request, whichever source names it."""
        self._named.note_withdrawn(workflow_id)

    def check_token(self) -> None:
        """Read the token again if its file has changed."""
        if self._credentials.reload_if_changed():
            self._around.loop.call(self._access.token_changed)

    def retry_ids(self) -> None:
        """Track the configured ids that could not be tracked before."""
        self._named.retry()

    def is_out_of_sight(self) -> bool:
        """Whether the service has given no usable answer for this account for a while."""
        return self._access.health().is_blind(self._around.now().monotonic)

    def is_ready(self) -> bool:
        """Whether the service has answered, or there was nothing to ask it yet."""
        asks = self._config.listing is not None or bool(self._config.workflows)
        return self._access.health().answered or not asks

    @property
    def without_thread(self) -> int:
        """How many streams are held back because no thread can be started for them."""
        return self._supervisor.without_thread

    @property
    def streams(self) -> int:
        """How many streams are open here."""
        return len(self._supervisor.streaming())

    @property
    def needed_streams(self) -> int:
        """How many streams it has or wants here now."""
        return self._supervisor.needed

    @property
    def without_stream(self) -> Sequence[OpenWorkflow]:
        """Workflows that get no stream here, highest priority first."""
        return self._supervisor.beyond

    def _streaming(self) -> set[str]:
        """Ids whose stream is open now, here or at another replica."""
        return self._supervisor.streaming().union(
            workflow_id for workflow_id, lent in self.lent.items() if lent.is_open
        )

    def reading(self) -> AccountReading:
        """The state of the account now, for metrics."""
        reconcilers = [part for part in self._listing if isinstance(part, Reconciler)]
        return AccountReading(
            health=self._access.health(),
            followed=frozenset(self._streaming()),
            list_completed_at=(
                None
                if self._config.listing is None
                else self._around.instruments.list_completed_at(self.name)
            ),
            listed=self._config.listing is not None,
            runners=self._runners[0].census() if self._runners else None,
            reconciliation=reconcilers[0].reading() if reconcilers else Reconciliation(),
            files=self._files[0].reading() if self._files else None,
        )

    def plan(self) -> Plan:
        """What will be done next about its workflows."""
        listers = [part for part in self._listing if isinstance(part, Lister)]
        pollers = [part for part in self._listing if isinstance(part, Poller)]
        listing = self._config.listing
        now = self._around.now().monotonic
        return Plan(
            streaming=frozenset(self._supervisor.streaming()),
            lent={name: lent.replica for name, lent in self.lent.items() if lent.is_open},
            opening=self._supervisor.opening(),
            listed=listing is not None,
            lookback=0.0 if listing is None else listing.lookback,
            next_pass=listers[0].next_pass if listers else None,
            poll_due=pollers[0].due_at if pollers else lambda _: None,
            is_down=self._access.health().is_blind(now),
        )

    def last_error(self) -> LastError | None:
        """The error of the latest failed request."""
        return self._access.last_error

    # Reloading --------------------------------------------------------------------------------

    def can_become(self, config: Account) -> bool:
        """Whether this change can be applied without starting over."""
        return config.name == self.name and config.base_url == self._config.base_url

    def change(self, config: Account, token: str, capacity: StreamCapacity) -> None:
        """Apply a changed configuration; streams of ids that stay are not interrupted.

        Only one call at a time. `token` is the token that was read for `config`.
        """
        if config.token != self._config.token and self._credentials.change(config.token, token):
            self._around.loop.call(self._access.token_changed)
        before, self._config = self._config, config
        self._supervisor.change(capacity)
        if config.listing != before.listing:
            _end(self._listing)
            with self._lock:
                if self._is_stopping:
                    return
                self._listing = self._make_listing(config)
                for part in self._listing:
                    part.start()
        if config.runners != before.runners:
            _end(self._runners)
            with self._lock:
                if self._is_stopping:
                    return
                self._runners = self._make_runners(config)
                for watch in self._runners:
                    watch.start()
        self._name(before, config)

    def _name(self, before: Account, config: Account) -> None:
        if config.workflow_files != before.workflow_files:
            _end(self._files)
            files = self._make_files(config, self._files)
            # Files are read before anything is untracked, so that an id that moves into one stays.
            in_files = frozenset().union(*(each.read() for each in files))
            self._named.replace({"configured": config.workflows, "file": in_files})
            with self._lock:
                if self._is_stopping:
                    return
                self._files = files
                for each in files:
                    each.start()
        elif config.workflows != before.workflows:
            self._named.replace({"configured": config.workflows})

    def _make_listing(self, config: Account) -> tuple[_Part, ...]:
        around, listing = self._around, config.listing
        around.loop.call(partial(self._access.need_list, needed=listing is not None))
        poller = Poller(
            around.loop,
            self._access,
            around.ledger,
            self._asking,
            streaming=self._streaming,
            listing=None if listing is None else ListTerms(listing.interval, listing.lookback),
            list_read_at=self._list_read_at,
            now=around.now,
            every=around.tempo.poll,
        )
        traits = TraitsReader(
            around.loop,
            self._access,
            around.ledger,
            self._asking,
            listed=listing is not None,
            now=around.now,
        )
        reconciler = self._make_reconciler(config)
        if listing is None:
            return (poller, traits)
        lister = Lister(
            around.loop,
            self._access,
            around.ledger,
            around.instruments,
            ListingTerms(listing.interval, listing.lookback, frozenset(listing.tags)),
            streaming=self._streaming,
            poller=poller,
            now=around.now,
            backoff=around.backoff(),
            open_check=around.tempo.open_check,
            sweep=around.tempo.sweep,
            overlap=around.tempo.list_overlap,
            least_wait=around.tempo.list_retry,
            accepted=self._accepted,
        )
        return (poller, traits, lister, *reconciler)

    def _make_reconciler(self, config: Account) -> tuple[Reconciler] | tuple[()]:
        around, listing = self._around, config.listing
        if listing is None or listing.tags or not listing.reconcile or around.reconciling is None:
            # Not all workflows are counted now, so later comparisons start with new baselines.
            for status in COMPARED:
                around.ledger.set_baseline(self.name, status, None)
            return ()
        # With its own permits, page sizes and page numbers, so it cannot disturb the lister.
        lists = ListPages(
            self._access,
            around.instruments,
            take_top=lambda _: None,
            top_again=inf,
            now=around.now,
            backoff=around.backoff(),
            turns=(Priority.RECONCILE, Priority.RECONCILE),
            accepted=self._accepted,
        )
        compared = ComparedAccount(
            name=self.name,
            lists=lists,
            books=around.ledger,
            terms=ListTerms(listing.interval, listing.lookback),
            pace=around.reconciling,
            list_read_at=self._list_read_at,
            now=around.now,
            in_thread=self._access.in_thread,
        )
        return (Reconciler(around.loop, compared),)

    def _list_read_at(self) -> float | None:
        """When the last complete pass over the list began, Unix seconds; None: not since the start.

        Any thread may call it.
        """
        return self._around.instruments.list_completed_at(self.name)

    def _make_runners(self, config: Account) -> tuple[RunnerWatch] | tuple[()]:
        runners = config.runners
        if runners is None:
            return ()
        terms = RunnerTerms(runners.interval, runners.tags if runners.by_tag else None)
        around = self._around
        watch = RunnerWatch(
            around.loop, self._access, terms, now=around.now, backoff=around.backoff()
        )
        return (watch,)

    def _make_files(
        self, config: Account, before: tuple[WatchedFiles, ...] = ()
    ) -> tuple[WatchedFiles, ...]:
        if not config.workflow_files:
            return ()
        files = WatchedFiles(config.name, config.workflow_files, self._named)
        for each in before:
            files.go_on(each)
        return (files,)


def _end(parts: tuple[_Part, ...]) -> None:
    for part in parts:
        part.stop()
    for part in parts:
        part.join(REPLACED_SECONDS)
