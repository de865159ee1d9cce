"""Which workflows need polls although their account is listed."""

from dataclasses import dataclass, field

import pytest

from exporter.following.poller import UNSEEN_SECONDS, is_shown_by_list
from exporter.following.reconciling import ListTerms
from exporter.interfaces.observations import Moment, Source, Status

WALL, MONOTONIC = 1_705_329_000.0, 5_000.0
NOW = Moment(WALL, MONOTONIC)
TERMS = ListTerms(interval=5.0, lookback=86_400.0)


def ago(seconds: float) -> Moment:
    return Moment(WALL - seconds, MONOTONIC - seconds)


@dataclass(frozen=True)
class Open:
    """An open workflow."""

    created_at: float | None = WALL - 3600.0
    last_seen: Moment | None = None
    first_seen: Moment = field(default_factory=lambda: ago(3600.0))
    workflow_id: str = "a"
    status: Status | None = Status.RUNNING
    account: str = "studio"
    source: Source = "listing"


@pytest.mark.parametrize(
    ("seen", "read", "is_shown"),
    [
        # Seen lately, or no complete pass has begun since.
        (UNSEEN_SECONDS, 1.0, True),
        (UNSEEN_SECONDS + 1, UNSEEN_SECONDS + 1, True),
        (UNSEEN_SECONDS + 1, UNSEEN_SECONDS + 2, True),
        (UNSEEN_SECONDS + 1, None, True),
        # Passes have not shown it for some time.
        (UNSEEN_SECONDS + 1, UNSEEN_SECONDS, False),
        (UNSEEN_SECONDS + 1, 1.0, False),
    ],
)
def test_what_complete_passes_do_not_show_is_polled(
    seen: float, read: float | None, *, is_shown: bool
) -> None:
    read_at = None if read is None else WALL - read
    assert is_shown_by_list(Open(last_seen=ago(seen)), NOW, TERMS, read_at) is is_shown
    # One that was named, and never seen.
    assert is_shown_by_list(Open(first_seen=ago(seen)), NOW, TERMS, read_at) is is_shown


def test_a_list_that_is_read_rarely_has_longer_to_show_it() -> None:
    seldom = ListTerms(interval=300.0, lookback=86_400.0)
    assert is_shown_by_list(Open(last_seen=ago(900.0)), NOW, seldom, WALL)
    assert not is_shown_by_list(Open(last_seen=ago(901.0)), NOW, seldom, WALL)


@pytest.mark.parametrize("created_at", [None, WALL - 86_401.0])
def test_what_the_list_cannot_show_is_polled(created_at: float | None) -> None:
    assert not is_shown_by_list(Open(created_at=created_at, last_seen=NOW), NOW, TERMS, None)
