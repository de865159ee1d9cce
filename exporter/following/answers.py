"""Whether an account is up, according to the service's answers, and if not, why. Pure.

An account is up while it gets what it needs. If it is listed, that is its list: new workflows and
outcomes come from there, and streams add only liveness. Without a list it is any request about one
workflow: polls give outcomes while streams are refused, and streams while polls are.

A single answer, bad or good, does not change the state (`GRACE_SECONDS`, `SETTLED_SECONDS`), so
that it does not flap. A refused token changes it at once, because no other requests are sent then.

Times are seconds of one monotonic clock.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from math import inf
from typing import Final, Literal, Self, get_args

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.comfycontrol.errors import NO_STATUS, RedirectedError, TooLargeError

DownReason = Literal["token_refused", "not_listed", "server_errors", "no_answer", "unusable"]
"""Why an account is down, according to its latest bad answer."""

CAUSES: Final[tuple[DownReason, ...]] = get_args(DownReason)

GRACE_SECONDS: Final = 30.0
"""Seconds for which the requests that an account needs must have failed before the account is down.
Then its workflows are no longer shown: a gap means "cannot see", but a frozen number would be
wrong. The time limits of its workflows do not run either while it is down."""

SETTLED_SECONDS: Final = 10.0
"""Seconds. One usable answer ends an outage if no bad answer follows for this long; two usable
answers in a row end it at once."""

HOLD_SECONDS: Final = 150.0
"""Seconds for which a usable answer shows that its kind of request works. Polls of one workflow are
at most two minutes apart."""

_Way = Literal["list", "poll", "cause", "stream", "reconcile"]

_WAYS: Final[Mapping[Priority, _Way]] = {
    Priority.LIST_FIRST_PAGE: "list",
    Priority.LIST_DEEPER_PAGE: "list",
    Priority.POLL: "poll",
    Priority.CAUSE: "cause",
    Priority.NAMED_STREAM: "stream",
    Priority.NEW_STREAM: "stream",
    Priority.RECONNECT: "stream",
    Priority.RUNNERS: "reconcile",
    Priority.RECONCILE: "reconcile",
}


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """The state of an account according to the service's answers."""

    up: bool | None
    """Whether it gets what it needs; None before the first answer was due."""
    answered: bool
    """Whether there was any answer since the start other than those of a wrong address."""
    down_since: float | None
    """Monotonic time since which the needed requests have failed; None while up."""
    cause: DownReason | None = None
    """Why it is down, according to the latest bad answer; None while up."""
    usable_at: float | None = None
    """Monotonic time of the latest usable answer; None: there was none yet."""
    reason: str | None = None
    """Why it is down, as a readable text without URL, token or text from the service. None while
    up."""

    def is_blind(self, now: float) -> bool:
        """Whether nothing has been known about its workflows for some time."""
        return self.down_since is not None and now - self.down_since > GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class LastError:
    """The latest request that failed."""

    text: str
    """The status of its answer, or the class of the error; never a message."""
    at: float
    """The time of the failure; monotonic seconds."""


def class_of(error: ServiceError) -> str:
    """The status of an answer and the class of its error, only in our own words."""
    what = _CLASSES.get(type(error), "unusable answer")
    if isinstance(error, UnreachableError):
        what = f"{what} ({_REASONS.get(error.reason, 'connection')})"
    return what if error.code == NO_STATUS else f"{error.code}: {what}"


_CLASSES: Final[Mapping[type[ServiceError], str]] = {
    BadRequestError: "refused as malformed",
    UnauthorizedError: "token refused",
    ForbiddenError: "forbidden",
    NotFoundError: "not found",
    RateLimitedError: "rate limit",
    ServerFaultError: "fault of the service, or of a proxy before it",
    RedirectedError: "redirected",
    TooLargeError: "answer too large",
    UnreachableError: "no answer",
}
_REASONS: Final[Mapping[str, str]] = {
    "dns": "name not resolved",
    "connect": "not connected",
    "proxy": "proxy",
    "tls": "TLS",
    "timeout": "timeout",
    "broken": "cut off",
    "protocol": "no HTTP",
}


@dataclass(slots=True)
class _Record:
    """The results of one kind of request."""

    usable_at: float = -inf
    usable_since: float = -inf
    """When the first usable answer came that no bad one has followed; monotonic seconds."""
    usable_in_a_row: int = 0
    failing_since: float | None = None

    def ceased(self) -> float:
        """When this kind of request stopped working, or will count as stopped.

        Monotonic seconds.
        """
        if self.failing_since is not None:
            return self.failing_since
        return self.usable_at + HOLD_SECONDS

    def has_settled(self, now: float) -> bool:
        """Whether it works reliably, not only by one lucky answer."""
        return self.usable_in_a_row > 1 or now - self.usable_since >= SETTLED_SECONDS


class Answers:
    """Remembers what an account's answers said. Not safe to share between threads."""

    def __init__(self) -> None:
        self._listed = False
        self._ways: dict[_Way, _Record] = {}
        self._refused = False
        self._answered = False
        self._cause: DownReason | None = None
        self._reason: str | None = None
        self._down_since: float | None = None
        self._was_up = False
        self._usable_at: float | None = None

    def copy(self) -> Self:
        """The same answers, remembered apart from these."""
        other = copy(self)
        other._ways = {way: replace(record) for way, record in self._ways.items()}  # noqa: SLF001
        return other

    def need_list(self, *, needed: bool) -> None:
        """Set whether the account's list is read."""
        self._listed = needed

    def refused_for_now(self) -> None:
        """Note an answer that says only that there were too many requests."""
        self._answered = True

    def usable(self, priority: Priority, now: float, *, is_refusal: bool = False) -> None:
        """Note an answer from a service that accepted the token.

        `is_refusal`: it refused one id. A wrong address refuses all ids too, so if the list is read
        as well, a refusal proves nothing before the list was answered.
        """
        self._judge(now)
        self._refused = False
        if is_refusal and self._listed and not self._was_listed:
            self._judge(now)
            return
        self._answered, self._usable_at = True, now
        record = self._ways.setdefault(_WAYS[priority], _Record())
        if not record.usable_in_a_row:
            record.usable_since = now
        record.failing_since = None
        record.usable_at, record.usable_in_a_row = now, record.usable_in_a_row + 1
        self._judge(now)

    def failed(
        self, priority: Priority, error: ServiceError, now: float, *, refused: bool = False
    ) -> None:
        """Note that there was no usable answer.

        `refused`: the token was refused, for all requests.
        """
        self._judge(now)
        way = _WAYS[priority]
        is_misled = way == "list" and not self._was_listed and is_of_wrong_address(error)
        self._answered |= error.code != NO_STATUS and not is_misled
        self._refused |= refused
        record = self._ways.setdefault(way, _Record())
        if refused or way in self._needed():
            self._cause = cause_of(error)
            self._reason = reason_of(error, is_misled=is_misled)
        record.usable_in_a_row = 0
        if record.failing_since is None:
            record.failing_since = now
        self._judge(now)

    def health(self, now: float) -> AccountHealth:
        """The present health of the account."""
        self._judge(now)
        is_down = self._down_since is not None
        return AccountHealth(
            up=not is_down if self._ways else None,
            answered=self._answered,
            down_since=self._down_since,
            cause=self._cause if is_down else None,
            reason=self._reason if is_down else None,
            usable_at=self._usable_at,
        )

    @property
    def _was_listed(self) -> bool:
        """Whether the list ever had a usable answer."""
        record = self._ways.get("list")
        return record is not None and record.usable_at > -inf

    def _needed(self) -> dict[_Way, _Record]:
        """The kinds of requests that the account needs and has used.

        All, before any of them was used.
        """
        needed: dict[_Way, _Record] = {
            way: record
            for way, record in self._ways.items()
            if way != "reconcile" and (way == "list") is self._listed
        }
        return needed or self._ways

    def _judge(self, now: float) -> None:
        """Set the account down or up, if it is time."""
        needed = self._needed().values()
        fails = any(record.failing_since is not None for record in needed)
        # If no request was sent since, the last answer is still valid.
        well = [
            record
            for record in needed
            if record.failing_since is None and (not fails or now <= record.ceased())
        ]
        if self._refused or (fails and not well):
            since = now if well else max(record.ceased() for record in needed)
            is_over = self._refused or not self._was_up or now - since >= GRACE_SECONDS
            if self._down_since is None and is_over:
                self._down_since = since
        elif well and (
            self._down_since is None
            or not self._was_up
            or any(record.has_settled(now) for record in well)
        ):
            self._down_since, self._was_up = None, True


def cause_of(error: ServiceError) -> DownReason:
    """The reason that a bad answer gives for an account to be down."""
    match error:
        case UnauthorizedError():
            return "token_refused"
        case ForbiddenError() | NotFoundError():
            return "not_listed"
        case UnreachableError(code=code) if code == NO_STATUS:
            return "no_answer"
        case ServerFaultError(code=code) if code.startswith("5"):
            return "server_errors"
    return "unusable"


def is_of_wrong_address(error: ServiceError) -> bool:
    """Whether an answer about the list looks like one from a wrong address."""
    match error:
        case NotFoundError() | RedirectedError():
            return True
        case ServerFaultError(code="404" | "405" | "410"):
            return True
        case UnusableError(code="200" | "203"):
            return True
    return False


def reason_of(error: ServiceError, *, is_misled: bool = False) -> str:
    """Say why there is no usable answer.

    Args:
        error: the latest bad answer.
        is_misled: whether it looks like one from a wrong address, and no usable answer was ever
            seen.
    """
    match error:
        case UnauthorizedError(code=code) if code == NO_STATUS:
            reason = "its token cannot be sent"
        case UnauthorizedError():
            reason = f"its token is refused ({error.code})"
        case ForbiddenError():
            reason = f"its list is refused ({error.code})"
        case NotFoundError():
            reason = f"there is no list at its address ({error.code})"
        case RedirectedError():
            reason = f"its address sends elsewhere ({error.code}), which is not followed"
        case ServerFaultError(code=code) if code.startswith("5"):
            reason = f"the service fails ({code})"
        case ServerFaultError():
            reason = f"something before the service refuses ({error.code})"
        case _:
            # The message is the request, a colon, and a fixed phrase.
            reason = str(error).partition(": ")[2] or f"no usable answer ({error.code})"
    return f"{reason}; is base_url right?" if is_misled else reason
