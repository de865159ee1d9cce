"""Filters, sorts and pages the rows of a table. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from operator import itemgetter
from types import MappingProxyType
from typing import Final, TypeVar

from exporter.history.outlook import Plan, next_step
from exporter.history.story import VIAS, Story, shown_status
from exporter.interfaces.observations import Moment, Status
from exporter.interfaces.views import SortKey, WorkflowQuery, WorkflowRow, WorkflowTable
from exporter.ledger.slicing import matched
from exporter.ledger.workflow import Workflow

MOST_PER_PAGE: Final = 1_000

NO_SLICES: Final[Mapping[str, str]] = MappingProxyType({})

_Sortable = float | str
_T = TypeVar("_T")


def open_table(
    workflows: Iterable[Workflow],
    query: WorkflowQuery,
    plans: Mapping[str, Plan],
    now: Moment,
    defaults: Mapping[str, str] = NO_SLICES,
) -> WorkflowTable:
    """A page of open workflows. `defaults` are the slice values if nothing matched."""
    chosen = [w for w in workflows if _is_open_chosen(w, query, defaults)]
    keys = _open_keys(now.wall)
    pages = _Pages(len(chosen), query)
    # Rows are created only for one page, because there may be ten thousand.
    shown = pages.of(chosen, keys[query.sort], lambda w: w.workflow_id)
    return pages.table(open_row(w, plans.get(w.account, Plan()), now, defaults) for w in shown)


def open_row(
    workflow: Workflow, plan: Plan, now: Moment, defaults: Mapping[str, str] = NO_SLICES
) -> WorkflowRow:
    """The row of an open workflow."""
    step = next_step(workflow, plan, now)
    created, started = workflow.created_at, workflow.started_at
    seen = workflow.last_seen
    running = workflow.status is Status.RUNNING
    waited = None
    if created is not None and started is not None and workflow.run == 1:
        waited = max(0.0, started - created)
    return WorkflowRow(
        id=workflow.workflow_id,
        account=workflow.account,
        phase=workflow.phase,
        status=shown_status(workflow),
        position=workflow.queue_position,
        age_seconds=max(0.0, now.wall - workflow.age_from),
        run_seconds=max(0.0, now.wall - started) if running and started is not None else None,
        wait_seconds=waited,
        seen_by=VIAS.get(workflow.last_via, ""),
        seen_seconds_ago=None if seen is None else max(0.0, now.monotonic - seen.monotonic),
        next_step=step.text,
        next_step_in_seconds=step.seconds,
        run_number=workflow.run,
        source=workflow.source,
        slices={**defaults, **matched(workflow.slices)},
    )


def closed_table(
    stories: Iterable[Story],
    query: WorkflowQuery,
    now: float,
    defaults: Mapping[str, str] = NO_SLICES,
) -> WorkflowTable:
    """A page of ended workflows. `defaults` are the slice values if nothing matched."""
    chosen = [story for story in stories if _is_closed_chosen(story, query, defaults)]
    pages = _Pages(len(chosen), query)
    shown = pages.of(chosen, _CLOSED_KEYS[query.sort], lambda story: story.workflow_id)
    return pages.table(closed_row(story, now, defaults) for story in shown)


def closed_row(story: Story, now: float, defaults: Mapping[str, str] = NO_SLICES) -> WorkflowRow:
    """The row of an ended workflow."""
    return replace(story.row(now), slices={**defaults, **story.slices})


def _is_open_chosen(workflow: Workflow, query: WorkflowQuery, defaults: Mapping[str, str]) -> bool:
    return (
        (query.account is None or workflow.account == query.account)
        and (not query.prefix or workflow.workflow_id.startswith(query.prefix.lower()))
        and query.node_type is None
        and _is_of({**defaults, **matched(workflow.slices)}, query)
        and (
            query.status is None
            or shown_status(workflow) == query.status
            or (query.status == "other" and workflow.unknown_status is not None)
        )
    )


def _is_closed_chosen(story: Story, query: WorkflowQuery, defaults: Mapping[str, str]) -> bool:
    return (
        (query.account is None or story.account == query.account)
        and (not query.prefix or story.workflow_id.startswith(query.prefix.lower()))
        and (query.status is None or story.status == query.status)
        and (query.node_type is None or story.node_type == query.node_type)
        and _is_of({**defaults, **story.slices}, query)
    )


def _is_of(slices: Mapping[str, str], query: WorkflowQuery) -> bool:
    return all(slices.get(label) == value for label, value in query.slices.items())


def _open_keys(now: float) -> Mapping[SortKey, Callable[[Workflow], _Sortable | None]]:
    ranks = {status.value: status.rank for status in Status}
    return {
        "age": lambda w: now - w.age_from,
        "status": lambda w: ranks.get(shown_status(w), -1),
        "position": lambda w: w.queue_position,
        "run": lambda w: (
            now - w.started_at if w.status is Status.RUNNING and w.started_at is not None else None
        ),
        "seen": lambda w: None if w.last_seen is None else -w.last_seen.monotonic,
        "ended": lambda w: w.ended_at,
    }


_CLOSED_KEYS: Final[Mapping[SortKey, Callable[[Story], _Sortable | None]]] = {
    "age": lambda s: -(s.first_seen if s.created_at is None else s.created_at),
    "status": lambda s: s.status,
    "position": lambda _: None,
    "run": lambda s: s.run_seconds,
    "seen": lambda s: None if s.seen_at is None else -s.seen_at,
    "ended": lambda s: s.ended_at,
}


@dataclass(frozen=True, slots=True)
class _Pages:
    total: int
    query: WorkflowQuery

    @property
    def per_page(self) -> int:
        return min(max(1, self.query.per_page), MOST_PER_PAGE)

    @property
    def count(self) -> int:
        return max(1, ceil(self.total / self.per_page))

    @property
    def number(self) -> int:
        return min(max(1, self.query.page), self.count)

    def of(
        self, rows: list[_T], key: Callable[[_T], _Sortable | None], name: Callable[[_T], str]
    ) -> list[_T]:
        """This page's rows; rows without a value come last in both directions."""
        # Sorting is stable: equal rows are ordered by id, so that no page repeats a row. The key of
        # each row is computed once, because it may change during the sort.
        keyed = [(key(row), row) for row in sorted(rows, key=name)]
        known = [(value, row) for value, row in keyed if value is not None]
        known.sort(key=itemgetter(0), reverse=self.query.descending)
        ordered = [row for _, row in known] + [row for value, row in keyed if value is None]
        begin = (self.number - 1) * self.per_page
        return ordered[begin : begin + self.per_page]

    def table(self, rows: Iterable[WorkflowRow]) -> WorkflowTable:
        return WorkflowTable(tuple(rows), self.total, self.number, self.count)
