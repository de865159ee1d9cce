"""The interface by which several processes at one address share the request window."""

from dataclasses import dataclass
from typing import Protocol


class SharedWindowUnavailableError(Exception):
    """It is unknown at the moment whether a request may be sent.

    The text is a reason, without secrets.
    """


@dataclass(frozen=True, slots=True)
class SharedSlot:
    """The permission to send one request."""

    number: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """No request may be sent now."""

    seconds: float
    """Seconds after which to ask again."""


class SharedWindow(Protocol):
    """The request slots of one service address, shared by all processes at one egress address."""

    def take(self) -> SharedSlot | NotYet:
        """Take a slot for a request that is about to be sent.

        Raises:
            SharedWindowUnavailableError: it is unknown whether there is a slot.
        """

    def answered(self, slot: SharedSlot) -> None:
        """Note that the answer has begun, or the request failed.

        Never blocks; any thread may call it.
        """

    def unused(self, slot: SharedSlot) -> None:
        """Return the slot of a request that was never sent.

        Never blocks; any thread may call it.
        """

    def refused(self, retry_after: float | None) -> None:
        """Note an answer 429: all requests must wait. Never blocks; any thread may call it."""

    def change(self, requests: int, share: int, per: float, cooldown: float) -> None:
        """Use another limit from now on. Never blocks; any thread may call it."""

    def close(self) -> None:
        """Close the window; no slots can be taken any more."""
