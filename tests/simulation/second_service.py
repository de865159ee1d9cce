"""A second stand-in for ComfyControl, written from the service's documents alone, in virtual time.

Nothing here waits, listens or starts a thread: the caller says what time it is (`now`, in seconds;
the wall clock reads `EPOCH + now`). The workflows' lives are drawn from one generator, the weather
of each answer from another, and each stream has its own, so that what a client asks changes neither
what happens to workflows nor what other streams say.

The documents are silent in these places; each is a field of `Plan`, its usual value first:

* Stamps: digits of the second by endpoint; `Z` or `+00:00`; cut or rounded; whose clock: created
  and updated by the service's, started and completed by the runner's, which may be minutes off.
* Statuses: the letters' case. Rows: `created_at` or `updated_at` null or absent; `tags` null for
  none. The endpoint of one workflow always has both stamps.
* `completed_at` of what never ran: there, or null. It may also come seconds after the status.
* Lists: the cap below 100 (a larger `per_page` is cut to it), above 100 cut or 400; what `total`
  counts; ties of the order, or order by update; a page past the end is empty or 404; page 0 is 400;
  filters beyond the five documented ones work, are ignored, or give 400.
* Replicas: an answer or a stream may be read from a copy some seconds old, to which the newest ids
  are not known yet. The list of runners is never behind.
* Unknown fields; nulls left out; `outputs` null for none; ASCII only or UTF-8; spaces in the JSON.
* `queue_number` counts from 1 or 0, and on a running workflow is 1 (the example's) or null.
* `cause` null on some failures; `error_node` is the node's type or its number; the graph is an
  object or a text.
* A stream opened after the end: one snapshot and the end, no snapshot, a snapshot and silence, or
  the same again and again. On `invalid`: again and again, silence, or the end. A stream which sees
  the end closes at once or later. On deletion: the end or silence. The first snapshot: at once or
  one interval later. The cap is 120 snapshots; silent streams end when it would be reached.
* SSE: line ends, a space after the colon, comments, `id`, `retry`, `event`, data over many lines,
  a byte order mark, events that arrive in two parts, the media type's `charset`.
* Limit: a sliding or a fixed window; whether refusals prolong the cooldown; `Retry-After` as
  seconds, a date or not at all; JSON or HTML; others at the same address, who take a share of it.
* Faults: 5xx in JSON or HTML, 403 in HTML from the edge, slow heads, resets in mid event, streams
  closed early, an outage, a time in which the token counts as revoked.
* After the end: re-runs of an id (`created_at` stays, the rest starts over), deletions, edits.
  Deletion of a workflow before its end: that run has no end, and no outcome.
* Headers: `Date` absent; names in lower case. The service's own clock may be off.

Chosen without a draw: a token is good if it begins with `cfc_`, and the limit is judged before it;
an answer's body is what was true when the request came, however slow its head is; other methods
than GET give 405; runners do not fail; `quiet` also forgets re-runs, edits and deletions that were
still to come, but workflows go on arriving until `arrivals_end`. `requests_in` gives virtual
seconds, without the error of the service's wall clock.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache, partial
from heapq import heappop, heappush
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINAL = frozenset({"completed", "failed", "cancelled", "invalid"})
DOCUMENTED_FILTERS = frozenset({"completed", "running", "queued", "failed", "cancelled"})
LIMIT, WINDOW, COOLDOWN = 40, 10.0, 10.0
UPDATES, INTERVAL = 120, 2.0

NODE_TYPES = (
    "KSampler",
    "CheckpointLoaderSimple",
    "VAEDecode",
    "KSampler (Efficient)",
    "easy fullLoader",
    "Ränder/Größe [px]",
    "图像缩放",
)
EXCEPTIONS = (
    "ValueError",
    "torch.OutOfMemoryError",
    "torch.cuda.OutOfMemoryError",
    "RuntimeError",
    "safetensors_rust.SafetensorError",
)
NAMES = (
    "portrait",
    "Sommer-Kampagne «Übersicht»",
    "batch 7/12",
    "夜景",
    "x" * 200,
    'a "b" \\c',
    "🦊",
)
TAGS = ("gpu", "eu-west", "team a", "größe=l", "nightly", "🦊")


def _drawn(usual: Any, *others: Any, chance: float = 0.12) -> Any:
    return field(default=usual, metadata={"others": others, "chance": chance})


@dataclass(frozen=True)
class Plan:
    """How this service behaves where its documents leave it open."""

    # The workload
    arrivals_every: float = _drawn(10.0, 1.5, 4.0, 30.0, chance=0.6)
    arrivals_end: float = _drawn(900.0, 300.0, 1800.0, chance=0.4)
    runners: int = _drawn(3, 1, 2, 5, chance=0.5)
    run_seconds: float = _drawn(12.0, 2.0, 60.0, 300.0, chance=0.5)
    most_outputs: int = _drawn(2, 1, 20)
    graph_bytes: int = _drawn(400, 20_000, 200_000)
    reruns: float = _drawn(0.0, 0.05, 0.3)
    deletions: float = _drawn(0.0, 0.05, 0.3)
    deletions_before_end: float = _drawn(0.0, 0.05)
    edits: float = _drawn(0.0, 0.1, 0.5)
    # Stamps and clocks
    list_digits: int = _drawn(3, 0, 6, chance=0.4)
    one_digits: int = _drawn(3, 0, 6, chance=0.4)
    stream_digits: int = _drawn(0, 3, 6, chance=0.4)
    zone: str = _drawn("Z", "+00:00", chance=0.25)
    rounds: bool = _drawn(False, True)
    clock_error: float = _drawn(0.0, -45.0, 2.5, 200.0)
    runner_clock_error: float = _drawn(0.0, 1.0, 300.0, chance=0.2)
    completed_without_run: bool = _drawn(True, False, chance=0.3)
    late_completed: float = _drawn(0.0, 1.0, 6.0)
    # Answers in JSON
    status_case: str = _drawn("lower", "upper", "title")
    no_created: str = _drawn("never", "null", "absent")
    no_updated: str = _drawn("never", "null", "absent")
    no_tags_null: bool = _drawn(False, True)
    page_cap: int = _drawn(100, 50, 20)
    above_cap_refused: bool = _drawn(False, True, chance=0.3)
    total_counts: str = _drawn("matching", "page", "everything")
    order: str = _drawn("created", "second and id", "updated")
    past_end_404: bool = _drawn(False, True)
    other_filters: str = _drawn("work", "ignored", "refused", chance=0.3)
    lag: float = _drawn(0.0, 1.0, 8.0)
    unknown_fields: bool = _drawn(False, True, chance=0.25)
    omit_nulls: bool = _drawn(False, True)
    no_outputs_null: bool = _drawn(False, True)
    ascii_only: bool = _drawn(False, True, chance=0.3)
    spaced_json: bool = _drawn(False, True, chance=0.3)
    first_position: int = _drawn(1, 0)
    running_position: int | None = _drawn(1, None, chance=0.3)
    cause_null: float = _drawn(0.0, 0.2, 1.0)
    error_node_is_number: bool = _drawn(False, True, chance=0.25)
    graph_as_text: bool = _drawn(False, True, chance=0.25)
    # Streams
    opened_after_end: str = _drawn("end", "empty", "silent", "repeat", chance=0.3)
    on_invalid: str = _drawn("repeat", "silent", "end", chance=0.3)
    close_delay: float = _drawn(0.0, 1.5, 20.0)
    on_deletion: str = _drawn("end", "silent", chance=0.3)
    first_delay: float = _drawn(0.0, INTERVAL)
    newline: str = _drawn("\n", "\r\n", "\r")
    space: bool = _drawn(True, False)
    comments: float = _drawn(0.0, 0.7, 15.0, chance=0.25)
    ids: bool = _drawn(False, True)
    retry: int | None = _drawn(None, 0, 3000)
    event: str | None = _drawn(None, "message", "workflow")
    many_lines: bool = _drawn(False, True)
    bom: bool = _drawn(False, True)
    in_parts: float = _drawn(0.0, 0.3)
    charset: bool = _drawn(False, True, chance=0.3)
    # The limit
    fixed_window: bool = _drawn(False, True, chance=0.25)
    refusals_prolong: bool = _drawn(False, True)
    retry_after: str = _drawn("seconds", "date", "absent")
    limit_in_html: bool = _drawn(False, True, chance=0.3)
    neighbours: int = _drawn(0, 10, 35)
    # Faults
    errors: float = _drawn(0.0, 0.01, 0.1, chance=0.25)
    edge_refusals: float = _drawn(0.0, 0.01, 0.05)
    slow_answers: float = _drawn(0.0, 0.02, 0.2, chance=0.2)
    resets: float = _drawn(0.0, 0.005, 0.05, chance=0.2)
    early_closes: float = _drawn(0.0, 0.01, 0.05)
    outage: tuple[float, float] | None = _drawn(None, (120.0, 150.0), (200.0, 400.0))
    revoked: tuple[float, float] | None = _drawn(None, (150.0, 170.0), (60.0, 300.0))
    date_header: bool = _drawn(True, False)
    lower_headers: bool = _drawn(False, True, chance=0.25)

    @classmethod
    def plain(cls) -> Plan:
        """Nothing odd: the first choice everywhere."""
        return cls()

    @classmethod
    def draw(cls, random: Random) -> Plan:
        """Each oddity for itself, so that most seeds have a few of them."""
        chosen: dict[str, Any] = {}
        for each in fields(cls):
            odd, other = random.random(), random.choice(each.metadata["others"])
            if odd < each.metadata["chance"]:
                chosen[each.name] = other
        plan = cls(**chosen)
        # The runners keep up in the long run, so that each run has its end before long.
        capacity = 0.4 * plan.arrivals_every * plan.runners
        return replace(plan, run_seconds=min(plan.run_seconds, capacity))

    def odd(self) -> dict[str, Any]:
        """The fields that differ from the plain plan, for a failure's message."""
        pairs = ((each, getattr(self, each.name)) for each in fields(self))
        return {each.name: value for each, value in pairs if value != each.default}


@dataclass(frozen=True)
class Outcome:
    """One end of one run: true moments in virtual seconds, and the stamps as lists report them."""

    id: str
    run: int
    status: str
    created: float
    started: float | None
    ended: float
    node_type: str | None
    exception_type: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None


@dataclass
class Response:
    """An answer, whole or with a stream as its body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    latency: float
    stream: EventStream | None = None


@dataclass(frozen=True)
class _State:
    """What is known of a workflow from one moment on."""

    at: float
    name: str
    tags: tuple[str, ...]
    runner: int
    run: int = 1
    status: str = "accepted"
    started: float | None = None
    ended: float | None = None
    prompt_id: str | None = None
    cause: tuple[str, str, str] | None = None
    cause_told: bool = True
    outputs: int = 0
    deleted: bool = False


@dataclass
class _Workflow:
    id: str
    created: float
    history: list[_State]
    no_created: bool
    no_updated: bool
    graph: int

    @property
    def state(self) -> _State:
        return self.history[-1]

    @property
    def open(self) -> bool:
        return self.state.status not in FINAL and not self.state.deleted

    def seen(self, when: float) -> _State | None:
        before = bisect_right(self.history, when, key=lambda state: state.at)
        state = self.history[before - 1] if before else None
        return None if state is None or state.deleted else state


@dataclass
class _Runner:
    id: str
    name: str
    clock_error: float
    disabled: bool = False
    busy: str | None = None
    queue: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    log: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)

    def note(self, now: float) -> None:
        self.log.append((now, tuple(each for each, _ in self.queue)))

    def position(self, workflow: str, when: float) -> int | None:
        before = bisect_right(self.log, when, key=lambda entry: entry[0])
        waiting = self.log[before - 1][1] if before else ()
        return waiting.index(workflow) if workflow in waiting else None


@dataclass
class _Address:
    arrivals: list[float] = field(default_factory=list)
    counted: list[float] = field(default_factory=list)
    refused_until: float = float("-inf")
    refusals: int = 0


class EventStream:
    """The body of one subscription, given out as time passes."""

    def __init__(
        self, service: SecondService, workflow: _Workflow, random: Random, opened: float, lag: float
    ) -> None:
        plan = service.plan
        self.was_reset = False
        self._service, self._workflow, self._random, self._lag = service, workflow, random, lag
        self._agenda: list[tuple[float, int, str]] = []
        self._steps = self._updates = 0
        self._rest = b""
        self._begun = self._over = self._was_open = False
        self._last = opened + plan.first_delay + UPDATES * INTERVAL
        self._plan_step(opened + plan.first_delay, "snapshot")
        if plan.comments:
            self._plan_step(opened + plan.comments, "comment")

    def due(self) -> float | None:
        """When there are bytes or the end; None when this stream is over."""
        return self._agenda[0][0] if self._agenda and not self._over else None

    def take(self, now: float) -> bytes | None:
        """The bytes sent up to now, or None when the service has hung up."""
        self._service.advance(now)
        sent = b""
        while self._agenda and self._agenda[0][0] <= now and not self._over:
            at, _, step = self._agenda[0]
            if step in {"end", "reset"}:
                if not sent:
                    self._over, self.was_reset = True, step == "reset"
                break
            heappop(self._agenda)
            sent += self._send(at, step)
        return None if self._over else sent

    def close(self) -> None:
        """The client has hung up."""
        self._over = True

    def _plan_step(self, at: float, step: str) -> None:
        self._steps += 1
        heappush(self._agenda, (at, self._steps, step))

    def _finish(self, at: float, step: str = "end") -> None:
        self._agenda = [each for each in self._agenda if each[2] == "rest"]
        self._plan_step(at, step)

    def _send(self, at: float, step: str) -> bytes:
        if step == "rest":
            rest, self._rest = self._rest, b""
            return rest
        if step == "comment":
            self._plan_step(at + self._service.plan.comments, "comment")
            end = self._service.plan.newline.encode()
            return b"" if self._rest else self._first(b": keep-alive" + end + end)
        return self._snapshot(at)

    def _first(self, sent: bytes) -> bytes:
        begun, self._begun = self._begun, True
        return b"\xef\xbb\xbf" + sent if self._service.plan.bom and not begun else sent

    def _snapshot(self, at: float) -> bytes:
        plan, service = self._service.plan, self._service
        when = at if service.fair else at - self._lag
        state = self._workflow.seen(when)
        if state is None:
            self._finish(at if plan.on_deletion == "end" else self._last)
            return b""
        final, opening = state.status in FINAL, self._updates == 0
        habit = "repeat"
        if state.status == "invalid":
            habit = plan.on_invalid
        elif final:
            habit = "end" if self._was_open else plan.opened_after_end
        if final and opening and habit == "empty":
            self._finish(at)
            return b""
        self._was_open = self._was_open or not final
        self._updates += 1
        whole = self._event(service.snapshot(self._workflow, state, when))
        if service.luck(self._random, plan.resets):
            self._finish(at, "reset")
            return self._first(whole[: self._random.randrange(1, len(whole))])
        done = at
        sent = whole
        if self._random.random() < plan.in_parts:
            cut = self._random.randrange(1, len(whole))
            sent, self._rest, done = whole[:cut], whole[cut:], at + 0.4
            self._plan_step(done, "rest")
        if self._updates >= UPDATES or service.luck(self._random, plan.early_closes):
            self._finish(done)
        elif habit == "end":
            self._finish(done + (0.0 if opening else plan.close_delay))
        elif habit == "silent":
            self._plan_step(self._last, "end")
        else:
            self._plan_step(at + INTERVAL + self._random.uniform(-0.1, 0.1), "snapshot")
        return self._first(sent)

    def _event(self, payload: dict[str, Any]) -> bytes:
        plan = self._service.plan
        told = self._service.dumps(payload, indent=1 if plan.many_lines else None)
        lines = []
        if plan.retry is not None and self._updates == 1:
            lines.append(("retry", str(plan.retry)))
        if plan.ids:
            lines.append(("id", str(self._updates)))
        if plan.event is not None:
            lines.append(("event", plan.event))
        lines += [("data", line) for line in told.split("\n")]
        # A value that begins with a space needs the one that is taken away.
        colon = ": " if plan.space else ":"
        end, text = plan.newline, ""
        for name, value in lines:
            text += f"{name}{': ' if value[:1] == ' ' else colon}{value}{end}"
        return (text + end).encode()


class SecondService:
    """The account, its workflows and the edge in front of it."""

    def __init__(self, random: Random, plan: Plan) -> None:
        self.plan = plan
        self.fair = False
        self._world, self._weather = Random(random.getrandbits(64)), Random(random.getrandbits(64))
        self._others = Random(random.getrandbits(64))
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._events = 0
        self._now = 0.0
        self._workflows: dict[str, _Workflow] = {}
        self._outcomes: list[Outcome] = []
        self._addresses: dict[str, _Address] = {}
        self._loads: list[int] = []
        error = plan.runner_clock_error
        self._runners = [
            _Runner(self._uuid(), f"runner {number}", self._world.uniform(-error, error))
            for number in range(plan.runners)
        ]
        self._runners.append(_Runner(self._uuid(), "old runner", 0.0, disabled=True))
        first = self._world.expovariate(1 / plan.arrivals_every)
        self._after(min(first, plan.arrivals_end), self._arrive)

    # What a simulation asks for

    def advance(self, now: float) -> None:
        """Let everything due by then happen."""
        while self._agenda and self._agenda[0][0] <= now:
            self._now, _, happen = heappop(self._agenda)
            happen()
        self._now = max(self._now, now)

    def next_due(self) -> float | None:
        """When something will happen by itself."""
        return self._agenda[0][0] if self._agenda else None

    def truth(self) -> list[Outcome]:
        """Every end of every run, in the order in which they came."""
        return list(self._outcomes)

    def open_ids(self) -> set[str]:
        """The workflows that have not ended and are not deleted."""
        return {each.id for each in self._workflows.values() if each.open}

    def refused_by_limit(self, client: str) -> int:
        """How many requests of this address got 429."""
        return self._addresses[client].refusals if client in self._addresses else 0

    def requests_in(self, client: str) -> list[float]:
        """When the requests of this address came, the refused ones among them."""
        return list(self._addresses[client].arrivals) if client in self._addresses else []

    def quiet(self, now: float) -> None:
        """Fair weather from now on: no faults, no lag, nothing done to what has ended."""
        self.advance(now)
        self.fair = True

    def luck(self, random: Random, chance: float) -> bool:
        """Whether a fault with this chance strikes; the draw is made in fair weather too."""
        return random.random() < chance and not self.fair

    def request(
        self, now: float, method: str, target: str, headers: Mapping[str, str], client: str
    ) -> Response:
        """Answer one request."""
        self.advance(now)
        random, plan = self._weather, self.plan
        latency = random.uniform(0.02, 0.3)
        if self.luck(random, plan.slow_answers):
            latency = random.uniform(4.0, 45.0)
        answer = self._at_edge(now, client) or self._authorized(now, headers)
        if answer is None:
            answer = self._routed(now + latency, method, target)
        answer.latency = latency
        given = [("Server", "cloudflare"), *answer.headers]
        if plan.date_header:
            given.append(("Date", self._http_date(now)))
        if answer.stream is None:
            given.append(("Content-Length", str(len(answer.body))))
        answer.headers = [
            (name.lower() if plan.lower_headers else name, value) for name, value in given
        ]
        return answer

    # How workflows live

    def _uuid(self) -> str:
        return str(UUID(int=self._world.getrandbits(128), version=4))

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._events += 1
        heappush(self._agenda, (self._now + seconds, self._events, happen))

    def _arrive(self) -> None:
        world, plan = self._world, self.plan
        name = world.choice(NAMES) + world.choice(("", f" {world.randrange(1000)}"))
        tags = tuple(world.sample(TAGS, world.randrange(4)))
        state = _State(self._now, name[:200], tags, runner=world.randrange(plan.runners))
        gone = plan.no_created != "never" and world.random() < 0.15
        stale = plan.no_updated != "never" and world.random() < 0.15
        graph = world.randrange(plan.graph_bytes)
        workflow = _Workflow(self._uuid(), self._now, [state], gone, stale, graph)
        self._workflows[workflow.id] = workflow
        self._run(workflow)
        if world.random() < plan.edits:
            self._after(world.expovariate(1 / 120), partial(self._edit, workflow))
        if world.random() < plan.deletions_before_end:
            self._after(world.expovariate(1 / 20), partial(self._delete, workflow))
        pause = world.expovariate(1 / plan.arrivals_every) if world.random() < 0.85 else 0.0
        if self._now + pause < plan.arrivals_end:
            self._after(pause, self._arrive)

    def _run(self, workflow: _Workflow) -> None:
        world, run = self._world, workflow.state.run
        end = world.choices(("completed", "failed", "cancelled", "invalid"), (70, 15, 10, 5))[0]
        early = world.random() < 0.3
        upload, wait = world.expovariate(1 / 3), world.expovariate(1 / 1.5)
        length = world.lognormvariate(0, 0.8) * self.plan.run_seconds
        if end == "invalid":
            self._after(upload, partial(self._settle, workflow, run, end))
            return
        if early and end != "completed":
            moment = world.uniform(0, upload + wait + length)
            self._after(moment, partial(self._settle, workflow, run, end))
        self._after(upload, partial(self._upload, workflow, run))
        self._after(upload + wait, partial(self._enqueue, workflow, run, length, end))

    def _change(self, workflow: _Workflow, **changes: Any) -> None:
        workflow.history.append(replace(workflow.state, at=self._now, **changes))

    def _upload(self, workflow: _Workflow, run: int) -> None:
        if workflow.open and workflow.state.run == run:
            self._change(workflow, status="uploaded")

    def _enqueue(self, workflow: _Workflow, run: int, length: float, end: str) -> None:
        if workflow.open and workflow.state.run == run:
            runner = self._runners[workflow.state.runner]
            self._change(workflow, status="queued")
            runner.queue.append((workflow.id, partial(self._start, workflow, run, length, end)))
            runner.note(self._now)
            self._next(runner)

    def _next(self, runner: _Runner) -> None:
        if runner.busy is None and runner.queue:
            runner.busy, start = runner.queue.pop(0)
            runner.note(self._now)
            start()

    def _start(self, workflow: _Workflow, run: int, length: float, end: str) -> None:
        self._change(workflow, status="running", started=self._now, prompt_id=self._uuid())
        self._after(length, partial(self._settle, workflow, run, end))

    def _release(self, workflow: _Workflow) -> None:
        runner = self._runners[workflow.state.runner]
        if runner.busy == workflow.id:
            runner.busy = None
        runner.queue = [each for each in runner.queue if each[0] != workflow.id]
        runner.note(self._now)
        self._next(runner)

    def _settle(self, workflow: _Workflow, run: int, end: str) -> None:
        if not workflow.open or workflow.state.run != run:
            return
        world, plan, cause = self._world, self.plan, None
        if end == "failed":
            message = f"cannot read /home/ann/in/{world.randrange(100)}.png: prompt 'a fox, 8k'\n"
            cause = (world.choice(NODE_TYPES), world.choice(EXCEPTIONS), message)
        told = world.random() >= plan.cause_null
        outputs = world.randint(1, plan.most_outputs) if end == "completed" else 0
        self._change(
            workflow, status=end, ended=self._now, cause=cause, cause_told=told, outputs=outputs
        )
        state, digits = workflow.state, plan.list_digits
        started_at, completed_at = self._run_stamps(state, self._now + plan.late_completed, digits)
        self._outcomes.append(
            Outcome(
                id=workflow.id,
                run=run,
                status=end,
                created=workflow.created,
                started=state.started,
                ended=self._now,
                node_type=cause[0] if cause else None,
                exception_type=cause[1] if cause else None,
                created_at=self.stamp(workflow.created, digits),
                started_at=started_at,
                completed_at=completed_at,
            )
        )
        self._release(workflow)
        if world.random() < plan.reruns:
            self._after(world.expovariate(1 / 60), partial(self._again, workflow, run))
        if world.random() < plan.deletions:
            self._after(world.expovariate(1 / 90), partial(self._delete, workflow))

    def _again(self, workflow: _Workflow, run: int) -> None:
        if self.fair or workflow.state.deleted or workflow.state.run != run:
            return
        fresh = _State(self._now, workflow.state.name, workflow.state.tags, workflow.state.runner)
        workflow.history.append(replace(fresh, run=run + 1))
        self._run(workflow)

    def _delete(self, workflow: _Workflow) -> None:
        if not self.fair and not workflow.state.deleted:
            self._change(workflow, deleted=True)
            self._release(workflow)

    def _edit(self, workflow: _Workflow) -> None:
        if not self.fair and not workflow.state.deleted:
            tags = tuple(self._world.sample(TAGS, self._world.randrange(4)))
            self._change(workflow, name=f"edited {self._world.randrange(100)}", tags=tags)

    # What stands before the service

    def _at_edge(self, now: float, client: str) -> Response | None:
        plan, random = self.plan, self._weather
        address = self._addresses.setdefault(client, _Address())
        address.arrivals.append(now)
        if now < address.refused_until:
            if plan.refusals_prolong:
                address.refused_until = now + COOLDOWN
            return self._too_many(now, address)
        window = now // WINDOW
        address.counted = [
            each
            for each in address.counted
            if (each // WINDOW == window if plan.fixed_window else each > now - WINDOW)
        ]
        if len(address.counted) + self._load(now) >= LIMIT:
            address.refused_until = now + COOLDOWN
            return self._too_many(now, address)
        address.counted.append(now)
        if self.luck(random, plan.edge_refusals):
            return self._html(403, "Sorry, you have been blocked")
        out = plan.outage is not None and plan.outage[0] <= now < plan.outage[1]
        if self.luck(random, 1.0 if out else plan.errors):
            status = random.choice((500, 502, 503, 503, 504, 520))
            if random.random() < 0.5:
                return self._html(status, "Something went wrong")
            return self._error(status, "Try again later")
        return None

    def _load(self, now: float) -> int:
        """What others at the same address asked in this window."""
        slot = int(now // WINDOW)
        while len(self._loads) <= slot:
            busy = self._others.random() < 0.2
            self._loads.append(self._others.randint(0, self.plan.neighbours) if busy else 0)
        return 0 if self.fair else self._loads[slot]

    def _too_many(self, now: float, address: _Address) -> Response:
        address.refusals += 1
        answer = self._error(429, "Rate limit exceeded")
        if self.plan.limit_in_html:
            answer = self._html(429, "error code: 1015")
        left = ceil(address.refused_until - now)
        if self.plan.retry_after == "seconds":
            answer.headers.append(("Retry-After", str(left)))
        elif self.plan.retry_after == "date":
            answer.headers.append(("Retry-After", self._http_date(address.refused_until + 1)))
        return answer

    def _authorized(self, now: float, headers: Mapping[str, str]) -> Response | None:
        given = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
        kind, _, token = given.partition(" ")
        revoked = self.plan.revoked
        if revoked is not None and revoked[0] <= now < revoked[1] and not self.fair:
            return self._error(401, "Token revoked")
        if kind.lower() != "bearer" or not token.startswith("cfc_"):
            return self._error(401, "Unauthorized")
        return None

    # What the service answers

    def _routed(self, head: float, method: str, target: str) -> Response:
        url = urlsplit(target)
        if method != "GET":
            return self._error(405, "Method not allowed")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        when = self._now - self._lag()
        match url.path.strip("/").split("/"):
            case ["v1", "workflow"]:
                return self._list(query, when)
            case ["v1", "runner"]:
                return self._list_runners(query)
            case ["v1", "workflow", id_, *rest] if rest in ([], ["subscribe"]):
                try:
                    workflow = self._workflows.get(str(UUID(id_)))
                except ValueError:
                    return self._error(400, "id must be a UUID")
                state = workflow.seen(when) if workflow else None
                if workflow is None or state is None:
                    return self._error(404, "Workflow not found")
                if not rest:
                    return self._json(200, self._one(workflow, state, when))
                random = Random(self._weather.getrandbits(64))
                media = "text/event-stream" + ("; charset=utf-8" if self.plan.charset else "")
                headers = [("Content-Type", media), ("Cache-Control", "no-cache")]
                stream = EventStream(self, workflow, random, head, self._now - when)
                return Response(200, headers, b"", 0.0, stream)
        return self._error(404, "Not found")

    def _lag(self) -> float:
        behind = self.luck(self._weather, 0.5)
        return self._weather.uniform(0.5, 1.0) * self.plan.lag * behind

    def _page(self, query: Mapping[str, str]) -> tuple[int, int] | None:
        try:
            page, size = int(query.get("page", "1")), int(query.get("per_page", "10"))
        except ValueError:
            return None
        if page < 1 or size < 1 or (size > 100 and self.plan.above_cap_refused):
            return None
        return page, min(size, self.plan.page_cap)

    def _listed(
        self,
        name: str,
        query: Mapping[str, str],
        rows: Sequence[Callable[[], dict[str, Any]]],
        everything: int,
    ) -> Response:
        asked = self._page(query)
        if asked is None:
            return self._error(400, "page or per_page is out of range")
        page, size = asked
        shown = [row() for row in rows[(page - 1) * size : page * size]]
        if not shown and page > 1 and self.plan.past_end_404:
            return self._error(404, "No such page")
        totals = {"matching": len(rows), "page": len(shown), "everything": everything}
        answer: dict[str, Any] = {name: shown, "total": totals[self.plan.total_counts]}
        if self.plan.unknown_fields:
            answer["next_page"] = page + 1
        return self._json(200, answer)

    def _list(self, query: Mapping[str, str], when: float) -> Response:
        plan = self.plan
        wanted = query.get("status")
        if wanted is not None and wanted not in DOCUMENTED_FILTERS:
            if plan.other_filters == "refused":
                return self._error(400, f"unknown status {wanted}")
            wanted = None if plan.other_filters == "ignored" else wanted
        known = [
            (each, state)
            for each in self._workflows.values()
            if (state := each.seen(when)) is not None
        ]

        def rank(pair: tuple[_Workflow, _State]) -> tuple[float, str]:
            workflow, state = pair
            if plan.order == "updated":
                return state.at, ""
            if plan.order == "second and id":
                return workflow.created // 1, workflow.id
            return workflow.created, ""

        known.sort(key=rank, reverse=True)
        rows = [
            partial(self._row, workflow, state, when)
            for workflow, state in known
            if wanted is None or state.status == wanted
        ]
        return self._listed("workflows", query, rows, len(known))

    def _list_runners(self, query: Mapping[str, str]) -> Response:
        rows = [
            {
                "id": each.id,
                "name": each.name,
                "tags": list(TAGS[:2]),
                "status": "disabled" if each.disabled else "active",
                "endpoint": f"https://runner-{number}.example.com:8188",
                "headers": {"X-Api-Key": f"a secret of the user {number}"},
            }
            for number, each in enumerate(self._runners)
        ]
        wanted = query.get("status")
        chosen = [row.copy for row in rows if wanted in (None, row["status"])]
        return self._listed("runners", query, chosen, len(rows))

    def _row(self, workflow: _Workflow, state: _State, when: float) -> dict[str, Any]:
        plan = self.plan
        row = self._facts(workflow, state, when, plan.list_digits)
        for name, lacking, how in (
            ("created_at", workflow.no_created, plan.no_created),
            ("updated_at", workflow.no_updated, plan.no_updated),
        ):
            if lacking and how == "absent":
                del row[name]
            elif lacking:
                row[name] = None
        return row

    def _facts(
        self, workflow: _Workflow, state: _State, when: float, digits: int
    ) -> dict[str, Any]:
        started_at, completed_at = self._run_stamps(state, when, digits)
        facts: dict[str, Any] = {
            "id": workflow.id,
            "name": state.name,
            "status": self._status(state),
            "tags": None if self.plan.no_tags_null and not state.tags else list(state.tags),
            "created_at": self.stamp(workflow.created, digits),
            "updated_at": self.stamp(state.at, digits),
            "started_at": started_at,
            "completed_at": completed_at,
        }
        if self.plan.unknown_fields:
            facts["priority"] = {"level": 0}
        return facts

    def _one(self, workflow: _Workflow, state: _State, when: float) -> dict[str, Any]:
        cause = state.cause if state.cause and state.cause_told else (None, None, None)
        number = "17" if cause[0] else None
        graph: Any = {"1": {"class_type": NODE_TYPES[0], "inputs": {"text": "w" * workflow.graph}}}
        return self._facts(workflow, state, when, self.plan.one_digits) | {
            "prompt_id": state.prompt_id,
            "queue_number": self._position(workflow, state, when),
            "error_node": number if self.plan.error_node_is_number else cause[0],
            "exception_type": cause[1],
            "exception_message": cause[2],
            "user_runner_id": self._runners[state.runner].id,
            "managed_runner_id": None,
            "workflow_json": json.dumps(graph) if self.plan.graph_as_text else graph,
        }

    def snapshot(self, workflow: _Workflow, state: _State, when: float) -> dict[str, Any]:
        """What a stream tells of a workflow."""
        plan = self.plan
        started_at, completed_at = self._run_stamps(state, when, plan.stream_digits)
        outputs = [
            {
                "id": f"output-{number}",
                "workflow_id": workflow.id,
                "src": f"https://storage.comfycontrol.app/outputs/{workflow.id}/{number}?sig=secret",
            }
            for number in range(state.outputs)
        ]
        cause = None
        if state.cause and state.cause_told:
            names = ("node_type", "exception_type", "exception_message")
            cause = dict(zip(names, state.cause, strict=True))
        told: dict[str, Any] = {
            "status": self._status(state),
            "prompt": {"prompt_id": state.prompt_id} if state.prompt_id else None,
            "queue_number": self._position(workflow, state, when),
            "outputs": None if plan.no_outputs_null and not outputs else outputs,
            "cause": cause,
            "started_at": started_at,
            "completed_at": completed_at,
        }
        if plan.unknown_fields:
            told["progress"] = {"node": NODE_TYPES[-1], "share": 0.5}
        if plan.omit_nulls:
            told = {name: value for name, value in told.items() if value is not None}
        return told

    def _position(self, workflow: _Workflow, state: _State, when: float) -> int | None:
        if state.status == "running":
            return self.plan.running_position
        position = self._runners[state.runner].position(workflow.id, when)
        if state.status != "queued" or position is None:
            return None
        return position + self.plan.first_position

    def _status(self, state: _State) -> str:
        case = self.plan.status_case
        return state.status if case == "lower" else str(getattr(state.status, case)())

    def _run_stamps(self, state: _State, when: float, digits: int) -> tuple[str | None, str | None]:
        plan = self.plan
        error = self._runners[state.runner].clock_error
        if state.started is None:
            error = 0.0
        shown = state.ended is not None and when >= state.ended + plan.late_completed
        if state.started is None and not plan.completed_without_run:
            shown = False
        return (
            None if state.started is None else self.stamp(state.started + error, digits),
            self.stamp(state.ended + error, digits) if shown and state.ended is not None else None,
        )

    def stamp(self, moment: float, digits: int) -> str:
        """A moment in ISO 8601, by the service's own clock."""
        size = 10 ** (6 - digits)
        micros = round((moment + self.plan.clock_error) * 1_000_000)
        micros = (micros + (size // 2 if self.plan.rounds else 0)) // size * size
        text = _written(micros)
        return (text[: 20 + digits] if digits else text[:19]) + self.plan.zone

    def dumps(self, payload: Any, indent: int | None = None) -> str:
        """JSON in this service's spelling."""
        spaced = self.plan.spaced_json or indent is not None
        separators = (", ", ": ") if spaced else (",", ":")
        return json.dumps(
            payload, ensure_ascii=self.plan.ascii_only, separators=separators, indent=indent
        )

    def _http_date(self, moment: float) -> str:
        wall = EPOCH + timedelta(seconds=moment + self.plan.clock_error)
        return format_datetime(wall, usegmt=True)

    def _json(self, status: int, payload: Any) -> Response:
        body = self.dumps(payload).encode()
        return Response(status, [("Content-Type", "application/json")], body, 0.0)

    def _error(self, status: int, message: str) -> Response:
        return self._json(status, {"status": status, "message": message})

    def _html(self, status: int, message: str) -> Response:
        body = f"<!DOCTYPE html><html><title>{message}</title><h1>{status}</h1></html>\n"
        return Response(status, [("Content-Type", "text/html")], body.encode(), 0.0)


@lru_cache(maxsize=4096)  # a list that is read again shows mostly the same stamps
def _written(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%f")
