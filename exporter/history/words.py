"""Describes what happened, in our own short sentences. Pure.

The only text from the service is cleaned names of statuses, nodes and exceptions.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from exporter.comfycontrol.text import clean
from exporter.following.answers import DownReason
from exporter.interfaces.observations import DropReason, Source
from exporter.interfaces.telemetry import StreamEnd
from exporter.ledger.counting import NotCounted

NOT_COUNTED: Final[Mapping[NotCounted, str]] = {
    "first_pass": "It had already ended when the exporter first read this account's list.",
    "before_cutoff": "It had ended before the exporter first read this account's list.",
    "no_cutoff": "It ended before the exporter had read the account's list for the first time.",
    "pruned": "It is older than the ledger's records, and may have been counted earlier.",
    "untold": "The service gave neither its creation nor its end time, so it is assumed to be old.",
}
DROPPED: Final[Mapping[DropReason, str]] = {
    "not_found": "The service does not know it (404): deleted, in another account, or never made.",
    "malformed": "The service says that its id is malformed (400).",
    "forbidden": "The service does not allow reading it (403).",
    "expired": "The service did not report it for the whole lookback of the list.",
    "withdrawn": "Its source no longer names it.",
    "ended_before": "It had ended before counting began, or was counted long ago.",
}
RAN_AGAIN_WRONG: Final = (
    "It did not run again after all: the service shows the end of the previous run."
)
UNKNOWN_STATUS: Final = "It has a status that this version does not know, so it stays open."
SOURCES: Final[Mapping[Source, str]] = {
    "configured": "the configuration",
    "file": "a file of ids",
    "listing": "the account's list",
    "pushed": "a push",
}
STREAM_ENDS: Final[Mapping[StreamEnd, str]] = {
    "finished": "the workflow had ended",
    "limit": "the service's own limit",
    "dropped": "cut off",
    "silent": "nothing was received for too long",
    "malformed": "nothing in it could be read",
    "refused": "refused",
    "shutdown": "ended by the exporter",
}
DOWN: Final[Mapping[DownReason, tuple[str, str]]] = {
    "token_refused": (
        "the service refuses its token",
        "Put a valid token where the configuration says; a changed file is read automatically.",
    ),
    "not_listed": (
        "the service does not show its list",
        "Check that base_url has no extra path (/v1), and that the token may list workflows.",
    ),
    "server_errors": (
        "the service answers with server errors",
        "Check the service's status page. Nothing is lost: the exporter keeps trying.",
    ),
    "no_answer": (
        "the service does not answer",
        "Check the network, DNS, proxy and certificates between here and the service.",
    ),
    "unusable": (
        "the answers do not come from the service",
        "Check base_url, and any proxy or login page in between.",
    ),
}
"""Why an account is down, and what to do about it."""


def name(text: str | None) -> str:
    """A name from the service, cleaned; `unknown` if it gave none."""
    return clean(text or "") or "unknown"


def seconds(value: float) -> str:
    """A duration as readable text."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock(wall: float) -> str:
    """A time as readable text, in UTC."""
    try:
        return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "an impossible time"


def times(count: int, one: str, many: str = "") -> str:
    """A number with its noun in singular or plural."""
    return f"{count} {one if count == 1 else many or one + 's'}"
