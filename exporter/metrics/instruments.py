"""What the process counts of itself as it goes: requests, streams, pages.

These start at 0 with the process, unlike the totals of workflows, which the ledger keeps.
"""

import threading
from collections.abc import Iterable
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.following.telemetry import SnapshotResult, StreamEnd
from exporter.metrics.catalogue import API_DURATION_BUCKETS, BY_NAME

ENDPOINTS: Final = ("subscribe", "list", "get")
EXPECTED_CODES: Final = ("200", "401", "403", "404", "429", "500", "503", "error")
"""Codes whose series stand at 0 from the start, so that the first of each is seen."""


def _counter(name: str, registry: CollectorRegistry) -> Counter:
    metric = BY_NAME[name]
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


class Instruments:
    """Takes what those who ask the service tell of themselves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _counter("comfycontrol_api_requests_total", registry)
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
        self._lock = threading.Lock()
        self._lists_completed: dict[str, float] = {}
        # Threads of an account that has ended may have a last word, which must not bring its
        # series back.
        self._accounts: set[str] = set()

    def open_accounts(self, accounts: Iterable[str]) -> None:
        """Let every series that can be known beforehand stand at 0."""
        for account in accounts:
            self._accounts.add(account)
            for endpoint in ENDPOINTS:
                self._durations.labels(account, endpoint)
                for code in EXPECTED_CODES:
                    self._requests.labels(account, endpoint, code)
            for end in get_args(StreamEnd):
                self._stream_ends.labels(account, end)
            for result in get_args(SnapshotResult):
                self._snapshots.labels(account, result)
            self._pages.labels(account)
            self._malformed_rows.labels(account)

    def close_account(self, account: str) -> None:
        """Let the series of an account that is followed no more vanish."""
        self._accounts.discard(account)
        for metric in (
            self._requests,
            self._durations,
            self._stream_ends,
            self._snapshots,
            self._pages,
            self._malformed_rows,
        ):
            metric.remove_by_labels({"account": account})
        with self._lock:
            self._lists_completed.pop(account, None)

    def list_completed_at(self, account: str) -> float | None:
        """When the account's list was last read whole, Unix seconds."""
        with self._lock:
            return self._lists_completed.get(account)

    # What the client and the followers tell ---------------------------------------------------

    def request_made(self, account: str, endpoint: str, code: str, seconds: float) -> None:
        """A request was answered, or failed."""
        if account in self._accounts:
            self._requests.labels(account, endpoint, code).inc()
            self._durations.labels(account, endpoint).observe(seconds)

    def stream_ended(self, account: str, reason: StreamEnd) -> None:
        """A stream, or the attempt to open one, is over."""
        if account in self._accounts:
            self._stream_ends.labels(account, reason).inc()

    def snapshot_read(self, account: str, result: SnapshotResult) -> None:
        """A stream brought an event."""
        if account in self._accounts:
            self._snapshots.labels(account, result).inc()

    def page_read(self, account: str) -> None:
        """A page of the list was read."""
        if account in self._accounts:
            self._pages.labels(account).inc()

    def rows_malformed(self, account: str, count: int) -> None:
        """So many rows of a page could not be read, or lost a field."""
        if account in self._accounts:
            self._malformed_rows.labels(account).inc(count)

    def list_completed(self, account: str, wall: float) -> None:
        """A pass over the list was complete at this Unix time."""
        with self._lock:
            self._lists_completed[account] = wall
