"""How the streams that the process' descriptors allow are divided among accounts.

All accounts share them: streams that one does not need can be used by others, and each gets its
equal part as soon as it needs it.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


def shared_out(total: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """So many streams, by who wants how many. Pure.

    Nobody gets more than it wants, and nobody that wants more has fewer than another. Each that
    wants any gets one at least, even where there are not enough.
    """
    found: dict[str, int] = {}
    left = total
    # Those that want the least first: what they leave is for the others.
    for place, name in enumerate(sorted(wanted, key=lambda name: (wanted[name], name))):
        even = max(1, left // (len(wanted) - place))
        found[name] = min(wanted[name], even)
        left -= found[name]
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    wanted: int
    held: int


class StreamPool:
    """The streams that all accounts of the process may have together. For many threads.

    Args:
        most: how many; None: descriptors are no limit.
    """

    def __init__(self, most: int | None) -> None:
        self.most: Final = most
        self._lock = threading.Lock()
        self._parts: dict[str, _Part] = {}

    def room(self, name: str, *, wanted: int, held: int) -> int:
        """How many this one may have now; to be asked again about once a second.

        One that has more than that is to end the others at once. Until it has, those who get them
        wait: together they never hold more than there are, but for the one stream that each may
        have in any case.

        Args:
            name: who asks.
            wanted: how many it would have.
            held: how many it has, those that are being opened or closed included.
        """
        if self.most is None:
            return wanted
        with self._lock:
            self._parts[name] = _Part(wanted, held)
            part = shared_out(self.most, {n: each.wanted for n, each in self._parts.items()})
            taken = sum(each.held for n, each in self._parts.items() if n != name)
            found = max(min(1, wanted), min(part[name], self.most - taken))
            # It may open all of these before it asks again.
            self._parts[name] = _Part(wanted, max(held, found))
            return found

    def leave(self, name: str) -> None:
        """This one has ended, and holds no more streams."""
        with self._lock:
            self._parts.pop(name, None)
