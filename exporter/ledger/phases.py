"""How long a workflow stayed in each phase before it ran. Pure.

A change of phase happens between the last observation of the earlier phase and the first
observation of the later one. If these are at most `APART_SECONDS` apart, it is assumed halfway
between them; several changes between the same two observations are spread evenly. A phase is
measured if its beginning and its end are both known in this way. The first phase begins with the
service's own stamp, because nothing comes before `accepted`. Everything else is uncertain, and is
counted as that.

A change during an outage has no observations close to it, so it is never measured. A phase that
began before a restart is measured if it is seen again in the same phase before it ends: then only
the end matters, and the wall clock measures how long ago the beginning was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exporter.interfaces.observations import Moment, Status
from exporter.ledger.facts import PhasePassed

PHASES: Final = (Status.ACCEPTED, Status.UPLOADED, Status.QUEUED)
"""The phases before a run, in order."""

APART_SECONDS: Final = 5.0
"""Largest number of seconds between the observations before and after a change. Streams send
something every 2 s."""

LONGEST_SECONDS: Final = 30 * 86_400.0
"""Seconds. No phase lasts longer; a longer value is wrong."""

DATE_SECONDS: Final = 0.5
"""Seconds. The service truncates its clock to whole seconds, so the true time is half a second
later on average."""

CLOCK_SLACK_SECONDS: Final = 2.0
"""Seconds by which a workflow may seem to be created after it was seen."""


@dataclass(frozen=True, slots=True)
class Entry:
    """When a workflow entered its present phase."""

    wall: float
    """Unix seconds, by our clock."""
    monotonic: float | None
    """The same time in seconds of the monotonic clock; None: it was in an earlier process, whose
    monotonic times are useless now."""

    def seconds_until(self, moment: Moment) -> float | None:
        """Seconds from this entry to a moment; None if a clock must have stepped in between."""
        if self.monotonic is None:
            seconds = moment.wall - self.wall
        else:
            seconds = moment.monotonic - self.monotonic
        return seconds if 0.0 <= seconds <= LONGEST_SECONDS else None


@dataclass(frozen=True, slots=True)
class PhaseSight:
    """What was known of a workflow before the present observation."""

    phase: Status | None
    """The phase that the workflow was in; None: it was not seen yet."""
    entered: Entry | None = None
    """When it entered that phase; None: uncertain."""
    last_seen: float | None = None
    """Monotonic time at which it was last seen in that phase; None: not since this process
    started."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What follows from an observation."""

    entered: Entry | None
    """When it entered its present phase; None: uncertain."""
    facts: tuple[PhasePassed, ...] = ()


def created_by_clocks(
    created_at: float | None, service_wall: float | None, at: Moment
) -> Entry | None:
    """When a workflow was created, by our clocks; None: unknown.

    Args:
        created_at: the service's stamp, Unix seconds.
        service_wall: the service's clock, in whole Unix seconds.
        at: the same moment by our clocks.
    """
    if created_at is None or service_wall is None:
        return None
    age = service_wall + DATE_SECONDS - created_at
    if not -CLOCK_SLACK_SECONDS <= age <= LONGEST_SECONDS:
        return None
    created = _before(at, max(age, 0.0))
    return Entry(created.wall, created.monotonic)


def follow(before: PhaseSight, reached: Status, at: Moment, created: Entry | None) -> Progress:
    """Work out what an observation of a workflow says about its phases.

    Args:
        before: what was known before.
        reached: the status that it has now, or `running` if it ran and has ended.
        at: when this was seen.
        created: when it was created; None: unknown, or the creation belongs to an earlier run.
    """
    if before.phase is reached:
        entered = before.entered
        return Progress(created if entered is None and reached is Status.ACCEPTED else entered)
    if before.phase is None:
        first, since = Status.ACCEPTED, created
        if reached is Status.ACCEPTED:
            return Progress(created)
        apart = None if created is None else created.seconds_until(at)
    else:
        first, since = before.phase, before.entered
        apart = None if before.last_seen is None else max(at.monotonic - before.last_seen, 0.0)
    left = PHASES[first.rank : reached.rank]
    if apart is None or apart > APART_SECONDS:
        return Progress(None, tuple(PhasePassed(phase, None) for phase in left))
    return _spread(left, since, apart, at)


def _spread(left: Sequence[Status], since: Entry | None, apart: float, at: Moment) -> Progress:
    """Spread the ends of these phases evenly over one gap; the first phase began at `since`."""
    facts = []
    for number, phase in enumerate(left, start=1):
        change = _before(at, apart * (1 - number / (len(left) + 1)))
        seconds = None if since is None else since.seconds_until(change)
        facts.append(PhasePassed(phase, None if seconds is None else round(seconds, 6)))
        since = Entry(change.wall, change.monotonic)
    return Progress(since, tuple(facts))


def _before(moment: Moment, seconds: float) -> Moment:
    return Moment(moment.wall - seconds, moment.monotonic - seconds)
