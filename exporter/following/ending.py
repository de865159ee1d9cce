"""What the end of a stream means, and when a refusal of one id is final. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from exporter.comfycontrol import (
    AbortedError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    StreamEnding,
    UnauthorizedError,
    UnreachableError,
)
from exporter.interfaces.observations import DropReason
from exporter.interfaces.telemetry import StreamEnd

LIMIT_UPDATES: Final = 110
"""The service closes after 120 updates; a few may have been lost or merged on the way."""
LIMIT_SECONDS: Final = 225.0
"""The same limit in time: 120 updates of about 2 s each."""
GRACE_SECONDS: Final = 30.0
"""How long an id that nobody ever saw may be refused: we may have asked a moment too early."""
LASTING_SECONDS: Final = 600.0
"""How long the refusal of an id that was seen must last before it is believed."""
LEAST_REFUSALS: Final = 3
"""How many refusals that takes: two that lie far apart may be two short outages."""
ANSWERING_GAP_SECONDS: Final = 300.0
"""An account without a usable answer for longer than this is not being answered. A list is read
more often, and so is one that has only polls (120 s) or streams (240 s)."""


@dataclass(frozen=True, slots=True)
class StreamLife:
    """What a stream did until it ended."""

    ending: StreamEnding | None
    """None: we left it before it ended."""
    settled: bool
    """Nothing more is wanted of this workflow: a final status was seen."""
    updates: int
    """Snapshots that were read, repeated ones included, malformed ones not."""
    malformed: int
    seconds: float
    stopped: bool
    """We were asked to end it."""


@dataclass(frozen=True, slots=True)
class Next:
    """What to do after a stream."""

    action: Literal["done", "reconnect", "back_off", "drop"]
    drop_reason: DropReason | None = None
    at_least: float | None = None
    """Seconds that the service asked us to wait."""


def reason_of(life: StreamLife) -> StreamEnd:
    """How users see the end of a stream that was open."""
    if life.settled:
        return "finished"
    if life.stopped or life.ending is StreamEnding.ABORTED:
        return "shutdown"
    if life.ending is StreamEnding.OVERSIZE or (life.malformed and not life.updates):
        return "malformed"
    if life.ending is StreamEnding.SILENT:
        return "silent"
    # A clean end proves nothing, a cut one neither: what was seen until then decides.
    if life.updates >= LIMIT_UPDATES or life.seconds >= LIMIT_SECONDS:
        return "limit"
    return "dropped"


def after_stream(reason: StreamEnd) -> Next:
    """What follows the end of a stream that was open."""
    match reason:
        case "finished" | "shutdown":
            return Next("done")
        case "limit":
            return Next("reconnect")
        case _:
            return Next("back_off")


@dataclass(frozen=True, slots=True)
class Answering:
    """The time over which an account was answered usably, without a long gap.

    Monotonic seconds.
    """

    since: float
    latest: float

    def still_at(self, now: float) -> bool:
        """Whether it goes on at this time."""
        return now - self.latest <= ANSWERING_GAP_SECONDS


def answered_usably(before: Answering | None, now: float) -> Answering:
    """What is known after one more usable answer."""
    if before is None or not before.still_at(now):
        return Answering(since=now, latest=now)
    return Answering(since=before.since, latest=now)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusals of one id in a row, with no sight of it in between. Monotonic seconds."""

    since: float
    latest: float
    count: int = 1

    def quiet_until(self) -> float:
        """When it is worth asking again for one that the list would show as well.

        Hundreds may be deleted together: four requests for each, over the time that a refusal has
        to last, are enough.
        """
        return self.latest + min(max(2 * (self.latest - self.since), 100.0), 300.0)


def refused_again(before: Refusal | None, last_seen: float | None, now: float) -> Refusal:
    """What is known after one more refusal of an id that was last seen then, by any way."""
    if before is None or (last_seen is not None and last_seen >= before.since):
        return Refusal(since=now, latest=now)
    return Refusal(since=before.since, latest=now, count=before.count + 1)


def is_believed(refusal: Refusal, *, seen: bool, answering: Answering | None, now: float) -> bool:
    """Whether an id is to be dropped because the service refuses to tell of it.

    One that nobody ever saw: after a grace. One that was seen exists, or did: a refusal of it is
    believed only when it lasts, and only while the account is answered otherwise. What every id
    gets at once says nothing of any.

    Args:
        refusal: the refusals of it so far, the latest included.
        seen: whether the service ever gave news of it.
        answering: how the account was answered, refusals not counted.
        now: monotonic seconds.
    """
    if not seen:
        return now - refusal.since >= GRACE_SECONDS
    if answering is None or not answering.still_at(now):
        return False
    lasted = now - max(refusal.since, answering.since)
    return refusal.count >= LEAST_REFUSALS and lasted >= LASTING_SECONDS


def refused_because(error: ServiceError) -> DropReason | None:
    """What the service itself says is wrong with the id that was asked for; None: nothing."""
    match error:
        case BadRequestError():
            return "malformed"
        case ForbiddenError():
            return "forbidden"
        case NotFoundError():
            return "not_found"
        case _:
            return None


def after_refusal(error: ServiceError, *, believed: bool) -> Next:
    """What follows a request about one id that brought no answer of use.

    `believed`: where it is about the id, whether it is believed (see `is_believed`).
    """
    match error:
        case AbortedError():
            return Next("done")
        case RateLimitedError() | UnauthorizedError():
            # The budget, or the account's gate, holds everyone back: no need for more.
            return Next("reconnect")
    reason = refused_because(error)
    if reason is not None and believed:
        return Next("drop", drop_reason=reason)
    return Next("back_off", at_least=error.retry_after)


def reason_of_refusal(error: ServiceError) -> StreamEnd:
    """How users see a stream that could not be opened."""
    match error:
        case AbortedError():
            return "shutdown"
        case UnreachableError():
            return "dropped"
        case _:
            return "refused"
