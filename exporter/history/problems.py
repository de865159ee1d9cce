"""The current problems, in words, most urgent first. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.comfycontrol.text import clean
from exporter.history import words
from exporter.interfaces.views import AccountView, Problem

BEHIND_SECONDS: Final = 300.0
"""Seconds after which a list that was not read completely is behind; the same as in the alerts."""

STALE_SECONDS: Final = 300.0
"""Seconds after which an open workflow that was not seen is stale; the same as in the alerts."""

STUCK_SECONDS: Final = 900.0
"""Seconds that a workflow must have waited, while nothing started or ended, to be called stuck."""

FAILING_SHARE: Final = 0.2
"""The part (0 to 1) of failures in the outcomes of an hour that is a problem."""

FAILING_LEAST: Final = 5
"""Fewer failures in an hour than this are not a problem."""

_UNSUCCESSFUL: Final = ("failed", "invalid")


@dataclass(frozen=True, slots=True)
class ExporterState:
    """What is known of the exporter itself."""

    ledger_is_failing: bool = False
    ledger_errors: int = 0
    reloaded: bool = True
    """Whether the latest configuration is in use."""
    web_reloaded: bool | None = None
    """Whether the latest web configuration file is in use; None: there is none."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account, with facts that its view does not show."""

    view: AccountView
    advice: str
    """What to do while it is down."""
    is_blind: bool
    """Whether it has been down for so long that its live values are no longer shown."""
    progress_at: float
    """When a workflow last started or ended, or else when the exporter started; Unix seconds."""
    share: int
    """How many requests its address allows in a period if nothing was refused."""
    active_runners: int | None = None
    """How many runners are active; None: they are not read, or could not be read for a while."""
    faulty_files: Mapping[str, str] = field(default_factory=dict)
    """The first error of each faulty workflow file, by path."""
    unmatched_files: tuple[str, ...] = ()
    """Entries of its `workflow_files` that match no file."""
    open_limit: int | None = None
    """The limit of open workflows, if workflows were turned away because of it; otherwise None."""


def problems(
    exporter: ExporterState, accounts: Iterable[AccountState], now: float
) -> tuple[Problem, ...]:
    """List everything that is wrong at this moment (Unix seconds)."""
    found = [*_of_exporter(exporter)]
    for account in accounts:
        found.extend(_of_account(account, now))
    return tuple(sorted(found, key=lambda problem: problem.level != "critical"))


def _of_exporter(state: ExporterState) -> Iterator[Problem]:
    if state.ledger_is_failing:
        yield Problem(
            "critical",
            None,
            "The ledger cannot be written: counts are only in memory.",
            "Check the disk behind --storage.path; the log has the reason.",
        )
    elif state.ledger_errors:
        yield Problem(
            "warning",
            None,
            f"Writing the ledger failed {words.times(state.ledger_errors, 'time')} since the "
            "start.",
            "The log has the reason, and says whether anything is missing.",
        )
    if not state.reloaded:
        yield Problem(
            "warning",
            None,
            "The latest configuration has errors: the previous one stays in use.",
            "Run check-config on the file, correct it, and reload.",
        )
    if state.web_reloaded is False:
        yield Problem(
            "warning",
            None,
            "The file of --web.config.file has errors: its previous content stays in use.",
            "Run check-web-config on the file, and correct it.",
        )


def _of_account(state: AccountState, now: float) -> Iterator[Problem]:
    view, name = state.view, state.view.name
    if not view.up and view.down_since is not None:
        yield Problem(
            "critical",
            name,
            f"Down: {view.down_reason}.",
            state.advice,
            since=view.down_since,
        )
    yield from _of_files(state)
    if state.is_blind and not view.up:
        # What is known of its workflows is outdated, so the problems below would be too.
        return
    if state.open_limit is not None:
        yield Problem(
            "warning",
            name,
            f"{words.times(state.open_limit, 'workflow')} "
            f"{'is' if state.open_limit == 1 else 'are'} open, which is the limit: others "
            "are followed once there is room.",
            "Raise max_open_workflows, or name fewer ids.",
        )
    yield from _of_workflows(state, now)
    yield from _of_belief(view, now)
    budget = view.budget
    if budget is not None and budget.cooldown_seconds > 0:
        yield Problem(
            "warning",
            name,
            "The service has refused requests: none are sent for "
            f"{words.seconds(budget.cooldown_seconds)}.",
            "Check whether another program on this address uses up the limit.",
        )
    elif budget is not None and budget.allowed < state.share:
        yield Problem(
            "warning",
            name,
            f"Only {budget.allowed} of {state.share} requests in "
            f"{words.seconds(budget.period_seconds)} are allowed for now.",
            "It recovers automatically; if not, another program uses up the limit.",
        )


def _of_files(state: AccountState) -> Iterator[Problem]:
    if state.faulty_files:
        (path, fault), *others = state.faulty_files.items()
        more = f", and {len(others)} more" if others else ""
        text = f"The workflow file {clean(path)} is faulty{more}."
        yield Problem("warning", state.view.name, text, fault)
    if state.unmatched_files:
        first, *unmatched = state.unmatched_files
        more = f", and for {len(unmatched)} more" if unmatched else ""
        text = f"There is no workflow file for {clean(first)}{more}."
        yield Problem(
            "warning", state.view.name, text, "Check the path; the files may also appear later."
        )


def _of_workflows(state: AccountState, now: float) -> Iterator[Problem]:
    view, name = state.view, state.view.name
    waiting = sum(view.open.get(status, 0) for status in ("accepted", "uploaded", "queued"))
    if waiting and state.active_runners == 0:
        yield Problem(
            "critical",
            name,
            f"{words.times(waiting, 'workflow')} {'waits' if waiting == 1 else 'wait'}, and no "
            "runner is active.",
            "Start or enable a runner of this account.",
        )
    since = view.longest_waiting_since
    idle = now - state.progress_at
    if waiting and since is not None and min(now - since, idle) > STUCK_SECONDS:
        yield Problem(
            "critical",
            name,
            f"Nothing has started or ended for {words.seconds(idle)}, while "
            f"{words.times(waiting, 'workflow')} "
            f"{'waits' if waiting == 1 else 'wait'}.",
            "Check that the account's runners are online and take jobs.",
            since=state.progress_at,
        )
    ended = sum(view.outcomes.values())
    failed = sum(view.outcomes.get(status, 0) for status in _UNSUCCESSFUL)
    if failed >= FAILING_LEAST and failed >= FAILING_SHARE * ended:
        most = ""
        if view.failures:
            most = f", most often in {view.failures[0].node_type}"
        yield Problem(
            "warning",
            name,
            f"{failed} of {ended} workflows failed in the last hour{most}.",
            "Open one of the failed workflows below and check its node.",
        )


def _of_belief(view: AccountView, now: float) -> Iterator[Problem]:
    belief, name = view.belief, view.name
    lag = belief.listing_lag_seconds
    if lag is not None and lag > BEHIND_SECONDS:
        yield Problem(
            "warning",
            name,
            f"The list was last read completely {words.seconds(lag)} ago: outcomes come late.",
            "Check the request budget and the last error; the exporter catches up automatically.",
            since=now - lag,
        )
    if belief.difference:
        yield Problem(
            "warning",
            name,
            f"The service has {words.times(belief.difference, 'outcome')} that "
            f"{'is' if belief.difference == 1 else 'are'} not counted here.",
            "The exporter searches for them; if this lasts an hour, see the runbook "
            "ComfyControlTotalsDiffer.",
        )
    stalest = belief.stalest_seconds
    if stalest is not None and stalest > STALE_SECONDS:
        yield Problem(
            "warning",
            name,
            f"One open workflow was not seen for {words.seconds(stalest)}.",
            "Sort the open workflows by the column Seen, and check the next step of the oldest.",
            since=now - stalest,
        )
