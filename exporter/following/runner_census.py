"""Counts an account's runners, by status and by tag. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.comfycontrol import Runner

DOCUMENTED: Final = ("active", "disabled")
OTHER: Final = "other"
"""The label value for undocumented statuses, and for tags beyond the bound."""


@dataclass(frozen=True, slots=True)
class RunnerCensus:
    """How many runners there were when they were last read."""

    at: float
    """When the last page arrived; monotonic seconds."""
    wall: float
    """The same moment in Unix seconds."""
    by_status: Mapping[str, int]
    """Number of runners by status. The documented statuses are always present; `other` only if a
    runner has such a status."""
    by_tag: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Number of runners by tag and status. A runner counts once for each of its tags."""
    tags_beyond: int = 0
    """How many distinct tags were counted as `other`, because there were more than the bound
    allows."""


class TagBound:
    """Which tags have their own series: the first ones that were ever seen, up to a limit.

    A tag keeps its place until the process ends, so that no series changes its meaning.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()
        self._beyond: set[str] = set()

    @property
    def beyond(self) -> int:
        """How many distinct tags had no room. This number stops at the limit, too."""
        return len(self._beyond)

    def admit(self, tags: Iterable[str]) -> None:
        """Give places to new tags, in alphabetical order, because the list has no fixed order."""
        for tag in sorted(set(tags) - self._known - {OTHER}):
            if len(self._known) < self._most:
                self._known.add(tag)
            elif len(self._beyond) < self._most:
                self._beyond.add(tag)

    def shown(self, tag: str) -> str:
        """The tag itself, or `other`."""
        return tag if tag in self._known else OTHER

    def known(self) -> list[str]:
        """Every tag that has a place."""
        return sorted(self._known)


def take_census(
    runners: Iterable[Runner], *, at: float, wall: float, tags: TagBound | None
) -> RunnerCensus:
    """Count runners. A runner that two pages have shown counts once.

    Args:
        runners: the runners of all pages.
        at: monotonic seconds.
        wall: Unix seconds.
        tags: the tags that are counted; None: tags are not counted.
    """
    each = _each_once(runners)
    by_status = Counter(dict.fromkeys(DOCUMENTED, 0))
    by_status.update(_shown_status(runner) for runner in each)
    if tags is None:
        return RunnerCensus(at, wall, by_status)
    tags.admit(tag for runner in each for tag in runner.tags)
    # A tag whose last runner is gone shows 0: an absent series would raise no alert.
    by_tag = Counter({(tag, status): 0 for tag in tags.known() for status in DOCUMENTED})
    for runner in each:
        status = _shown_status(runner)
        by_tag.update((tag, status) for tag in {tags.shown(tag) for tag in runner.tags})
    return RunnerCensus(at, wall, by_status, by_tag, tags.beyond)


def _each_once(runners: Iterable[Runner]) -> list[Runner]:
    by_id: dict[str, Runner] = {}
    nameless: list[Runner] = []
    for runner in runners:
        if runner.id is None:
            nameless.append(runner)
        else:
            by_id[runner.id] = runner  # the later page is the newer one
    return [*by_id.values(), *nameless]


def _shown_status(runner: Runner) -> str:
    return runner.status if runner.status in DOCUMENTED else OTHER
