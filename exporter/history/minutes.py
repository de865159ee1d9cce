"""The last hour, minute by minute: outcomes, starts, and what failed. Pure, and bounded.

A minute stores its times to start as counts per step of a logarithmic scale, 19 % apart.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, floor, log2
from typing import Final

import orjson

from exporter.history import words
from exporter.interfaces.observations import FINAL_STATUSES
from exporter.interfaces.views import Failures, Plot
from exporter.ledger.facts import Failed, Finished, Started

BUCKET_SECONDS: Final = 60.0
BUCKETS: Final = 60
"""An hour."""

MOST_CAUSES: Final = 100
"""Distinct causes in one minute; more are `other`."""

MOST_SLICES: Final = 500
"""Distinct values of slices in one minute; more are `other`."""

FAILED: Final = frozenset({"failed", "invalid"})

QUANTILE: Final = 0.95
_STEPS: Final = 4
_LEAST_STEP: Final = -14
_OTHER: Final = "other"


@dataclass(slots=True)
class Minute:
    """What became known of one account within one minute."""

    account: str
    number: int
    """Of the minute, since 1970."""
    key: int = 0
    """Under which it is kept."""
    outcomes: Counter[str] = field(default_factory=Counter)
    starts: Counter[int] = field(default_factory=Counter)
    """By step of the scale."""
    failures: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """By node and exception: how many, and the latest workflow."""
    slices: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By label and value of those that matched: how many ended, and how many of these failed."""

    def take(
        self, workflow_id: str, fact: Started | Finished | Failed, slices: Mapping[str, str]
    ) -> None:
        """Count a fact of a workflow with these slices."""
        match fact:
            case Finished(status, _):
                self.outcomes[status.value] += 1
                for label, value in slices.items():
                    self._count(label, value, failed=status.value in FAILED)
            case Started(seconds):
                step = _LEAST_STEP
                if seconds > 0:
                    step = max(_LEAST_STEP, ceil(log2(seconds) * _STEPS - 1e-9))
                self.starts[step] += 1
            case Failed(node, exception):
                cause = words.name(node), words.name(exception)
                if cause not in self.failures and len(self.failures) >= MOST_CAUSES:
                    cause = _OTHER, _OTHER
                count, _ = self.failures.get(cause, (0, ""))
                self.failures[cause] = count + 1, workflow_id

    def _count(self, label: str, value: str, *, failed: bool) -> None:
        key = label, value
        if key not in self.slices and len(self.slices) >= MOST_SLICES:
            key = label, _OTHER
        ended, of_these = self.slices.get(key, (0, 0))
        self.slices[key] = ended + 1, of_these + failed

    def packed(self) -> bytes:
        """As it is kept."""
        return orjson.dumps(
            [
                self.account,
                self.number,
                dict(self.outcomes),
                list(self.starts.items()),
                [(*cause, *counted) for cause, counted in self.failures.items()],
                [(*key, *counted) for key, counted in self.slices.items()],
            ]
        )

    @classmethod
    def unpacked(cls, content: bytes) -> "Minute":
        """From what was kept.

        Raises:
            ValueError, TypeError, LookupError: it is none.
        """
        # An earlier version kept no slices.
        account, number, outcomes, starts, failures, *more = orjson.loads(content)
        return cls(
            str(account),
            int(number),
            0,
            Counter({str(status): int(count) for status, count in outcomes.items()}),
            Counter({int(step): int(count) for step, count in starts}),
            {(str(n), str(e)): (int(c), str(w)) for n, e, c, w in failures},
            {(str(k), str(v)): (int(e), int(f)) for part in more for k, v, e, f in part},
        )


def number_of(wall: float) -> int:
    """The minute of a moment (Unix seconds)."""
    return floor(wall / BUCKET_SECONDS)


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour of one account."""

    outcomes: Mapping[str, int]
    failures: tuple[Failures, ...]
    plots: tuple[Plot, ...]
    slices: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By label and value: how many ended, and how many of these failed."""


def hour_of(minutes: Mapping[int, Minute], wall: float) -> Hour:
    """Put the minutes together that ended less than an hour ago."""
    last = number_of(wall)
    buckets = [minutes.get(number) for number in range(last - BUCKETS + 1, last + 1)]
    known = [minute for minute in buckets if minute is not None]
    outcomes = Counter[str]()
    for minute in known:
        outcomes.update(minute.outcomes)
    # In one order for every account: people compare them.
    ordered = {s.value: outcomes[s.value] for s in FINAL_STATUSES if outcomes[s.value]}
    failures = _failures(known, sum(outcomes.values()))
    return Hour(ordered, failures, tuple(_plots(buckets)), _slices(known))


def _slices(known: Iterable[Minute]) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for minute in known:
        for key, (ended, failed) in minute.slices.items():
            before = found.get(key, (0, 0))
            found[key] = before[0] + ended, before[1] + failed
    return found


def _failures(known: Iterable[Minute], ended: int) -> tuple[Failures, ...]:
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for minute in known:
        for cause, (count, latest) in minute.failures.items():
            found[cause] = found.get(cause, (0, ""))[0] + count, latest
    return tuple(
        Failures(
            node_type=node,
            exception_type=exception,
            count=count,
            # A cause may become known minutes after its outcome was counted.
            share=min(1.0, count / ended) if ended else 1.0,
            latest_workflow_id=latest or None,
        )
        for (node, exception), (count, latest) in sorted(
            found.items(), key=lambda item: (-item[1][0], item[0])
        )
    )


def _plots(buckets: list[Minute | None]) -> Iterator[Plot]:
    def counted(*statuses: str) -> tuple[float | None, ...]:
        return tuple(
            None if minute is None else float(sum(minute.outcomes[s] for s in statuses))
            for minute in buckets
        )

    yield Plot("Completed", "count", BUCKET_SECONDS, counted("completed"))
    yield Plot("Failed or invalid", "count", BUCKET_SECONDS, counted("failed", "invalid", "other"))
    waits = tuple(None if minute is None else _quantile(minute.starts) for minute in buckets)
    yield Plot("Time to start, p95", "seconds", BUCKET_SECONDS, waits)


def _quantile(starts: Mapping[int, int]) -> float | None:
    """The upper end of the step in which it lies; None where nothing started."""
    rank = QUANTILE * sum(starts.values())
    passed = 0
    for step in sorted(starts):
        passed += starts[step]
        if passed >= rank and passed:
            return float(2.0 ** (step / _STEPS))
    return None
