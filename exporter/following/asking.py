"""Asks for one workflow, once: by a single request, or by the beginning of its stream."""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import Call, LiveStream, ServiceError, Stream, WorkflowDetail
from exporter.following.access import AccountAccess, NotWantedError
from exporter.following.ending import StreamLife, reason_of, reason_of_refusal, refused_because
from exporter.following.reading import StreamReading, observation_of_detail, observed
from exporter.interfaces.observations import Moment, WorkflowRegister
from exporter.interfaces.telemetry import Telemetry

Way = Literal["stream", "detail"]
"""`stream`: `GET /v1/workflow/{id}/subscribe`; `detail`: `GET /v1/workflow/{id}`. Both show the
status, the stamps and the cause of one workflow. If one cannot show them, the other may."""


class Asking:
    """Sends one account's requests about single workflows; for any number of tasks.

    Args:
        access: the account's way to the service.
        register: takes the observations.
        telemetry: is notified of streams and snapshots.
        now: returns the time of both clocks (wall and monotonic).
    """

    def __init__(
        self,
        access: AccountAccess,
        register: WorkflowRegister,
        telemetry: Telemetry,
        now: Callable[[], Moment],
    ) -> None:
        self.account: Final = access.account
        self._access = access
        self._register = register
        self._telemetry = telemetry
        self._now = now

    async def ask(
        self,
        workflow_id: str,
        way: Way,
        priority: Priority,
        *,
        wanted: Callable[[], bool],
        at_most: float | None = None,
    ) -> bool:
        """Send the request, and pass the answer on as observations.

        Return whether there was a complete answer: not if a stream had to be broken off, because it
        may be a lagging replica's. A refusal of this id is judged by the rule for all
        refusals, and may drop it.

        Args:
            workflow_id: the workflow to ask for.
            way: which endpoint. A stream is closed as soon as the answer is no longer wanted.
            priority: its priority in the request budget.
            wanted: returns whether the answer is still wanted; called when the turn has come, and
                after each observation of a stream.
            at_most: seconds from the request to the end of its answer; after that it is broken off.

        Raises:
            StoppedError: the process is ending.
            ServiceError: there was no answer about this id.
        """
        if not wanted():
            return False
        try:
            if way == "detail":
                await self._by_detail(workflow_id, priority, wanted, at_most)
                return True
            return await self._by_stream(workflow_id, priority, wanted, at_most)
        except NotWantedError:
            return False
        except ServiceError as error:
            await self._access.refused(self._register, workflow_id, error, self._now())
            if refused_because(error) is not None:
                return False
            raise

    async def _by_detail(
        self,
        workflow_id: str,
        priority: Priority,
        wanted: Callable[[], bool],
        at_most: float | None,
    ) -> None:
        def get(call: Call) -> WorkflowDetail:
            return self._access.client.get_workflow(workflow_id, call=call)

        detail = await self._access.ask(
            priority, get, still_wanted=wanted, about_one=True, at_most=at_most
        )
        self._access.refusals.told(workflow_id)
        seen = observation_of_detail(
            self.account, workflow_id, detail, self._now(), self._access.service_wall()
        )
        await observed(seen, self._register, self._access)

    async def _by_stream(
        self,
        workflow_id: str,
        priority: Priority,
        wanted: Callable[[], bool],
        at_most: float | None,
    ) -> bool:
        clock = asyncio.get_running_loop().time
        begun = clock()

        def turn_came() -> bool:
            nonlocal begun
            begun = clock()
            return wanted()

        def subscribe(call: Call) -> Stream:
            return self._access.client.subscribe(workflow_id, call=call)

        try:
            opened = await self._access.ask(
                priority,
                subscribe,
                still_wanted=turn_came,
                about_one=True,
                at_most=at_most,
                discard=Stream.close,
            )
        except ServiceError as error:
            self._telemetry.stream_ended(self.account, reason_of_refusal(error), workflow_id)
            raise
        self._access.refusals.told(workflow_id)
        return await self._read(
            LiveStream(opened), workflow_id, wanted, None if at_most is None else begun + at_most
        )

    async def _read(
        self,
        stream: LiveStream,
        workflow_id: str,
        wanted: Callable[[], bool],
        until: float | None,
    ) -> bool:
        """Read until the answer is no longer wanted; return whether there was a complete one."""
        began = self._now().monotonic
        reading = StreamReading(self._access, self._telemetry, workflow_id, self._now)
        told, was_broken_off = False, True
        try:
            async with asyncio.timeout_at(until):
                told = await self._read_on(stream, reading, wanted)
            was_broken_off = False
        except TimeoutError:
            pass
        finally:
            stream.close()
            life = StreamLife(
                ending=stream.ending,
                settled=told,
                updates=reading.updates,
                malformed=reading.malformed,
                seconds=self._now().monotonic - began,
                stopped=was_broken_off,
            )
            self._telemetry.stream_ended(self.account, reason_of(life), workflow_id, life.seconds)
        return reading.updates > 0 and not was_broken_off

    async def _read_on(
        self, stream: LiveStream, reading: StreamReading, wanted: Callable[[], bool]
    ) -> bool:
        """Read until nothing more is wanted (return True), or nothing more can be read."""
        async for event in stream:
            for seen in reading.take(event):
                if seen is None:
                    # The next snapshot would not be readable either; the other endpoint may be.
                    return False
                await observed(seen, self._register, self._access)
                if not wanted():
                    return True
        return False
