"""The three answers at the top of the first page: what fails, what waits, whether to trust it."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from exporter.interfaces.views import AccountView, Overview
from exporter.web.html.words import count, foreign, share, span

STALE_SECONDS: Final = 300
"""Seconds after which the last observation is doubted; the same as in the alerts."""

BEHIND_SECONDS: Final = 300

LONG_WAIT_SECONDS: Final = 900

_UNSUCCESSFUL: Final = ("failed", "invalid")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The workflow that has waited for longest."""

    workflow_id: str
    account: str
    since: float
    seconds: float
    long: bool


@dataclass(frozen=True, slots=True)
class FailureLine:
    """The most frequent failure."""

    node_type: str
    exception_type: str
    account: str
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All accounts together.

    Attributes:
        ended: How many workflows ended in the last hour.
        failed: How many of these failed or were invalid.
        failed_share: The same as a share from 0 to 1; None if nothing has ended.
        causes: The causes of failures, most frequent first; at most three.
        waiting: The workflow that has waited longest; None: nothing waits, or it cannot be seen.
        unreached: Accounts that are down: outcomes during this time become known later.
        waiting_unknown: Accounts whose waiting workflows are unknown.
        waiting_count: How many workflows are accepted, uploaded or queued.
        running: How many workflows are running.
        believable: Whether the numbers can be trusted; None: not known yet.
        doubts: Reasons not to trust the numbers, as text, most urgent first.
        grounds: The reason to trust the numbers, as text, if there is no doubt.
    """

    ended: int
    failed: int
    failed_share: float | None
    causes: tuple[FailureLine, ...]
    waiting: Waiting | None
    unreached: tuple[str, ...]
    waiting_unknown: tuple[str, ...]
    waiting_count: int
    running: int
    believable: bool | None
    doubts: tuple[str, ...]
    grounds: str


def summarize(overview: Overview) -> Summary:
    """Summarise all accounts."""
    accounts = overview.accounts
    outcomes = Counter[str]()
    for account in accounts:
        outcomes.update(account.outcomes)
    ended = sum(outcomes.values())
    failed = sum(outcomes[status] for status in _UNSUCCESSFUL)
    causes = sorted(
        (
            FailureLine(cause.node_type, cause.exception_type, account.name, cause.count)
            for account in accounts
            for cause in account.failures
        ),
        key=lambda cause: -cause.count,
    )
    named = [(account.name, doubts(account, overview.at)) for account in accounts]
    found = tuple(
        f"{foreign(name)}: {doubt}" if len(accounts) > 1 else doubt[:1].upper() + doubt[1:]
        for name, its in named
        for doubt in its
    )
    unsure = any(is_unseen(account) for account in accounts) or not accounts
    return Summary(
        ended=ended,
        failed=failed,
        failed_share=failed / ended if ended else None,
        causes=tuple(causes[:3]),
        waiting=_waiting(accounts, overview.at),
        unreached=tuple(account.name for account in accounts if not account.up),
        waiting_unknown=tuple(account.name for account in accounts if not account.open),
        waiting_count=sum(map(waiting_of, accounts)),
        running=sum(account.open.get("running", 0) for account in accounts),
        believable=False if found else None if unsure else True,
        doubts=found,
        grounds=_grounds(accounts),
    )


def is_unseen(account: AccountView) -> bool:
    """Whether the account is up but nothing of it was seen yet, as in the first seconds."""
    belief = account.belief
    return belief.stalest_seconds is None and belief.listing_lag_seconds is None


def doubts(account: AccountView, now: float) -> tuple[str, ...]:
    """Why the numbers of an account may be wrong: parts of sentences."""
    belief = account.belief
    found: list[str] = []
    if not account.up:
        since = "" if account.down_since is None else f" for {span(now - account.down_since)}"
        shown = "" if account.open else ", so the open workflows are not known"
        found.append(f"not reached{since}{shown}")
    if belief.difference:
        missing = count(belief.difference, "outcome")
        found.append(f"{missing} of the service not counted yet")
    if not account.up:
        # The age of the last observation adds nothing in this case.
        return tuple(found)
    if (lag := belief.listing_lag_seconds) is not None and lag > BEHIND_SECONDS:
        found.append(f"the list was last read completely {span(lag)} ago")
    if (stalest := belief.stalest_seconds) is not None and stalest > STALE_SECONDS:
        found.append(f"an open workflow was not seen for {span(stalest)}")
    return tuple(found)


def waiting_of(account: AccountView) -> int:
    """How many workflows wait for their files, their place in the queue or a runner."""
    return sum(account.open.get(status, 0) for status in ("accepted", "uploaded", "queued"))


def failed_of(account: AccountView) -> tuple[int, str]:
    """How many workflows failed in the last hour, and their share as text."""
    ended = sum(account.outcomes.values())
    failed = sum(account.outcomes.get(status, 0) for status in _UNSUCCESSFUL)
    return failed, share(failed / ended) if ended else ""


def _waiting(accounts: Iterable[AccountView], now: float) -> Waiting | None:
    found = [
        Waiting(
            account.longest_waiting_id,
            account.name,
            account.longest_waiting_since,
            now - account.longest_waiting_since,
            now - account.longest_waiting_since > LONG_WAIT_SECONDS,
        )
        for account in accounts
        if account.longest_waiting_id is not None and account.longest_waiting_since is not None
    ]
    return max(found, key=lambda waiting: waiting.seconds, default=None)


def _grounds(accounts: Collection[AccountView]) -> str:
    """The weakest reason to trust the numbers."""
    beliefs = [account.belief for account in accounts]
    parts = []
    stalest = [b.stalest_seconds for b in beliefs if b.stalest_seconds is not None]
    if stalest:
        parts.append(f"every open workflow was seen within {span(max(1.0, *stalest))}")
    lags = [b.listing_lag_seconds for b in beliefs if b.listing_lag_seconds is not None]
    if lags:
        parts.append(f"the list was read completely {span(max(lags))} ago")
    if unseen := sum(account.unseen for account in accounts):
        parts.append(f"{count(unseen, 'named one')} not seen yet")
    if beliefs and all(b.difference == 0 for b in beliefs):
        parts.append("the service's totals agree")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""
