"""Follows one workflow's stream: connect, read, reconnect, end."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import LiveStream, ServiceError, Stream
from exporter.following.access import AccountAccess
from exporter.following.ending import (
    Next,
    StreamLife,
    after_stream,
    reason_of,
    reason_of_refusal,
)
from exporter.following.reading import StreamReading, observed
from exporter.following.threads import NoThreadError
from exporter.interfaces.observations import Moment, Observation, WorkflowRegister
from exporter.interfaces.telemetry import StreamEnd, Telemetry
from exporter.retrying import Backoff
from exporter.worker import StoppedError

log = logging.getLogger(__name__)


class Follower:
    """Follows one workflow in its own task until it settles, is dropped, or is stopped.

    Args:
        access: the account's way to the service.
        register: takes the observations.
        telemetry: is notified of streams and snapshots.
        workflow_id: the workflow to follow.
        priority: the priority of its first stream.
        now: returns the time of both clocks (wall and monotonic).
        backoff: the wait after failed requests.
        on_end: called when this follower has ended.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        register: WorkflowRegister,
        telemetry: Telemetry,
        workflow_id: str,
        *,
        priority: Priority,
        now: Callable[[], Moment],
        backoff: Backoff,
        on_end: Callable[["Follower"], None],
    ) -> None:
        self.workflow_id: Final = workflow_id
        self.priority: Final = priority
        self.opened_at: float = -inf
        """Monotonic time at which its latest stream was opened."""
        self.retry_at: float | None = None
        """Monotonic time until which it waits after a failure; None: it does not wait."""
        self.waits_for_first_turn = True
        """Whether no request was sent yet, so that ending it now costs nothing."""
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._now = now
        self._backoff = backoff
        self._on_end = on_end
        self.lacks_thread = False
        """Whether it ended because no thread could be started for its request."""
        self.task: asyncio.Task[None] | None = None
        """Its task, once it was started."""
        self.streaming = False
        """Whether its stream is open now."""

    def start(self) -> None:
        """Start the task."""
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.task.add_done_callback(lambda _: self._on_end(self))

    def stop(self) -> None:
        """Ask it to end soon, without waiting for it."""
        # A second cancellation would interrupt its clean-up.
        if self.task is not None and not self.task.cancelling():
            self.task.cancel()

    async def _run(self) -> None:
        try:
            await self._follow()
        except StoppedError:
            pass
        except NoThreadError:
            self.lacks_thread = True
        except Exception as error:  # noqa: BLE001 - a bug must not end the others
            self._log_fault(error)

    async def _follow(self) -> None:
        priority = self.priority
        while True:
            then = await self._one_attempt(priority)
            if then.action in ("done", "drop"):
                return
            if then.action == "back_off":
                seconds = self._backoff.failed(then.at_least)
                self.retry_at = self._now().monotonic + seconds
                await asyncio.sleep(seconds)
                self.retry_at = None
            priority = Priority.RECONNECT

    async def _one_attempt(self, priority: Priority) -> Next:
        try:
            return await self._one_stream(priority)
        except (StoppedError, NoThreadError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not end the following
            self._log_fault(error)
            # If the follower ended here, it would be restarted and send a request immediately.
            return Next("back_off")

    async def _one_stream(self, priority: Priority) -> Next:
        try:
            opened = await self._access.ask(
                priority,
                lambda call: self._access.client.subscribe(self.workflow_id, call=call),
                still_wanted=self._turn_came,
                discard=Stream.close,
            )
        except ServiceError as error:
            return await self._refused(error)
        self._access.refusals.told(self.workflow_id)
        self.opened_at = self._now().monotonic
        self.streaming = True
        stream: LiveStream | None = None
        try:
            stream = LiveStream(opened)
            reason, seconds = await self._read(stream)
        except asyncio.CancelledError:
            seconds = self._now().monotonic - self.opened_at
            self._telemetry.stream_ended(self._account, "shutdown", self.workflow_id, seconds)
            raise
        finally:
            self.streaming = False
            (opened if stream is None else stream).close()
        self._telemetry.stream_ended(self._account, reason, self.workflow_id, seconds)
        if reason not in ("finished", "shutdown"):
            log.debug("stream ended", extra=self._marks(reason=reason, seconds=round(seconds, 1)))
        return after_stream(reason)

    async def _read(self, stream: LiveStream) -> tuple[StreamEnd, float]:
        settled = False
        began = self._now().monotonic
        reading = StreamReading(self._access, self._telemetry, self.workflow_id, self._now)
        reading.is_open = partial(self._register.is_open, self._account, self.workflow_id)
        stream.is_news = reading.is_news
        try:
            async for event in stream:
                if not await self._tell(reading.take(event)):
                    settled = True
                    break
        finally:
            for seen in reading.untold():
                self._register.observe(seen)
        seconds = self._now().monotonic - began
        if reading.updates:
            self._backoff.worked(seconds)
        life = StreamLife(
            ending=stream.ending,
            settled=settled,
            updates=reading.updates,
            malformed=reading.malformed,
            seconds=seconds,
            stopped=False,
        )
        return reason_of(life), seconds

    async def _tell(self, observations: Iterable[Observation | None]) -> bool:
        """Report observations; return whether more are wanted after the last one."""
        is_wanted = True
        for seen in observations:
            if seen is not None:
                is_wanted = await observed(seen, self._register, self._access)
        return is_wanted

    async def _refused(self, error: ServiceError) -> Next:
        self._telemetry.stream_ended(self._account, reason_of_refusal(error), self.workflow_id)
        log.debug("no stream", extra=self._marks(code=error.code, reason=str(error)))
        return await self._access.refused(self._register, self.workflow_id, error, self._now())

    def _log_fault(self, error: Exception) -> None:
        # Only the type is logged: the text could contain what the service sent.
        log.error("following failed", extra=self._marks(error=type(error).__name__))

    def _turn_came(self) -> bool:
        self.waits_for_first_turn = False
        return self._is_open()

    def _is_open(self) -> bool:
        return self._register.is_open(self._account, self.workflow_id)

    def _marks(self, **more: object) -> dict[str, object]:
        return {"account": self._account, "workflow_id": self.workflow_id, **more}
