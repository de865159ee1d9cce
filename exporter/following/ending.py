"""What the end of a stream means, and what follows from it. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from exporter.comfycontrol import (
    Aborted,
    BadRequest,
    Forbidden,
    NotFound,
    RateLimited,
    ServiceError,
    StreamEnding,
    Unauthorized,
    Unreachable,
)
from exporter.following.telemetry import StreamEnd
from exporter.observations import DropReason

LIMIT_UPDATES: Final = 110
"""The service closes after 120 updates; a few may have been lost or merged on the way."""
LIMIT_SECONDS: Final = 225.0
"""The same limit in time: 120 updates of about 2 s each."""
NOT_FOUND_GRACE_SECONDS: Final = 30.0
"""A 404 within this time of the first may only mean that we asked a moment too early."""


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

    action: Literal["done", "reconnect", "back_off", "give_up"]
    drop_reason: DropReason | None = None
    at_least: float = 0.0
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


def after_refusal(error: ServiceError, seconds_not_found: float) -> Next:
    """What follows a stream that could not be opened.

    `seconds_not_found`: how long the service has answered 404 for this id, now included.
    """
    match error:
        case Aborted():
            return Next("done")
        case BadRequest() | Forbidden():
            malformed = isinstance(error, BadRequest)
            return Next("give_up", drop_reason="malformed" if malformed else "forbidden")
        case NotFound() if seconds_not_found >= NOT_FOUND_GRACE_SECONDS:
            return Next("give_up", drop_reason="not_found")
        case RateLimited() | Unauthorized():
            # The budget, or the account's gate, holds everyone back: no need for more.
            return Next("reconnect")
        case _:
            return Next("back_off", at_least=error.retry_after or 0.0)


def reason_of_refusal(error: ServiceError) -> StreamEnd:
    """How users see a stream that could not be opened."""
    match error:
        case Aborted():
            return "shutdown"
        case Unreachable():
            return "dropped"
        case _:
            return "refused"
