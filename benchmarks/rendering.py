"""One scrape's text: how long it takes, beside prometheus-client's own renderer.

    python -m benchmarks.rendering
    python -m benchmarks.rendering --accounts 400 --outcomes 20000

The same reading is rendered by both, in turns; between two renderings a few outcomes are counted,
as between two scrapes. Times are medians of CPU time: other work on the machine matters little.
"""

import argparse
import gzip
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from exporter.following.answers import AccountHealth
from exporter.interfaces.observations import Moment, Status
from exporter.ledger.facts import EnteredQueue, Fact, Failed, Finished, Started
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.totals import Buckets, LabelCaps, Totals
from exporter.metrics.exposition import Page, new_registry
from exporter.metrics.instruments import Instruments
from exporter.metrics.negotiation import negotiate
from exporter.metrics.reading import AccountReading, BuildReading, ConfigReading, Reading

_T = TypeVar("_T")
_CAPS = LabelCaps(node_types=200, exception_types=50)
_BUCKETS = Buckets(
    (0, 1, 2, 5, 10, 20, 50, 100),
    (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
    (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200),
)
_UP = AccountHealth(up=True, answered=True, down_since=None, usable_at=1.0)
_FORMATS = {
    "text": "text/plain; version=0.0.4",
    "OpenMetrics": "application/openmetrics-text; version=1.0.0",
}


def main() -> int:
    """Measure, and print a line for each format."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rendering", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--accounts", type=int, default=43)
    parser.add_argument("--outcomes", type=int, default=5000)
    parser.add_argument("--times", type=int, default=15)
    arguments = parser.parse_args()
    scene = _Scene(arguments.accounts)
    scene.count(arguments.outcomes)
    for name in _FORMATS:
        print(_measured(scene, name, arguments.times), flush=True)
    return 0


def _measured(scene: "_Scene", name: str, times: int) -> str:
    kind = negotiate(_FORMATS[name])
    theirs = generate_latest if name == "text" else openmetrics.generate_latest
    copied: list[float] = []
    slow: list[float] = []
    fast: list[float] = []
    body = b""
    for _ in range(times):
        scene.count(20)
        reading = _timed(copied, scene.reading)
        expected = _timed(slow, partial(theirs, scene.page.families(reading)))
        body = _timed(fast, partial(scene.page.rendered, reading, kind)).body
        if body != expected:
            raise RuntimeError("the texts differ")
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    took = {"prometheus-client": slow, "ours": fast, "the copy of the totals": copied}
    medians = {what: statistics.median(seconds) * 1000 for what, seconds in took.items()}
    lines = [
        f"{name}: {series:,} series, {len(body) / 2**20:.2f} MiB",
        *(f"  {what}: {milliseconds:.0f} ms" for what, milliseconds in medians.items()),
        f"  ours is {medians['prometheus-client'] / medians['ours']:.1f} times as fast",
    ]
    for level in (1, 4, 6):
        packed: list[float] = []
        size = len(_timed(packed, partial(gzip.compress, body, level, mtime=0)))
        lines.append(f"  gzip {level}: {packed[0] * 1000:.0f} ms, {size / 1024:.0f} KiB")
    return "\n".join(lines)


def _timed(into: list[float], function: Callable[[], _T]) -> _T:
    began = time.thread_time()
    result = function()
    into.append(time.thread_time() - began)
    return result


class _Scene:
    """Accounts with outcomes."""

    def __init__(self, accounts: int) -> None:
        self._accounts = tuple(f"account-{number}" for number in range(accounts))
        self._totals = Totals(_BUCKETS, _CAPS)
        for account in self._accounts:
            self._totals.open_account(account)
        registry = new_registry(())
        self._instruments = Instruments(registry)
        self._instruments.open_accounts(self._accounts)
        self._random = random.Random(1)
        self.page = Page(registry, self.reading)

    def count(self, outcomes: int) -> None:
        """So many more, of any account."""
        for _ in range(outcomes):
            account = self._random.choice(self._accounts)
            is_failed = self._random.random() < 0.1
            status = Status.FAILED if is_failed else Status.COMPLETED
            wait, ran = self._random.expovariate(0.02), self._random.expovariate(0.01)
            facts: list[Fact] = [
                EnteredQueue(self._random.randrange(99)),
                Started(wait),
                Finished(status, ran),
            ]
            workflow_id = str(uuid.UUID(int=self._random.getrandbits(128)))
            for fact in facts:
                self._totals.add(account, workflow_id, fact, time.time())
            if is_failed:
                node = f"Node{self._random.randrange(5)}"
                self._totals.add(account, workflow_id, Failed(node, "ValueError"), time.time())

    def reading(self) -> Reading:
        """As a scrape has it: of a copy that later outcomes leave alone."""
        ledger = LedgerSnapshot(
            self._accounts, (), 7, self._totals.copied(self._accounts), 10_000_000
        )
        return Reading(
            at=Moment(time.time(), 5.0),
            ledger=ledger,
            requests=self._instruments.requests(),
            accounts={name: AccountReading(_UP, listed=True) for name in self._accounts},
            budgets=(),
            config=ConfigReading(last_reload_successful=True, last_reload_success_at=1.0),
            build=BuildReading("1", "a", "3.11"),
            per_workflow_series=500,
            label_caps=_CAPS,
        )


if __name__ == "__main__":
    sys.exit(main())
