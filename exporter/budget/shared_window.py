"""The interface by which several processes at one address share the request window."""

from dataclasses import dataclass
from typing import Protocol


class SharedWindowUnavailableError(Exception):
    """It is not known at the moment whether a request may be sent.

    The text is a reason, without secrets.
    """


@dataclass(frozen=True, slots=True)
class SharedSlot:
    """One request may be sent."""

    number: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """None may be sent now."""

    seconds: float
    """After which to ask again."""


class SharedWindow(Protocol):
    """The places of one service address' window, for all who ask from the same egress address."""

    def take(self) -> SharedSlot | NotYet:
        """Hold a place for a request that is about to be sent.

        Raises:
            SharedWindowUnavailableError: it is not known.
        """

    def answered(self, slot: SharedSlot) -> None:
        """Its answer has begun, or it failed. Never waits; from any thread."""

    def unused(self, slot: SharedSlot) -> None:
        """It was never sent. Never waits; from any thread."""

    def refused(self, retry_after: float | None) -> None:
        """The service answered 429: nobody may ask for a while. Never waits; from any thread."""

    def change(self, requests: int, share: int, per: float, cooldown: float) -> None:
        """The limit is another from now on. Never waits; from any thread."""

    def close(self) -> None:
        """Ask no more."""
