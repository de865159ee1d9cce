"""How the ledger's values are stored in its rows, and read from them."""

import json
from collections.abc import Callable
from dataclasses import astuple
from typing import Any, Final, TypeVar, get_args

from exporter.interfaces.observations import Baseline, Moment, Source, Status
from exporter.ledger.facts import SLICED, SlicedFact
from exporter.ledger.forms import CounterName, HistogramName, Labels
from exporter.ledger.phases import Entry
from exporter.ledger.slicing import Slices
from exporter.ledger.store import AccountMarks
from exporter.ledger.totals import CounterTotal, Exemplar, HistogramTotal
from exporter.ledger.words import UnknownWordError, unknown_of, words_of_total
from exporter.ledger.workflow import Held, Phase, Workflow

Row = tuple[Any, ...]
"""The values that SQLite stores, in the order of the table's columns."""

WORKFLOW_COLUMNS: Final = (
    "account", "workflow", "source", "phase", "run", "status", "unknown_status", "first_seen",
    "last_seen", "created_at", "started_at", "ended_at", "entered_queue", "waited", "start_wait",
    "start_observed", "outputs_counted", "cause_owed_since", "stream_ended_at",
    "stream_ended_run", "listed_ended_at", "listed_ended_run", "settled_at", "duration_owed_since",
    "slices", "held", "entered", "earlier_ends",
)  # fmt: skip


# Workflows ----------------------------------------------------------------------------------------


def workflow_row(number: int, workflow_id: str, workflow: Workflow) -> Row:
    """The row of a workflow, of the account with this number."""
    return (
        number,
        packed(workflow_id),
        workflow.source,
        workflow.phase,
        workflow.run,
        None if workflow.status is None else workflow.status.value,
        workflow.unknown_status,
        _real(workflow.first_seen.wall),
        _wall_of(workflow.last_seen),
        _real(workflow.created_at),
        _real(workflow.started_at),
        _real(workflow.ended_at),
        int(workflow.entered_queue),
        int(workflow.has_waited),
        _real(workflow.start_wait),
        int(workflow.start_observed),
        int(workflow.outputs_counted),
        _wall_of(workflow.cause_pending_since),
        _real(workflow.stream_ended_at),
        workflow.stream_ended_run,
        _real(workflow.listed_ended_at),
        workflow.listed_ended_run,
        _real(workflow.settled_at),
        _wall_of(workflow.duration_pending_since),
        _json(dict(workflow.slices)) if workflow.slices else None,
        None if workflow.held is None else _json(_held_row(workflow.held)),
        None if workflow.entered is None else _real(workflow.entered.wall),
        _earlier_row(workflow),
    )


def workflow_of(account: str, row: Row, monotonic: float) -> Workflow:
    """A workflow from its row.

    Raises:
        UnknownWordError: a newer version wrote it.
        ValueError, TypeError: it is damaged.
    """
    (
        _, packed, source, phase, run, status, unknown_status, first_seen, last_seen, created_at,
        started_at, ended_at, entered_queue, waited, start_wait, start_observed,
        outputs_counted, cause_pending_since, stream_ended_at, stream_ended_run, listed_ended_at,
        listed_ended_run, settled_at, duration_pending_since, slices, held, entered,
        earlier_ends,
    ) = row  # fmt: skip
    earlier = () if earlier_ends is None else tuple(map(float, json.loads(earlier_ends)))
    # Monotonic times of another process are useless here. The length of a wait that began there is
    # never guessed, and the time limits for unseen or pending workflows start now.
    return Workflow(
        account=account,
        workflow_id=_unpacked(packed),
        source=_one_of("source", get_args(Source), source),
        first_seen=Moment(float(first_seen), monotonic),
        phase=_one_of("phase", get_args(Phase), phase),
        run=int(run),
        status=None if status is None else Status(_one_of("status", tuple(Status), status)),
        unknown_status=unknown_status,
        last_seen=_moment(last_seen, monotonic),
        created_at=_number(created_at),
        started_at=_number(started_at),
        ended_at=_number(ended_at),
        entered_queue=bool(entered_queue),
        waiting_lost=bool(waited),
        start_wait=_number(start_wait),
        start_observed=bool(start_observed),
        outputs_counted=bool(outputs_counted),
        cause_pending_since=_moment(cause_pending_since, monotonic),
        stream_ended_at=_number(stream_ended_at),
        stream_ended_run=int(stream_ended_run),
        listed_ended_at=_number(listed_ended_at),
        listed_ended_run=int(listed_ended_run),
        settled_at=_number(settled_at),
        duration_pending_since=_moment(duration_pending_since, monotonic),
        slices=() if slices is None else _slices(slices),
        held=None if held is None else _held(held, monotonic),
        entered=None if entered is None else Entry(float(entered), None),
        earlier_ends=tuple(stamp for stamp in earlier if stamp >= 0),
        earlier_starts=tuple(-stamp for stamp in earlier if stamp < 0),
    )


def _earlier_row(workflow: Workflow) -> str | None:
    """The stamps of earlier runs in one list: ends, and starts as negative numbers.

    A version that knows only ends ignores the negative ones.
    """
    stamps = (*workflow.earlier_ends, *(-start for start in workflow.earlier_starts))
    return _json(stamps) if stamps else None


def _slices(text: str) -> Slices:
    decided = json.loads(text)
    return tuple(sorted((str(k), None if v is None else str(v)) for k, v in dict(decided).items()))


def _held_row(held: Held) -> list[Any]:
    facts = [[type(fact).__name__, wall, *map(_plain, astuple(fact))] for fact, wall in held.facts]
    return [held.since.wall, facts]


def _plain(value: Any) -> Any:  # noqa: ANN401 - a field of any fact
    return value.value if isinstance(value, Status) else value


def _held(text: str, monotonic: float) -> Held:
    since, kept = json.loads(text)
    facts: list[tuple[SlicedFact, float]] = []
    for name, wall, *values in kept:
        known = _one_of("held fact", tuple(_HELD_FACTS), name)
        if known in _WITH_STATUS:
            values[0] = Status(_one_of("status", tuple(Status), values[0]))
        facts.append((_HELD_FACTS[known](*values), float(wall)))
    return Held(Moment(float(since), monotonic), tuple(facts))


_WITH_STATUS: Final = {"Finished", "Ran", "PhasePassed"}
"""Facts whose first field is a status."""
_HELD_FACTS: Final[dict[str, Callable[..., SlicedFact]]] = {fact.__name__: fact for fact in SLICED}


def packed(workflow_id: str) -> bytes:
    """An id as it is stored in its column."""
    return bytes.fromhex(workflow_id.replace("-", ""))


def _unpacked(packed: bytes) -> str:
    digits = packed.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


# Accounts -----------------------------------------------------------------------------------------


def account_row(number: int, name: str, marks: AccountMarks) -> Row:
    """The row of an account. The columns of its marks are named and ordered as the fields are."""
    return (number, name, *map(_real, astuple(marks)))


def account_of(row: Row) -> tuple[int, str, AccountMarks]:
    """Number, name and marks of an account."""
    number, name, *marks = row
    return int(number), str(name), AccountMarks(*map(_number, marks))


def baseline_row(number: int, status: Status, baseline: Baseline) -> Row:
    """The row of a baseline, for the account with this number."""
    return (
        number,
        status.value,
        baseline.value,
        _real(baseline.compared_at),
        _real(baseline.since),
    )


def baseline_of(row: Row) -> tuple[int, Status, Baseline]:
    """A baseline from its row: number of the account, status, and baseline.

    Raises:
        UnknownWordError: a newer version wrote it.
        ValueError, TypeError: it is damaged.
    """
    number, status, value, compared_at, since = row
    known = Status(_one_of("status", tuple(Status), status))
    return int(number), known, Baseline(int(value), float(compared_at), float(since))


# Totals -------------------------------------------------------------------------------------------


def counter_row(name: CounterName, labels: Labels, total: CounterTotal) -> Row:
    """The row of a counter's series."""
    exemplar = None if total.exemplar is None else _json(astuple(total.exemplar))
    return (name, _json(labels), _real(total.value), total.appeared, exemplar)


def counter_of(row: Row) -> tuple[tuple[CounterName, Labels], CounterTotal]:
    """A counter's series.

    Raises:
        UnknownWordError: a newer version wrote it.
        ValueError, TypeError, LookupError: it is damaged.
    """
    name, labels, value, appeared, exemplar = row
    key = _known("counter", name, labels)
    known: CounterName = _one_of("counter", get_args(CounterName), name)
    return (known, key), CounterTotal(float(value), _exemplar(exemplar), int(appeared))


def histogram_row(name: HistogramName, labels: Labels, total: HistogramTotal) -> Row:
    """The row of a histogram's series."""
    return (
        name,
        _json(labels),
        _json(total.bounds),
        _json(total.counts),
        _real(total.sum),
        _json([None if e is None else astuple(e) for e in total.exemplars]),
        total.appeared,
    )


def histogram_of(row: Row) -> tuple[tuple[HistogramName, Labels], HistogramTotal]:
    """A histogram's series.

    Raises:
        UnknownWordError: a newer version wrote it.
        ValueError, TypeError, LookupError: it is damaged.
    """
    name, labels, bounds, counts, total, exemplars, appeared = row
    key = _known("histogram", name, labels)
    known: HistogramName = _one_of("histogram", get_args(HistogramName), name)
    histogram = HistogramTotal(
        tuple(map(float, json.loads(bounds))),
        list(map(int, json.loads(counts))),
        float(total),
        [None if e is None else Exemplar(*e) for e in json.loads(exemplars)],
        int(appeared),
    )
    if not len(histogram.counts) == len(histogram.exemplars) == len(histogram.bounds) + 1:
        raise ValueError("as many counts as there are buckets")
    return (known, key), histogram


def _known(kind: str, name: str, labels: str) -> Labels:
    """The labels of a total; fails if one of its words is unknown."""
    key = tuple(map(str, json.loads(labels)))
    unknown = unknown_of(words_of_total(kind, name, key))
    if unknown is not None:
        raise UnknownWordError(unknown)
    return key


def _exemplar(text: str | None) -> Exemplar | None:
    return None if text is None else Exemplar(*json.loads(text))


# Marks --------------------------------------------------------------------------------------------


def mark_of(row: Row) -> tuple[str, int]:
    """Name and value of a mark.

    Raises:
        UnknownWordError: a newer version wrote it.
        ValueError, TypeError: it is damaged.
    """
    name, value = row
    return _one_of("mark", ("announced",), name), int(value)


# Values -------------------------------------------------------------------------------------------

_T = TypeVar("_T")


def _one_of(kind: str, known: tuple[_T, ...], value: object) -> _T:
    if value not in known:
        raise UnknownWordError(f"{kind} {value}")
    return known[known.index(value)]


def _number(value: Any) -> float | None:  # noqa: ANN401 - SQLite gives what is there
    return None if value is None else float(value)


def _real(value: float | None) -> float | None:
    """A number as SQLite returns it from a REAL column.

    Minus zero becomes zero, and NaN becomes NULL.
    """
    return None if value is None or value != value else float(value) + 0.0  # noqa: PLR0124


def _moment(wall: Any, monotonic: float) -> Moment | None:  # noqa: ANN401
    return None if wall is None else Moment(float(wall), monotonic)


def _wall_of(moment: Moment | None) -> float | None:
    return None if moment is None else _real(moment.wall)


_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
