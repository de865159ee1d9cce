"""The subscribe endpoint: a snapshot at once, then one at every interval, until an end.

Each open stream has one timer and one task that sleeps until the stream ends. A snapshot is written
straight into the connection: rendered once for each change, however many streams read it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import orjson
from starlette.responses import Response

from exporter.simulator.connection import SCOPE_KEY, Connection, chunk
from exporter.simulator.faults import (
    DropFault,
    FramingFault,
    GarbageFault,
    MalformedSnapshotFault,
    SilenceFault,
    StreamFault,
)
from exporter.simulator.framing import OddFraming, plain_event
from exporter.simulator.malformed import SNAPSHOT_VARIANTS, malformed_snapshot
from exporter.simulator.wire import EVENT_STREAM, head
from exporter.simulator.workflow import ServiceStatus

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from exporter.simulator.engine import Engine
    from exporter.simulator.workflow import Workflow

# The service's page names these three. Nothing leads out of `invalid`, yet it is not among them.
_CLOSING = frozenset({ServiceStatus.COMPLETED, ServiceStatus.FAILED, ServiceStatus.CANCELLED})

# A client that reads nothing must not make the simulator grow: it loses snapshots instead.
_MOST_UNSENT = 1024 * 1024

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

End = Literal["whole", "closed"]
"""``whole``: the body is to be ended as HTTP has it; ``closed``: the connection goes or is gone."""


@dataclass(slots=True)
class _Pending:
    """A fault that will happen to this stream, or is happening."""

    number: int
    fault: StreamFault
    threshold: int
    done: int = 0


class StreamResponse(Response):
    """A stream of one workflow's snapshots."""

    media_type = EVENT_STREAM

    def __init__(self, engine: Engine, workflow: Workflow, lag: float = 0.0) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._engine = engine
        self._workflow = workflow
        self._lag = lag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, until it ends."""
        del receive  # the connection tells when the client is gone
        if scope["method"] == "HEAD":
            await send(self._start)
            await send({"type": "http.response.body", "body": b""})
            return
        connection: Connection = scope[SCOPE_KEY]
        subscription = Subscription(
            self._engine,
            self._workflow,
            connection,
            lag=self._lag,
            one_zero=scope["http_version"] == "1.0",
        )
        self._engine.tally.stream_opened()
        try:
            if subscription.chunked:
                await send(self._start)
            else:
                fields = [f"{name.title()}: {value}" for name, value in self.headers.items()]
                date = self._engine.scenario.traits.dates.header()
                connection.write(head(200, *fields, "Connection: close", date=date))
            end = await subscription.run()
        finally:
            self._engine.tally.streams_open -= 1
            self._engine.on_activity()
        if end == "whole" and subscription.chunked:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        connection.close()
        await connection.until_lost()

    @property
    def _start(self) -> dict[str, object]:
        return {"type": "http.response.start", "status": 200, "headers": self.raw_headers}


class Subscription:
    """One open stream.

    Args:
        engine: the simulated service.
        workflow: whose snapshots are sent.
        connection: where to.
        lag: how old what it tells is, in seconds of the day.
        one_zero: the client speaks HTTP/1.0 and so knows no chunks.
    """

    def __init__(
        self,
        engine: Engine,
        workflow: Workflow,
        connection: Connection,
        *,
        lag: float,
        one_zero: bool,
    ) -> None:
        self._engine = engine
        self._lag = lag
        self._workflow = workflow
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[End] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._interval = engine.scenario.streams.interval / engine.clock.speed
        self._due = time.monotonic()
        self._sent = 0
        self._variant = 0
        self._over = False
        """Whether the connection is about to be reset."""
        self._rolled: set[int] = set()
        self._pending: list[_Pending] = []
        self._odd: OddFraming | None = None
        self._roll()
        self.chunked = not one_zero and not any(
            isinstance(each.fault, DropFault) and each.fault.framing == "close"
            for each in self._pending
        )
        """Whether the body goes in chunks; otherwise it ends with the connection."""

    async def run(self) -> End:
        """Send snapshots until the stream ends, no matter who ends it."""
        self._connection.lost.add_done_callback(self._client_left)
        try:
            self._tick()
            return await self._ended
        finally:
            self._connection.lost.remove_done_callback(self._client_left)
            if self._timer is not None:
                self._timer.cancel()

    def _client_left(self, _lost: asyncio.Future[None]) -> None:
        self._end("closed")

    def _end(self, how: End) -> None:
        if not self._ended.done():
            self._ended.set_result(how)

    def _tick(self) -> None:
        self._timer = None
        if self._ended.done():
            return
        self._engine.pump()
        if self._engine.faults.any_of_streams:
            self._roll()
        seen = self._engine.seen(self._workflow.id, self._lag)
        if seen is None:
            self._end("whole")
        elif self._connection.unsent > _MOST_UNSENT or self._struck():
            self._next()
        else:
            self._workflow = seen
            self._send_event(self._engine.reporting.snapshot_json(seen))
            if _closes(seen):
                self._end("whole")
            self._next()

    def _next(self) -> None:
        if self._sent >= self._engine.scenario.streams.max_updates:
            self._end("whole")
        if self._ended.done() or self._over:
            return
        # Ticks keep to their times, but a loop that was late does not make up for what it missed.
        self._due = max(self._due + self._interval, time.monotonic())
        self._timer = self._loop.call_at(
            self._loop.time() + self._due - time.monotonic(), self._tick
        )

    def _send_event(self, data: bytes) -> None:
        if self._odd is None:
            self._write(plain_event(data))
        else:
            for piece in self._odd.pieces(data, first=self._sent == 0):
                self._write(piece)
        self._sent += 1
        self._engine.tally.snapshots_sent += 1
        self._engine.on_activity()

    def _write(self, data: bytes) -> None:
        self._connection.write(chunk(data) if self.chunked else data)

    # --- faults --------------------------------------------------------------------------------

    def _roll(self) -> None:
        """Decide which of the new faults will happen to this stream."""
        plan, engine, workflow = self._engine.faults, self._engine, self._workflow
        for number, fault in plan.of_stream(
            engine.world.now, workflow.account, workflow.id, self._rolled
        ):
            threshold = self._sent + fault.after.draw(plan.dice)
            if isinstance(fault, FramingFault) and self._sent == 0:
                self._odd = OddFraming(fault, plan.dice)
            else:
                self._pending.append(_Pending(number, fault, threshold))

    def _struck(self) -> bool:
        """Apply pending faults.

        Returns:
            Whether this tick is over without a good snapshot; the stream may have ended, too.
        """
        due = [each for each in self._pending if self._sent >= each.threshold]
        return any(self._strike(each) for each in due)

    def _strike(self, pending: _Pending) -> bool:
        fault = pending.fault
        if isinstance(fault, DropFault):
            self._drop(fault)
            return True
        if isinstance(fault, SilenceFault) and self._lasts(pending):
            if fault.comments:
                self._write(b": keep-alive\n\n")
            return True
        if isinstance(fault, MalformedSnapshotFault):
            pending.done += 1
            if pending.done >= fault.count:
                self._pending.remove(pending)
            self._send_malformed(fault)
            return True
        self._pending.remove(pending)
        if isinstance(fault, GarbageFault):
            self._write(self._engine.faults.dice.randbytes(fault.size) + b"\n\n")
        elif isinstance(fault, FramingFault):
            self._odd = OddFraming(fault, self._engine.faults.dice)
        return False

    def _lasts(self, pending: _Pending) -> bool:
        return self._engine.faults.still_holds(pending.number, self._engine.world.now)

    def _send_malformed(self, fault: MalformedSnapshotFault) -> None:
        variant = fault.variant
        if variant == "any":
            variant = SNAPSHOT_VARIANTS[self._variant % len(SNAPSHOT_VARIANTS)]
            self._variant += 1
        good = self._engine.reporting.snapshot_json(self._workflow)
        try:
            bad = malformed_snapshot(variant, good)
        except orjson.JSONDecodeError:
            bad = good  # the trait `broken` has been there first
        self._send_event(bad)

    def _drop(self, fault: DropFault) -> None:
        event = plain_event(self._engine.reporting.snapshot_json(self._workflow))
        if fault.cut == "in_event":
            self._write(event[: len(event) * 2 // 3])
        elif fault.cut == "in_chunk":
            text = chunk(event) if self.chunked else event
            self._connection.write(text[: len(text) // 2])
        if fault.how == "reset":
            # What was written a moment before has to leave first, or the reset swallows it.
            self._over = True
            self._loop.call_later(0.02, self._connection.reset)
        else:
            self._end("whole" if fault.how == "clean" and fault.cut != "in_chunk" else "closed")


def _closes(workflow: Workflow) -> bool:
    return workflow.status in _CLOSING and workflow.closes
