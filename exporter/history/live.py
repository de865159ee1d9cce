"""The state of a running exporter, for the pages, the JSON interface and `status`."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.budget.budget import BudgetReading
from exporter.following.answers import LastError
from exporter.history import words
from exporter.history.by_slice import by_slice
from exporter.history.history import History
from exporter.history.outlook import Plan, next_step
from exporter.history.problems import AccountState, ExporterState, problems
from exporter.history.story import Story, shown_status
from exporter.history.table import closed_row, closed_table, open_row, open_table
from exporter.interfaces.observations import FINAL_STATUSES, OPEN_STATUSES, Moment
from exporter.interfaces.views import (
    AccountView,
    Belief,
    Budget,
    Event,
    Overview,
    WorkflowQuery,
    WorkflowRow,
    WorkflowStory,
    WorkflowTable,
)
from exporter.ledger.ledger import Ledger
from exporter.ledger.slicing import matched
from exporter.ledger.snapshot import Glance
from exporter.ledger.workflow import Workflow
from exporter.metrics.reading import AccountReading, ConfigReading
from exporter.uuids import normalize_workflow_id

_WAITING: Final = frozenset({"accepted", "uploaded", "queued"})
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class AccountNow:
    """One account, according to the parts that follow it."""

    reading: AccountReading
    plan: Plan
    last_error: LastError | None
    address: str
    limit: int
    """How many requests the service allows in a period."""
    share: int
    """How many of these we allow ourselves."""
    period: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of the exporter that are read. None of them blocks."""

    now: Callable[[], Moment]
    accounts: Callable[[], Mapping[str, AccountNow]]
    budgets: Callable[[], Iterable[BudgetReading]]
    config: Callable[[], ConfigReading]
    version: str
    revision: str
    elsewhere: Callable[[], Mapping[str, str]] = dict
    """Returns accounts that this replica does not count; see `Views.elsewhere`."""


class LiveViews:
    """Implements `exporter.views.Views`. Safe to use from any thread."""

    def __init__(self, ledger: Ledger, history: History, sources: Sources) -> None:
        self._ledger = ledger
        self._history = history
        self._sources = sources
        self._started = sources.now()

    # The first page ---------------------------------------------------------------------------

    def overview(self) -> Overview:
        """The content of the first page."""
        now, glance = self._sources.now(), self._ledger.glance()
        budgets = {budget.address: budget for budget in self._sources.budgets()}
        by_account: dict[str, list[Workflow]] = {}
        for workflow in glance.open_workflows:
            by_account.setdefault(workflow.account, []).append(workflow)
        states = [
            self._state(
                name,
                account,
                workflows=by_account.get(name, []),
                budgets=budgets,
                glance=glance,
                now=now,
            )
            for name, account in self._sources.accounts().items()
        ]
        config = self._sources.config()
        exporter = ExporterState(
            ledger_is_failing=glance.is_failing,
            ledger_errors=glance.errors,
            reloaded=config.last_reload_successful,
            web_reloaded=config.web_last_reload_successful,
        )
        return Overview(
            at=now.wall,
            version=self._sources.version,
            revision=self._sources.revision,
            started_at=self._started.wall,
            problems=problems(exporter, states, now.wall),
            accounts=tuple(state.view for state in states),
            elsewhere=self.elsewhere(),
        )

    def _state(  # noqa: PLR0913 - what an account is made of
        self,
        name: str,
        account: AccountNow,
        *,
        workflows: list[Workflow],
        budgets: Mapping[str, BudgetReading],
        glance: Glance,
        now: Moment,
    ) -> AccountState:
        health = account.reading.health
        blind = health.is_blind(now.monotonic)
        reason, advice = "", ""
        if health.up is False:
            reason, advice = ("what it needs has failed", "")
            if health.cause is not None:
                reason, advice = words.DOWN[health.cause]
        hour = self._history.hour(name)
        waiting = min(
            (w for w in workflows if shown_status(w) in _WAITING),
            key=lambda w: w.age_from,
            default=None,
        )
        error = account.last_error
        view = AccountView(
            name=name,
            # An account without any request yet is not down.
            up=health.up is not False,
            down_reason=reason,
            down_since=_wall(health.down_since, now),
            last_error="" if error is None else error.text,
            last_error_at=None if error is None else _wall(error.at, now),
            open={} if blind else _by_status(workflows),
            streams=len(account.reading.followed),
            longest_waiting_id=None if blind or waiting is None else waiting.workflow_id,
            longest_waiting_since=None if blind or waiting is None else waiting.age_from,
            outcomes=hour.outcomes,
            failures=hour.failures,
            plots=hour.plots,
            budget=_budget(account, budgets.get(account.address), now),
            belief=_belief(account, workflows, glance.dropped.get(name, 0), now),
            unseen=0 if blind else sum(1 for w in workflows if not shown_status(w)),
            slices=by_slice(() if blind else workflows, hour, self._ledger.slice_defaults()),
        )
        progress = self._history.progress(name)
        files = account.reading.files
        return AccountState(
            view=view,
            advice=advice,
            is_blind=blind,
            progress_at=self._started.wall if progress is None else progress,
            active_runners=(
                None
                if account.reading.runners is None
                else account.reading.runners.by_status.get("active", 0)
            ),
            share=account.share,
            faulty_files={} if files is None else files.faulty,
            unmatched_files=() if files is None else files.unmatched,
            open_limit=glance.full.get(name),
        )

    def elsewhere(self) -> Mapping[str, str]:
        """Accounts that other replicas count."""
        return self._sources.elsewhere()

    # Tables -----------------------------------------------------------------------------------

    def workflows(self, query: WorkflowQuery) -> WorkflowTable:
        """A table of open or settled workflows."""
        now = self._sources.now()
        if query.phase == "settled":
            return closed_table(self._closed(), query, now.wall, self._ledger.slice_defaults())
        plans = {name: account.plan for name, account in self._sources.accounts().items()}
        # Nothing is shown of an account that another replica may already count.
        known = [w for w in self._ledger.glance().open_workflows if w.account in plans]
        return open_table(known, query, plans, now, self._ledger.slice_defaults())

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        """The values that tables can be filtered by."""
        closed = self._closed()
        nodes = {story.node_type for story in closed if story.node_type}
        slices = {label: {value} for label, value in self._ledger.slice_defaults().items()}
        each = [matched(workflow.slices) for workflow in self._ledger.glance().open_workflows]
        each += [story.slices for story in closed]
        for told in each:
            for label, value in told.items():
                slices.setdefault(label, set()).add(value)
        return {
            "account": tuple(self._sources.accounts()),
            "status": tuple(status.value for status in (*OPEN_STATUSES, *FINAL_STATUSES)),
            "node_type": tuple(sorted(nodes)),
            **{label: tuple(sorted(values)) for label, values in sorted(slices.items())},
        }

    def _closed(self) -> list[Story]:
        followed = self._sources.accounts().keys()
        return [story for story in self._history.closed() if story.account in followed]

    # One workflow -----------------------------------------------------------------------------

    def workflow(self, workflow_id: str) -> WorkflowStory | None:
        """The story of a workflow; None: it is unknown.

        If several accounts have it, the open one.
        """
        try:
            workflow_id = normalize_workflow_id(workflow_id)
        except ValueError:
            return None  # the request may contain anything
        now, accounts = self._sources.now(), self._sources.accounts()
        found = [w for w in self._ledger.find(workflow_id) if w.account in accounts]
        known = min(found, key=lambda w: w.phase != "open", default=None)
        if known is None:
            return None
        key = known.account, known.workflow_id
        story = self._history.story(key) or _story_of(
            known, self._ledger.counting_cutoff(known.account)
        )
        account = accounts.get(known.account)
        return WorkflowStory(
            row=_row(
                known,
                story,
                Plan() if account is None else account.plan,
                now,
                self._ledger.slice_defaults(),
            ),
            events=tuple(story.events),
            events_left_out=story.left_out,
            counted_as=story.counted_as,
            not_counted_because=_why_not(known, story),
        )


def _row(
    known: Workflow, story: Story, plan: Plan, now: Moment, defaults: Mapping[str, str]
) -> WorkflowRow:
    if known.phase == "open":
        return open_row(known, plan, now, defaults)
    step = next_step(known, plan, now)
    row = closed_row(story, now.wall, defaults)
    return replace(row, next_step=step.text, next_step_in_seconds=step.seconds)


def _why_not(known: Workflow, story: Story) -> str:
    if known.phase != "open":
        return story.not_counted
    # An open workflow is counted when it ends, and an unknown status hides its end.
    return "" if known.unknown_status is None else words.UNKNOWN_STATUS


def _story_of(known: Workflow, cutoff: float | None) -> Story:
    """A story from its row in the ledger, if nothing else is remembered."""
    story = Story(known.account, known.workflow_id)
    story.note_row(known, ended_before=cutoff)
    text = f"Found in {words.SOURCES[known.source]}."
    story.events.append(Event(known.first_seen.wall, "found", text))
    return story


def _by_status(workflows: Iterable[Workflow]) -> dict[str, int]:
    counts = Counter(_OTHER if w.unknown_status is not None else shown_status(w) for w in workflows)
    shown = {status.value: counts[status.value] for status in OPEN_STATUSES}
    return shown | {_OTHER: counts[_OTHER]}


def _budget(account: AccountNow, reading: BudgetReading | None, now: Moment) -> Budget | None:
    if reading is None:
        return None
    return Budget(
        address=reading.address,
        used=reading.used,
        allowed=reading.allowed,
        limit=account.limit,
        period_seconds=account.period,
        cooldown_seconds=max(0.0, reading.cooldown_until - now.wall),
    )


def _belief(account: AccountNow, workflows: list[Workflow], dropped: int, now: Moment) -> Belief:
    reading = account.reading
    stalest = min(((w.last_seen or w.first_seen).monotonic for w in workflows), default=None)
    listed_at, compared_at = reading.list_completed_at, reading.reconciliation.completed_at
    differences = reading.reconciliation.differences
    return Belief(
        stalest_seconds=None if stalest is None else max(0.0, now.monotonic - stalest),
        listing_lag_seconds=None if listed_at is None else max(0.0, now.wall - listed_at),
        difference=sum(differences.values()) if differences else None,
        dropped=dropped,
        compared_seconds=None if compared_at is None else max(0.0, now.wall - compared_at),
    )


def _wall(monotonic: float | None, now: Moment) -> float | None:
    """A time of our monotonic clock, converted to Unix seconds."""
    return None if monotonic is None else now.wall - (now.monotonic - monotonic)
