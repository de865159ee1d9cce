"""The faults that the simulator can show, as data: one model for each ``kind``.

``fault_plan`` decides which of them happens to a request or a stream; how each looks on the wire
is in ``wire`` and ``streams``.

Offsets (``from``, ``to``) are times of the simulated day, so ``speed`` scales them. Delays on the
wire (``latency``, ``slow_headers``) are real seconds, because a client's timeouts are real too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from exporter.simulator.schema import (
    Between,
    PositiveSeconds,
    ScenarioError,
    Seconds,
    Share,
    Spread,
    Window,
    explain,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Endpoint = Literal["subscribe", "list", "get", "create", "cancel", "execute", "runners", "other"]
"""The service's calls, by the names that truth and faults use."""

MalformedSnapshot = Literal[
    "not_json",
    "truncated_json",
    "empty_data",
    "null",
    "number",
    "string",
    "array",
    "missing_status",
    "status_null",
    "status_number",
    "status_array",
    "status_object",
    "unknown_status",
    "nan",
    "infinity",
    "queue_number_string",
    "queue_number_negative",
    "queue_number_fraction",
    "queue_number_boolean",
    "stamp_text",
    "stamp_number",
    "stamp_year_zero",
    "cause_string",
    "cause_array",
    "cause_numbers",
    "outputs_null",
    "outputs_object",
    "outputs_of_numbers",
    "prompt_string",
    "deep_nesting",
    "lone_surrogate",
    "control_characters",
    "invalid_utf8",
    "duplicate_keys",
    "extra_fields",
]
"""Ways in which one snapshot of a stream can be wrong or odd."""

MalformedList = Literal[
    "not_json",
    "array",
    "null",
    "empty_object",
    "workflows_null",
    "workflows_object",
    "total_string",
    "item_null",
    "item_without_id",
    "item_id_number",
    "item_id_no_uuid",
    "item_without_status",
    "item_status_number",
    "item_unknown_status",
    "item_stamp_text",
    "item_created_null",
    "item_tags_null",
    "item_name_surrogate",
    "deep_nesting",
    "truncated_json",
]
"""Ways in which one page of the list can be wrong."""


class BaseFault(Window):
    """The fields of all faults: when, how often, and to which requests they happen."""

    every: PositiveSeconds | None = None
    """From one opening of its window to the next; without it there is only one."""

    probability: Share = 1.0
    """The part (0 to 1) of matching requests or streams to which it happens."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often the fault happens; without it, there is no limit."""
    account: str | None = None
    """Only requests with this account's token."""
    workflow: str | None = None
    """Only requests for this workflow's id."""

    @model_validator(mode="after")
    def _recurs(self) -> BaseFault:
        if self.every is not None and (self.end is None or self.end - self.start > self.every):
            raise ValueError("every needs a to, no later than it opens again; set to")
        return self

    def holds(self, now: float) -> bool:
        """Whether the window is open, at ``now`` seconds after the simulator's start."""
        if self.every is not None and now >= self.start:
            now = self.start + (now - self.start) % self.every
        return super().holds(now)


class AnswerFault(BaseFault):
    """A fault that happens to a request, instead of its answer or before it."""

    endpoints: tuple[Endpoint, ...] = ()
    """Only these calls; empty: all."""


class StreamFault(BaseFault):
    """A fault that happens to an open stream, after some good snapshots."""

    after: Between = Between(min=1, max=1)
    """How many good snapshots the stream sends before the fault."""


class StatusFault(AnswerFault):
    """An error status: 5xx, or 401 and 403 for a while."""

    kind: Literal["status"] = "status"
    code: Annotated[int, Field(ge=400, le=599)] = 503
    body: Literal["json", "html", "empty"] = "json"
    retry_after: Annotated[int, Field(ge=0)] | None = None


class EdgePageFault(AnswerFault):
    """The page of an edge in front of the service: HTML, with any status, with a ``data:`` line."""

    kind: Literal["edge_page"] = "edge_page"
    code: Annotated[int, Field(ge=200, le=599)] = 503


class RedirectFault(AnswerFault):
    """A redirect, such as a captive portal's."""

    kind: Literal["redirect"] = "redirect"
    code: Literal[301, 302, 303, 307, 308] = 302
    location: str = "https://login.example/"


class LatencyFault(AnswerFault):
    """A delay before the answer; the answer itself is good."""

    kind: Literal["latency"] = "latency"
    delay: Spread = Spread(median=1.0)


class NoAnswerFault(AnswerFault):
    """Accepts the request and never sends a byte."""

    kind: Literal["no_answer"] = "no_answer"


class ResetFault(AnswerFault):
    """Resets the connection instead of answering."""

    kind: Literal["reset"] = "reset"


class HangUpFault(AnswerFault):
    """Closes the connection in good order, without a byte of an answer."""

    kind: Literal["hang_up"] = "hang_up"


class GarbageAnswerFault(AnswerFault):
    """Answers with bytes that are not HTTP."""

    kind: Literal["garbage_answer"] = "garbage_answer"


class SlowHeadersFault(AnswerFault):
    """Sends the head of an answer byte by byte and never ends it."""

    kind: Literal["slow_headers"] = "slow_headers"
    pause: Seconds = 0.2
    """Real seconds between two bytes."""


class EndlessHeaderFault(AnswerFault):
    """Sends header lines without an end."""

    kind: Literal["endless_header"] = "endless_header"
    size: Annotated[int, Field(ge=1)] = 2**31
    """Bytes after which it stops and closes."""
    one_line: bool = False
    """One header of that size, rather than many short ones."""


class GzipBombFault(AnswerFault):
    """A small compressed body that unfolds to ``size`` bytes, asked for or not."""

    kind: Literal["gzip_bomb"] = "gzip_bomb"
    size: Annotated[int, Field(ge=1)] = 2**30


class HugeEventFault(AnswerFault):
    """One event of ``size`` bytes, made while it is sent."""

    kind: Literal["huge_event"] = "huge_event"
    size: Annotated[int, Field(ge=1)] = 2**31
    ended: bool = True
    """Whether a blank line ends it."""


class MalformedListFault(AnswerFault):
    """A page of the list that is not what it should be."""

    kind: Literal["malformed_list"] = "malformed_list"
    variant: MalformedList | Literal["any"] = "any"


class DropFault(StreamFault):
    """Ends a stream in the middle, as networks, proxies and restarts do."""

    kind: Literal["drop"] = "drop"
    cut: Literal["in_event", "between_events", "in_chunk"] = "in_event"
    how: Literal["eof", "reset", "clean"] = "eof"
    """``eof``: closed without the last chunk; ``clean``: with it, as if the answer were whole."""
    framing: Literal["chunked", "close"] = "chunked"
    """``close``: an answer without chunks, whose end is the connection's end, so that a cut does
    not show. Such an answer is chosen when a stream opens; open streams stay as they are."""


class SilenceFault(StreamFault):
    """Keeps a stream open and sends no more snapshots while the fault lasts."""

    kind: Literal["silence"] = "silence"
    comments: bool = False
    """Send comment lines at the pace of snapshots, so that the socket never seems idle."""


class GarbageFault(StreamFault):
    """Writes random bytes into a stream, which then goes on."""

    kind: Literal["garbage"] = "garbage"
    size: Annotated[int, Field(ge=1, le=2**20)] = 512


class MalformedSnapshotFault(StreamFault):
    """Puts malformed snapshots in the place of good ones; the stream goes on."""

    kind: Literal["malformed_snapshot"] = "malformed_snapshot"
    variant: MalformedSnapshot | Literal["any"] = "any"
    """``any`` takes one variant after the other."""
    count: Annotated[int, Field(ge=1)] = 1
    """How many in a row."""


class FramingFault(StreamFault):
    """Legal but odd framing of an event stream, from the first byte on. Not an error at all."""

    kind: Literal["framing"] = "framing"
    newline: Literal["lf", "cr", "crlf", "mixed"] = "mixed"
    byte_order_mark: bool = True
    comments: bool = True
    multi_line: bool = True
    """Spread one snapshot over several ``data:`` lines."""
    fields: bool = True
    """Add ``id``, ``event``, ``retry`` and unknown fields."""
    split: Annotated[int, Field(ge=0)] = 7
    """Largest piece that is sent at a time, in bytes; 0: whole events."""


Fault = Annotated[
    StatusFault
    | EdgePageFault
    | RedirectFault
    | LatencyFault
    | NoAnswerFault
    | ResetFault
    | HangUpFault
    | GarbageAnswerFault
    | SlowHeadersFault
    | EndlessHeaderFault
    | GzipBombFault
    | HugeEventFault
    | MalformedListFault
    | DropFault
    | SilenceFault
    | GarbageFault
    | MalformedSnapshotFault
    | FramingFault,
    Field(discriminator="kind"),
]
"""Any fault, distinguished by its ``kind``."""


class _FaultList(BaseModel):
    faults: tuple[Fault, ...]


def parse_faults(faults: Iterable[BaseFault | Mapping[str, Any]]) -> tuple[Fault, ...]:
    """Check faults that were given at run time, as models or as mappings.

    Raises:
        ScenarioError: with one line per mistake.
    """
    given = [f.model_dump(by_alias=True) if isinstance(f, BaseFault) else dict(f) for f in faults]
    try:
        return TypeAdapter(_FaultList).validate_python({"faults": given}).faults
    except ValidationError as error:
        raise ScenarioError(explain(error, _FaultList, source="faults")) from None
