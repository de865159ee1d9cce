"""Counters of the process itself: requests, streams, pages.

They start at 0 with the process, unlike the totals of workflows, which the ledger stores.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.comfycontrol import Endpoint
from exporter.interfaces.telemetry import SnapshotResult, StreamEnd
from exporter.ledger.new_series import NewSeries
from exporter.ledger.totals import CounterTotal
from exporter.metrics.catalogue import API_DURATION_BUCKETS, BY_NAME
from exporter.metrics.reading import RequestsKey, RequestsReading

ENDPOINTS: Final = get_args(Endpoint)
EXPECTED_CODES: Final = ("200", "401", "403", "404", "429", "500", "503", "error")
"""Codes whose series exist at 0 from the start. Series of other codes are new when they appear."""

_REQUESTS: Final = "comfycontrol_api_requests_total"


def _counter(name: str, registry: CollectorRegistry) -> Counter:
    metric = BY_NAME[name]
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def _nobody(account: str, reason: StreamEnd, workflow_id: str, seconds: float | None) -> None:
    """Do nothing."""


class Instruments:
    """Implements `Telemetry`: counts what the parts that send requests report."""

    def __init__(self, registry: CollectorRegistry) -> None:
        duration = BY_NAME["comfycontrol_api_request_duration_seconds"]
        self._durations = Histogram(
            duration.name,
            duration.help,
            duration.labels,
            buckets=API_DURATION_BUCKETS,
            registry=registry,
        )
        self._stream_ends = _counter("comfycontrol_stream_ends_total", registry)
        self._snapshots = _counter("comfycontrol_stream_snapshots_total", registry)
        self._pages = _counter("comfycontrol_listing_pages_total", registry)
        self._malformed_rows = _counter("comfycontrol_listing_rows_malformed_total", registry)
        self.on_stream_end: Callable[[str, StreamEnd, str, float | None], None] = _nobody
        """Called at the end of each stream, from many threads; it must not block."""
        self._lock = threading.Lock()
        self._lists_completed: dict[str, float] = {}
        # Not a counter of the library: the codes are not known in advance, and a new series must
        # show 0 first.
        self._requests: dict[RequestsKey, CounterTotal] = {}
        self._new = NewSeries()
        self._announced = 0
        # Threads of a removed account may still report something, which must not create its series
        # again.
        self._accounts: set[str] = set()
        # There are thousands of snapshots a second, so the labels are looked up only once.
        self._snapshot_counters: dict[tuple[str, SnapshotResult], Counter] = {}

    def open_accounts(self, accounts: Iterable[str]) -> None:
        """Create all series that are known in advance, at 0."""
        for account in accounts:
            with self._lock:
                self._accounts.add(account)
                for endpoint in ENDPOINTS:
                    for code in EXPECTED_CODES:
                        key = RequestsKey(account, endpoint, code)
                        self._requests.setdefault(key, CounterTotal())
            for endpoint in ENDPOINTS:
                self._durations.labels(account, endpoint)
            for end in get_args(StreamEnd):
                self._stream_ends.labels(account, end)
            for result in get_args(SnapshotResult):
                self._snapshot_counters[account, result] = self._snapshots.labels(account, result)
            self._pages.labels(account)
            self._malformed_rows.labels(account)

    def close_account(self, account: str) -> None:
        """Remove the series of an account that is no longer followed."""
        with self._lock:
            self._accounts.discard(account)
            self._requests = {k: t for k, t in self._requests.items() if k.account != account}
            self._new.forget(account)
            self._lists_completed.pop(account, None)
            for result in get_args(SnapshotResult):
                self._snapshot_counters.pop((account, result), None)
        for metric in (
            self._durations,
            self._stream_ends,
            self._snapshots,
            self._pages,
            self._malformed_rows,
        ):
            metric.remove_by_labels({"account": account})

    def list_completed_at(self, account: str) -> float | None:
        """When the last complete pass over the account's list began, Unix seconds."""
        with self._lock:
            return self._lists_completed.get(account)

    # Requests by code -------------------------------------------------------------------------

    def requests(self) -> RequestsReading:
        """The requests so far; later requests do not change the result."""
        with self._lock:
            return RequestsReading(
                {key: total.copied() for key, total in self._requests.items()}, self._announced
            )

    def announced(self) -> int:
        """The number of the last new series that shows its value now."""
        with self._lock:
            return self._announced

    def newest_series(self) -> int:
        """The highest number of a series that is not announced; 0: there is none."""
        with self._lock:
            return self._new.newest(self._accounts)

    def announce(self, series: int) -> None:
        """Let series up to this number show their value."""
        with self._lock:
            if self._new.announce(series, self._accounts) is not None:
                self._announced = series

    # What the client and the followers tell ---------------------------------------------------

    def request_made(self, account: str, endpoint: str, code: str, seconds: float) -> None:
        """A request was answered, or failed."""
        with self._lock:
            if account not in self._accounts:
                return
            key = RequestsKey(account, endpoint, code)
            total = self._requests.get(key)
            if total is None:
                total = self._requests[key] = CounterTotal()
                self._new.appear((_REQUESTS, key), total)
            total.value += 1
        self._durations.labels(account, endpoint).observe(seconds)

    def stream_ended(
        self, account: str, reason: StreamEnd, workflow_id: str, seconds: float | None = None
    ) -> None:
        """A stream has ended after this time; None: it could not be opened."""
        if account in self._accounts:
            self._stream_ends.labels(account, reason).inc()
        self.on_stream_end(account, reason, workflow_id, seconds)

    def snapshot_read(self, account: str, result: SnapshotResult) -> None:
        """A stream has delivered an event."""
        counter = self._snapshot_counters.get((account, result))
        if counter is not None:
            counter.inc()

    def page_read(self, account: str) -> None:
        """A page of the list was read."""
        if account in self._accounts:
            self._pages.labels(account).inc()

    def rows_malformed(self, account: str, count: int) -> None:
        """This many rows of a page could not be read completely."""
        if account in self._accounts:
            self._malformed_rows.labels(account).inc(count)

    def list_completed(self, account: str, wall: float) -> None:
        """A pass over the list that began at this Unix time is complete."""
        with self._lock:
            self._lists_completed[account] = wall
