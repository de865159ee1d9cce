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
"""How many minutes are kept: one hour."""

MOST_CAUSES: Final = 100
"""The largest number of distinct causes in one minute; further ones count as `other`."""

MOST_SLICES: Final = 500
"""The largest number of distinct slice values in one minute; further ones count as `other`."""

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
    """The number of the minute since 1970."""
    key: int = 0
    """The number under which the ledger stores it; 0: it is not stored."""
    outcomes: Counter[str] = field(default_factory=Counter)
    starts: Counter[int] = field(default_factory=Counter)
    """How many starts there were, by step of the scale."""
    failures: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """By node type and exception type: how many failures, and the id of the latest workflow."""
    slices: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By label and value of matching slices: how many workflows ended, and how many of these
    failed."""

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
        """The minute as stored bytes."""
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
        """A minute from its stored bytes.

        Raises:
            ValueError, TypeError, LookupError: the bytes are not a minute.
        """
        # An earlier version did not store slices.
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
    """The number of the minute of a time (Unix seconds)."""
    return floor(wall / BUCKET_SECONDS)


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour of one account."""

    outcomes: Mapping[str, int]
    failures: tuple[Failures, ...]
    plots: tuple[Plot, ...]
    slices: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By label and value: how many workflows ended, and how many of these failed."""


def hour_of(minutes: Mapping[int, Minute], wall: float) -> Hour:
    """Combine the minutes that ended less than an hour ago."""
    last = number_of(wall)
    buckets = [minutes.get(number) for number in range(last - BUCKETS + 1, last + 1)]
    known = [minute for minute in buckets if minute is not None]
    outcomes = Counter[str]()
    for minute in known:
        outcomes.update(minute.outcomes)
    # All accounts use the same order, so that they can be compared.
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
    """The upper bound in seconds of the step that contains the quantile.

    None if nothing started.
    """
    rank = QUANTILE * sum(starts.values())
    passed = 0
    for step in sorted(starts):
        passed += starts[step]
        if passed >= rank and passed:
            return float(2.0 ** (step / _STEPS))
    return None
