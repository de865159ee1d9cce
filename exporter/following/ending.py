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
"""Seconds for which an id that was never seen may be refused before it is dropped: we may have
asked a moment too early."""
LASTING_SECONDS: Final = 600.0
"""Seconds for which the refusal of an id that was seen must last before it is believed."""
LEAST_REFUSALS: Final = 3
"""How many refusals are needed as well: two that are far apart may be two short outages."""
ANSWERING_GAP_SECONDS: Final = 300.0
"""Seconds. An account without a usable answer for longer than this counts as unanswered. Requests
are normally more frequent: lists, polls (120 s), streams (240 s)."""


@dataclass(frozen=True, slots=True)
class StreamLife:
    """What a stream did until it ended."""

    ending: StreamEnding | None
    """How the stream ended; None: we closed it before its end."""
    settled: bool
    """Whether a final status was seen, so nothing more is needed from this workflow."""
    updates: int
    """How many snapshots were read, including repeated ones, without malformed ones."""
    malformed: int
    seconds: float
    stopped: bool
    """Whether we were asked to end the stream."""


@dataclass(frozen=True, slots=True)
class Next:
    """What to do after a stream."""

    action: Literal["done", "reconnect", "back_off", "drop"]
    drop_reason: DropReason | None = None
    at_least: float | None = None
    """Seconds that the service asked us to wait; None: it did not ask."""


def reason_of(life: StreamLife) -> StreamEnd:
    """The reason for the end of an open stream, as metrics show it."""
    if life.settled:
        return "finished"
    if life.stopped or life.ending is StreamEnding.ABORTED:
        return "shutdown"
    if life.ending is StreamEnding.OVERSIZE or (life.malformed and not life.updates):
        return "malformed"
    if life.ending is StreamEnding.SILENT:
        return "silent"
    # Neither a clean end nor a broken connection proves anything: what was seen before decides.
    if life.updates >= LIMIT_UPDATES or life.seconds >= LIMIT_SECONDS:
        return "limit"
    return "dropped"


def after_stream(reason: StreamEnd) -> Next:
    """What to do after the end of an open stream."""
    match reason:
        case "finished" | "shutdown":
            return Next("done")
        case "limit":
            return Next("reconnect")
        case _:
            return Next("back_off")


@dataclass(frozen=True, slots=True)
class Answering:
    """The period in which an account got usable answers without a long gap.

    Monotonic seconds.
    """

    since: float
    latest: float

    def still_at(self, now: float) -> bool:
        """Whether the period still continues at this time."""
        return now - self.latest <= ANSWERING_GAP_SECONDS


def answered_usably(before: Answering | None, now: float) -> Answering:
    """The period after one more usable answer."""
    if before is None or not before.still_at(now):
        return Answering(since=now, latest=now)
    return Answering(since=before.since, latest=now)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Consecutive refusals of one id, which was not seen in between. Monotonic seconds."""

    since: float
    latest: float
    count: int = 1

    def quiet_until(self) -> float:
        """When to ask again for an id that the list would also show.

        Hundreds may be deleted together: four requests for each, over the time that a refusal has
        to last, are enough.
        """
        return self.latest + min(max(2 * (self.latest - self.since), 100.0), 300.0)


def refused_again(before: Refusal | None, last_seen: float | None, now: float) -> Refusal:
    """The refusals after one more, for an id that was last seen at `last_seen` by any source."""
    if before is None or (last_seen is not None and last_seen >= before.since):
        return Refusal(since=now, latest=now)
    return Refusal(since=before.since, latest=now, count=before.count + 1)


def is_believed(refusal: Refusal, *, seen: bool, answering: Answering | None, now: float) -> bool:
    """Whether to drop an id because the service refuses requests about it.

    An id that was never seen is dropped after a short grace period. An id that was seen exists or
    did exist: a refusal of it is believed only if it lasts, and only while other requests of the
    account are answered. If all ids are refused at once, that says nothing about a single one.

    Args:
        refusal: the refusals of it so far, the latest included.
        seen: whether the service ever reported it.
        answering: the period of usable answers of the account, without refusals.
        now: monotonic seconds.
    """
    if not seen:
        return now - refusal.since >= GRACE_SECONDS
    if answering is None or not answering.still_at(now):
        return False
    lasted = now - max(refusal.since, answering.since)
    return refusal.count >= LEAST_REFUSALS and lasted >= LASTING_SECONDS


def refused_because(error: ServiceError) -> DropReason | None:
    """What is wrong with the requested id, as the service says; None: nothing."""
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
    """What to do after a request about one id without a usable answer.

    `believed`: whether a refusal of the id is believed (see `is_believed`).
    """
    match error:
        case AbortedError():
            return Next("done")
        case RateLimitedError() | UnauthorizedError():
            # The budget or the account's gate already delays all requests, so no extra wait is
            # needed.
            return Next("reconnect")
    reason = refused_because(error)
    if reason is not None and believed:
        return Next("drop", drop_reason=reason)
    return Next("back_off", at_least=error.retry_after)


def reason_of_refusal(error: ServiceError) -> StreamEnd:
    """The reason why a stream could not be opened, as metrics show it."""
    match error:
        case AbortedError():
            return "shutdown"
        case UnreachableError():
            return "dropped"
        case _:
            return "refused"
