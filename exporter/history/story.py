"""The history of one workflow, and the rules by which it grows. Pure."""

from dataclasses import dataclass, field
from math import inf
from typing import Final, Literal, cast

import orjson

from exporter.comfycontrol.text import clean
from exporter.history import words
from exporter.interfaces.observations import Source, Status
from exporter.interfaces.telemetry import StreamEnd
from exporter.interfaces.views import Event, WorkflowRow
from exporter.ledger.counting import CountingRules, NotCounted, why_not_counted
from exporter.ledger.facts import (
    Discovered,
    Dropped,
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    Ignored,
    OutputsMade,
    PhasePassed,
    Ran,
    Recovered,
    Started,
)
from exporter.ledger.slicing import matched
from exporter.ledger.taken import Taken
from exporter.ledger.workflow import Workflow

MOST_EVENTS: Final = 40
"""How many events of one workflow are remembered: the first one, and the latest."""

MOST_BYTES: Final = 8_000
"""The largest size of a stored story in bytes: its oldest events are removed, except the first."""

What = Literal["found", "changed", "stream", "counted", "not_counted", "cause", "dropped"]
Via = Literal["stream", "list", "poll", ""]

VIAS: Final[dict[str, Via]] = {"stream": "stream", "listing": "list", "detail": "poll"}

_WAITS_FOR_LIST: Final = (
    "Its stream shows that it has ended: only the list can show whether it counts."
)


@dataclass(slots=True)
class Story:
    """One workflow's history."""

    account: str
    workflow_id: str
    events: list[Event] = field(default_factory=list)
    left_out: int = 0
    phase: Literal["open", "settled", "dropped"] = "open"
    status: str = ""
    run: int = 1
    source: str = ""
    first_seen: float = 0.0
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    closed_at: float | None = None
    """When we learnt of its end, in Unix seconds; None while it is open."""
    number: int = 0
    """The number under which the ledger stores it; 0: it is not stored."""
    run_seconds: float | None = None
    wait_seconds: float | None = None
    node_type: str = ""
    exception_type: str = ""
    seen_by: Via = ""
    seen_at: float | None = None
    counted_as: str = ""
    not_counted: str = ""
    slices: dict[str, str] = field(default_factory=dict)
    _place_from: int | None = None
    """The queue position at which the latest move began; None: the latest event is not a move."""

    @property
    def is_failure(self) -> bool:
        """Whether the outcome is a failure, which users search for."""
        return self.status in {Status.FAILED.value, Status.INVALID.value, Status.OTHER.value}

    def row(self, now: float) -> WorkflowRow:
        """Its row in the table of ended workflows."""
        age_from = self.first_seen if self.created_at is None else self.created_at
        return WorkflowRow(
            id=self.workflow_id,
            account=self.account,
            phase=self.phase,
            status=self.status,
            age_seconds=max(0.0, now - age_from),
            run_seconds=self.run_seconds,
            wait_seconds=self.wait_seconds,
            seen_by=self.seen_by,
            seen_seconds_ago=None if self.seen_at is None else max(0.0, now - self.seen_at),
            ended_at=self.ended_at,
            node_type=self.node_type,
            exception_type=self.exception_type,
            run_number=self.run,
            source=self.source,
            slices=self.slices,
        )

    # Growing ----------------------------------------------------------------------------------

    def take(self, taken: Taken) -> None:
        """Add a change that the ledger has accepted."""
        before, after = taken.before, taken.after
        via: Via = "" if taken.seen is None else VIAS[taken.seen.via]
        if not self.events:
            self._begin(taken)
        if taken.seen is not None:
            self.seen_by, self.seen_at = via, taken.at.wall
        # Events before this one belong to the previous run.
        begins = [type(fact) for fact in taken.facts]
        cut = begins.index(Discovered) + 1 if Discovered in begins else 0
        for fact in taken.facts[:cut]:
            self._note_fact(fact, taken, via)
        self._note_changes(taken, via)
        self._copy(after)
        for fact in taken.facts[cut:]:
            self._note_fact(fact, taken, via)
        if after.phase != "open" and (before is None or before.phase == "open"):
            self.closed_at = taken.at.wall
            self._note_end(taken, via)
        elif after.phase == "open" and self.closed_at is not None:
            self.closed_at, self.not_counted = None, ""

    def _begin(self, taken: Taken) -> None:
        known = taken.before
        if known is not None:
            text = f"Known from an earlier run: {known.phase}, {_status_words(known)}."
            self._add(taken.at.wall, "found", text, "")
            if known.phase == "settled" and known.status is not None:
                self.counted_as = known.status.value
        elif not any(isinstance(fact, Discovered) for fact in taken.facts):
            self._add(taken.at.wall, "found", f"Found in {words.SOURCES[taken.after.source]}.", "")

    def _begin_run(self, source: Source, taken: Taken, via: Via) -> None:
        if taken.before is None:
            text = f"Found in {words.SOURCES[source]}."
        elif taken.after.run > taken.before.run:
            text = f"It runs again: run {taken.after.run}."
        else:
            text = f"Tracked again, named by {words.SOURCES[source]}."
        self._add(taken.at.wall, "found", text, via)
        self.counted_as = self.not_counted = self.node_type = self.exception_type = ""
        self.run_seconds = self.ended_at = self.wait_seconds = None

    def _note_changes(self, taken: Taken, via: Via) -> None:
        before, after = taken.before, taken.after
        at = taken.at.wall
        known = before if before is not None and before.run == after.run else None
        if after.unknown_status is not None:
            if known is None or known.unknown_status != after.unknown_status:
                text = (
                    f"In status “{clean(after.unknown_status)}”, which this version does not know."
                )
                self._add(at, "changed", text, via)
        elif after.phase == "open" and (
            known is None or known.status is not after.status or known.unknown_status is not None
        ):
            if after.status is not None:
                self._add(at, "changed", f"Now {after.status.value}{_place(after)}.", via)
        elif (
            after.phase == "open"
            and after.queue_position is not None
            and known is not None
            and known.queue_position != after.queue_position
        ):
            self._moved(at, known.queue_position, after.queue_position, via)
        seen = taken.seen
        if (
            after.phase == "open"
            and seen is not None
            and seen.via == "stream"
            and seen.status.strip().lower() in {"completed", "failed", "cancelled", "invalid"}
            and not any(event.text == _WAITS_FOR_LIST for event in self.events)
        ):
            self._add(at, "not_counted", _WAITS_FOR_LIST, via)

    def _moved(self, at: float, before: int | None, place: int, via: Via) -> None:
        began = before if self._place_from is None else self._place_from
        if self._place_from is not None:
            self.events.pop()
        text = f"At position {place}." if began is None else f"From position {began} to {place}."
        self._add(at, "changed", text, via)
        self._place_from = place if began is None else began

    def _copy(self, after: Workflow) -> None:
        self.phase, self.run, self.source = after.phase, after.run, after.source
        self.status = shown_status(after)
        self.slices = matched(after.slices)
        self.first_seen = after.first_seen.wall
        self.created_at, self.started_at = after.created_at, after.started_at
        if after.phase != "open":
            self.ended_at = after.ended_at
        if after.run == 1 and after.created_at is not None and after.started_at is not None:
            self.wait_seconds = max(0.0, after.started_at - after.created_at)

    def _note_fact(self, fact: Fact, taken: Taken, via: Via) -> None:  # noqa: C901 - one arm a fact
        at = taken.at.wall
        match fact:
            case Discovered(source):
                self._begin_run(source, taken, via)
            case Started(wait):
                self.wait_seconds = wait
                text = f"Started after {words.seconds(wait)}; this time is counted."
                self._add(at, "changed", text, via)
            case Finished(status, ran):
                self.run_seconds = ran
                self.counted_as, self.not_counted = status.value, ""
                lasted = "" if ran is None else f", after a run of {words.seconds(ran)}"
                self._add(at, "counted", f"Counted as {status.value}{lasted}.", via)
            case Ran(_, ran):
                self.run_seconds = ran
                self._add(at, "changed", f"Its run took {words.seconds(ran)}.", via)
            case Failed(node, exception):
                self.node_type, self.exception_type = words.name(node), words.name(exception)
                text = f"Failed in {self.node_type} with {self.exception_type}."
                if node is None and exception is None:
                    text = "The cause is not known: it counts as unknown."
                self._add(at, "cause", text, via)
            case OutputsMade(count):
                self._add(at, "changed", f"It made {words.times(count, 'output')}.", via)
            case Recovered():
                text = "This end was found only by comparing with the service's own totals."
                self._add(at, "counted", text, via)
            # For one that had ended before, it is told why its end is not counted.
            case EnteredQueue() | PhasePassed() | Ignored() | Dropped("ended_before"):
                pass
            case Dropped(reason):
                wrong = taken.after.phase != "dropped"
                text = words.RAN_AGAIN_WRONG if wrong else words.DROPPED[reason]
                if wrong:
                    self.counted_as = shown_status(taken.after)
                else:
                    self.not_counted = text
                self._add(at, "dropped", text, via)

    def _note_end(self, taken: Taken, via: Via) -> None:
        after, seen = taken.after, taken.seen
        if after.phase == "settled" and after.cause_pending_since is not None:
            self._add(taken.at.wall, "cause", "Its cause is not known yet; it is requested.", via)
        if after.phase == "settled" and after.duration_pending_since is not None:
            text = "The time stamps of its run are not known yet; they are requested."
            self._add(taken.at.wall, "changed", text, via)
        if self.counted_as or self.not_counted:
            return
        why: NotCounted = "before_cutoff"
        if seen is not None:
            rules = CountingRules(
                cutoff=inf if taken.marks.cutoff is None else taken.marks.cutoff,
                listed=taken.listed,
                pruned_created=taken.marks.pruned_created,
                pruned_ended=taken.marks.pruned_ended,
            )
            known = taken.before or _unseen(after)
            why = why_not_counted(known, seen, rules) or why
        self.not_counted = words.NOT_COUNTED[why]
        self._add(taken.at.wall, "not_counted", self.not_counted, via)

    def note_row(self, known: Workflow, *, ended_before: float | None) -> None:
        """Build the story from the ledger's row, because nothing else is left.

        An end at or before `ended_before` (Unix seconds) was not counted.
        """
        self._copy(known)
        if known.phase == "dropped":
            self.not_counted = "It was dropped; the log says why."
        elif known.phase == "settled" and known.ended_at is not None:
            if ended_before is not None and known.ended_at <= ended_before:
                self.not_counted = words.NOT_COUNTED["before_cutoff"]
            else:
                self.counted_as = self.status

    def stream_ended(self, at: float, reason: StreamEnd, seconds: float | None) -> None:
        """Add the end of one of its streams, or that it could not be opened."""
        if seconds is None:
            text = f"A stream could not be opened: {words.STREAM_ENDS[reason]}."
        else:
            why = words.STREAM_ENDS[reason]
            text = f"A stream ended after {words.seconds(seconds)}: {why}."
        self._add(at, "stream", text, "stream")

    def _add(self, at: float, what: What, text: str, via: Via) -> None:
        self._place_from = None
        self.events.append(Event(at, what, text, via))
        if len(self.events) > MOST_EVENTS:
            del self.events[1]
            self.left_out += 1

    # In the ledger ----------------------------------------------------------------------------

    def packed(self) -> bytes:
        """The story as stored bytes, within `MOST_BYTES`."""
        events = [(e.at, e.what, e.text, e.via) for e in self.events]
        left_out = self.left_out
        fields = [self.account, self.workflow_id, *(getattr(self, name) for name in _FIELDS)]
        while len(packed := orjson.dumps([fields, left_out, events])) > MOST_BYTES:
            if len(events) <= 1:
                return orjson.dumps([fields, left_out + len(events), []])
            del events[1]
            left_out += 1
        return packed

    @classmethod
    def unpacked(cls, content: bytes) -> "Story":
        """A story from its stored bytes.

        Raises:
            ValueError, TypeError, LookupError: the bytes are not a story.
        """
        (account, workflow_id, *fields), left_out, events = orjson.loads(content)
        story = cls(str(account), str(workflow_id), left_out=int(left_out))
        for name, value in zip(_FIELDS, fields, strict=True):
            setattr(story, name, value)
        story.events = [
            Event(float(at), cast("What", what), str(text), cast("Via", via))
            for at, what, text, via in events
        ]
        return story


_FIELDS: Final = (
    "phase", "status", "run", "source", "first_seen", "created_at", "started_at", "ended_at",
    "closed_at", "run_seconds", "wait_seconds", "node_type", "exception_type", "seen_by",
    "seen_at", "counted_as", "not_counted", "slices",
)  # fmt: skip


def shown_status(workflow: Workflow) -> str:
    """Its status as readable text: an unknown status is the service's own word, cleaned."""
    if workflow.unknown_status is not None:
        return clean(workflow.unknown_status) or Status.OTHER.value
    return "" if workflow.status is None else workflow.status.value


def _unseen(workflow: Workflow) -> Workflow:
    """The state of a workflow before it was first seen."""
    return Workflow(
        account=workflow.account,
        workflow_id=workflow.workflow_id,
        source=workflow.source,
        first_seen=workflow.first_seen,
    )


def _place(workflow: Workflow) -> str:
    return "" if workflow.queue_position is None else f", at position {workflow.queue_position}"


def _status_words(workflow: Workflow) -> str:
    return shown_status(workflow) or "not seen yet"
