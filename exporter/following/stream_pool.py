"""How the streams that the process' descriptors allow are divided among accounts.

All accounts share them: streams that one does not need can be used by others, and each gets its
equal part as soon as it needs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


def shared_out(total: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` streams among those that want them. Pure.

    No name gets more than it wants, and a name that wants more than another never gets fewer. Each
    name that wants any gets at least one, even if there are not enough.
    """
    found: dict[str, int] = {}
    left = total
    # Those that want the least come first: the rest is for the others.
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
    """The streams that all accounts of the process may have together. Used on the event loop only.

    Args:
        most: how many; None: descriptors do not limit them.
    """

    def __init__(self, most: int | None) -> None:
        self.most: Final = most
        self._parts: dict[str, _Part] = {}

    def room(self, name: str, *, wanted: int, held: int) -> int:
        """How many streams this name may have now; must be called about once a second.

        A caller that has more must end the surplus at once. Until then the others wait for these.
        So all together never hold more than there are, except for the one stream that each may
        always have.

        Args:
            name: the caller.
            wanted: how many streams it wants.
            held: how many it has, including those that are being opened or closed.
        """
        if self.most is None:
            return wanted
        self._parts[name] = _Part(wanted, held)
        part = shared_out(self.most, {n: each.wanted for n, each in self._parts.items()})
        taken = sum(each.held for n, each in self._parts.items() if n != name)
        found = max(min(1, wanted), min(part[name], self.most - taken))
        # The caller may open all of these before its next call.
        self._parts[name] = _Part(wanted, max(held, found))
        return found

    def leave(self, name: str) -> None:
        """Note that this name has ended, and holds no more streams."""
        self._parts.pop(name, None)
