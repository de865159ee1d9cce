"""Scrapes as a Prometheus does, and records what became of each try."""

import http.client
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from urllib3.util.wait import wait_for_read

from benchmarks.metrics import Metrics
from benchmarks.soak.attacks import Target

TIMEOUT: Final = 60.0
TRIES: Final = 10
REST_SECONDS: Final = 1.0
"""Between two tries, if the first has failed."""


@dataclass(frozen=True)
class FailedTry:
    """A request that was not answered on a fresh connection. A Prometheus loses such a scrape."""

    at: float
    error: str
    after_seconds: float
    connections_closed: Mapping[str, int]
    """By reason, how many connections the exporter has closed since the last scrape that was
    answered. It counts no requests that fail, and those of all other clients are among these."""


class _FailedError(Exception):
    """A fresh connection was not answered."""


@dataclass
class PatientScraper:
    """One connection, kept between scrapes.

    Between two scrapes the exporter may close it, to make room for other clients. If that shows
    before the next request, the scraper connects again. If it shows after the request, before any
    byte of the answer, the scraper sends the request once more, at once, on a fresh connection.
    Go's `http.Transport` does both, so a Prometheus loses no scrape.
    """

    target: Target
    closed: Counter[str] = field(default_factory=Counter)
    """How often its idle connection was closed, by how that showed."""
    failed: list[FailedTry] = field(default_factory=list)
    _context: ssl.SSLContext = field(init=False)
    _connection: http.client.HTTPSConnection | None = None
    _reasons: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Trust the certificate of the target alone."""
        self._context = ssl.create_default_context(cafile=str(self.target.authority))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def scrape(self) -> str:
        """What the target shows; raises RuntimeError if it does not answer for long."""
        failed: list[tuple[str, float]] = []
        for _ in range(TRIES):
            began = time.monotonic()
            try:
                text = self._scrape()
            except _FailedError as failure:
                failed.append((str(failure), time.monotonic() - began))
                time.sleep(REST_SECONDS)
            else:
                self._record(failed, Metrics(text))
                return text
        raise RuntimeError(f"the exporter does not answer any more: {failed}")

    def _scrape(self) -> str:
        kept, self._connection = self._connection, None
        if kept is not None and wait_for_read(kept.sock, timeout=0):
            # Nothing may arrive between two answers but the end of the connection.
            self.closed["between two scrapes"] += 1
            kept.close()
            kept = None
        if kept is not None:
            try:
                kept.request("GET", "/metrics")
                return self._answer(kept, kept.getresponse())
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                self.closed[f"instead of an answer ({type(error).__name__})"] += 1
                kept.close()
        fresh = http.client.HTTPSConnection(
            self.target.host, self.target.port, timeout=TIMEOUT, context=self._context
        )
        try:
            fresh.request("GET", "/metrics")
            return self._answer(fresh, fresh.getresponse())
        except (OSError, http.client.HTTPException) as error:
            fresh.close()
            raise _FailedError(f"{type(error).__name__}, on a fresh connection") from error

    def _answer(
        self, connection: http.client.HTTPSConnection, answer: http.client.HTTPResponse
    ) -> str:
        try:
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _FailedError(f"{type(error).__name__}, in the middle of an answer") from error
        if answer.status != http.client.OK:
            connection.close()
            raise _FailedError(f"status {answer.status}")
        if not answer.will_close:
            self._connection = connection
        return text

    def _record(self, failed: list[tuple[str, float]], metrics: Metrics) -> None:
        reasons = metrics.by("exporter_web_connections_closed_total", "reason")
        closed = {reason: round(n - self._reasons.get(reason, 0)) for reason, n in reasons.items()}
        self._reasons = reasons
        for error, seconds in failed:
            self.failed.append(FailedTry(time.monotonic(), error, round(seconds, 2), closed))
            print(self.failed[-1], flush=True)
