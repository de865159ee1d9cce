"""What a process could know: what it has sent, and what has reached it.

What the exporter says of the service is compared with this, and not with the service, of which
nobody beyond an outage knows anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from tests.simulation.scheduler import Life

COOLDOWN: Final = 10.0
GRACE: Final = 3.0
"""A request that was on its way when another was refused arrives by then: it may have to connect
first."""

_HEAD: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_RETRY: Final = re.compile(rb"^retry-after: *([^\r]*)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Known:
    """What one life could know. Times are those of the world; minus infinity: never."""

    listed_at: float = -inf
    """A list was answered with 200."""
    heard_at: float = -inf
    """Anything came."""
    quiet_from: float = -inf
    quiet_until: float = -inf
    """The service wants no request in between."""


class Wire:
    """Watches all connections of a run."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._known: dict[Life, Known] = {}
        self._targets: dict[int, bytes] = {}
        self._codes: dict[int, bytes] = {}

    def of(self, life: Life) -> Known:
        """What this life could know."""
        return self._known.setdefault(life, Known())

    def sent(self, life: Life | None, number: int, data: bytes) -> None:
        """A process sends something on a connection."""
        if life is None or not data.startswith(b"GET "):
            return
        self._targets[number] = data.split(b" ", 2)[1]
        known, now = self.of(life), world().now
        if known.quiet_from < now < known.quiet_until:
            self.faults.append(
                f"a request at {now:.3f}, and the service wants none until {known.quiet_until:.3f}"
            )
            known.quiet_until = -inf  # once is enough

    def arrived(self, life: Life | None, number: int, data: bytes) -> None:
        """Something has reached a process."""
        if life is None:
            return
        known, now = self.of(life), world().now
        known.heard_at = now
        head = _HEAD.match(data)
        if head is not None:
            self._codes[number] = head[1]
        is_list = self._targets.get(number, b"").startswith(b"/v1/workflow?")
        if is_list and self._codes.get(number) == b"200":
            known.listed_at = now
        if head is None:
            return
        if head[1] == b"429":
            wait = _retry_after(data)
            if wait is not None and now + wait > known.quiet_until:
                known.quiet_from = max(now, life.frozen_until) + GRACE
                known.quiet_until = now + wait


def _retry_after(answer: bytes) -> float | None:
    """Seconds; None: it cannot be told here."""
    told = _RETRY.search(answer.partition(b"\r\n\r\n")[0])
    if told is None:
        return COOLDOWN if b"\r\n\r\n" in answer else None
    return float(told[1]) if told[1].isdigit() else None
