"""Which of the ends that really happened were counted, end by end. Pure.

What was counted is matched with what happened by id, outcome and the stamp of the end, never by
numbers alone: an end that was counted twice must not pass for another one that nobody could count.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.coverage.counted import DURATION, Counted

SAME_END_SECONDS: Final = 1.0
"""Stamps of one end that are told to the second and to the millisecond differ by less."""

SAME_STAMP_SECONDS: Final = 0.002
"""By so much may a duration differ for the rounding of two stamps."""

MOST_NEVER_SHOWN: Final = 0.005
"""Of all ends, the most that no answer may have carried. More of them, and the exporter does not
ask enough."""

Execution = dict[str, Any]
"""One execution of a workflow, as the simulator's truth has it."""


@dataclass
class Comparison:
    """What became of every end."""

    lost: list[Execution] = field(default_factory=list)
    """Not counted, though an answer has carried it, or could have been asked for long enough."""
    doubles: list[Counted] = field(default_factory=list)
    """Counted, and did not happen; or counted once more."""
    never_shown: list[Execution] = field(default_factory=list)
    """Not counted, and no answer has carried it in the short time in which one could have."""
    ends: int = 0
    """All that happened."""
    ways: list[tuple[Execution, Counted | None]] = field(default_factory=list)
    """Each of them, and by what it was counted."""

    @property
    def wrong_durations(self) -> list[tuple[Execution, Counted]]:
        """Those that were counted with another duration than theirs, with one or without."""
        return [(each, one) for each, one in self.ways if one and not _is_as_long(each, one)]

    @property
    def most_never_shown(self) -> int:
        """How many ends may have been shown by no answer."""
        return int(MOST_NEVER_SHOWN * self.ends)

    @property
    def holds(self) -> bool:
        """Whether every end was counted once, save a few that nobody can have seen."""
        few = len(self.never_shown) <= self.most_never_shown
        return few and not self.lost and not self.doubles


def executions(truth: dict[str, Any]) -> list[Execution]:
    """All of them, of deleted workflows as well."""
    return [*truth["workflows"], *truth["gone"]]


def is_countable(execution: Execution) -> bool:
    """Whether it ended after the simulator's start, as far as anybody can tell."""
    return execution["told"]["outcome"] is not None and not execution["final_at_start"]


def _is_as_long(execution: Execution, one: Counted) -> bool:
    told = execution["told"]["run_seconds"]
    if told is None and one.seconds == 0.0:
        # It was stamped as started after its end. To the second, the two can be the same.
        started, completed = execution["started_ms"], execution["completed_ms"]
        return None not in {started, completed} and started // 1000 == completed // 1000
    if told is None or one.seconds is None:
        return told is None and one.seconds is None
    least, most = told
    started, completed = execution["started_ms"], execution["completed_ms"]
    if None not in {started, completed}:
        # The list may show the end without its start, and then the start is the stream's, which is
        # cut to the second; or the reverse.
        least = min(least, max(0, completed // 1000 * 1000 - started) / 1000)
        most = max(most, (completed - started // 1000 * 1000) / 1000)
    return bool(least - SAME_STAMP_SECONDS <= one.seconds <= most + SAME_STAMP_SECONDS)


def compare(truth: dict[str, Any], counted: Iterable[Counted], longest_unseen: float) -> Comparison:
    """Match what was counted with what happened.

    Args:
        truth: the simulator's.
        counted: what the exporter has written down.
        longest_unseen: how long an end may have stood, in seconds of the day, and still be one
            that no answer has carried.
    """
    found = Comparison()
    happened: dict[str, list[Execution]] = defaultdict(list)
    ours: dict[str, list[Counted]] = defaultdict(list)
    for each in executions(truth):
        if is_countable(each):
            happened[each["id"]].append(each)
    for one in counted:
        if one.is_end:
            ours[one.workflow_id].append(one)
        elif one.what == DURATION and ours[one.workflow_id]:
            # It is told late, and of the last end.
            ours[one.workflow_id][-1] = replace(ours[one.workflow_id][-1], seconds=one.seconds)
    for identity in {**happened, **ours}:
        _compare_one(found, happened[identity], ours[identity], longest_unseen)
    return found


def _compare_one(
    found: Comparison, happened: list[Execution], ours: list[Counted], longest_unseen: float
) -> None:
    pairs = sorted(
        (distance, number, place)
        for number, one in enumerate(ours)
        for place, each in enumerate(happened)
        if (distance := _distance(one, each)) is not None
    )
    by_place: dict[int, Counted] = {}
    taken: set[int] = set()
    for _, number, place in pairs:
        if number not in taken and place not in by_place:
            taken.add(number)
            by_place[place] = ours[number]
    found.ends += len(happened)
    found.ways += [(each, by_place.get(place)) for place, each in enumerate(happened)]
    found.doubles += [one for number, one in enumerate(ours) if number not in taken]
    for place, each in enumerate(happened):
        if place in by_place:
            continue
        stood = each["stood_seconds"]
        is_unseen = not each["shown"] and stood is not None and stood <= longest_unseen
        (found.never_shown if is_unseen else found.lost).append(each)


def _distance(one: Counted, each: Execution) -> tuple[int, float] | None:
    """How well they fit together, best first; None: they are not the same end."""
    if one.what != each["told"]["outcome"]:
        return None
    if one.end is None or each["completed_ms"] is None:
        # Nothing tells which end it was: rather one that was shown.
        return (1 if each["shown"] else 2, 0.0)
    seconds = abs(one.end - each["completed_ms"] / 1000)
    return (0, seconds) if seconds <= SAME_END_SECONDS else None
