"""One workflow's stream: connect, read, reconnect, end."""

import logging
import threading
from collections.abc import Callable
from math import inf
from typing import Final

from exporter.comfycontrol import Call, ServiceError, Stream
from exporter.comfycontrol.window import Purpose
from exporter.following.access import AccountAccess
from exporter.following.backoff import Backoff
from exporter.following.ending import (
    Next,
    StreamLife,
    after_stream,
    reason_of,
    reason_of_refusal,
)
from exporter.following.reading import StreamReading
from exporter.following.stop import Stop, Stopped
from exporter.following.telemetry import StreamEnd, Telemetry
from exporter.observations import Moment, WorkflowRegister

log = logging.getLogger(__name__)


class Follower:
    """Follows one workflow in a thread of its own until it settles, is given up, or is stopped.

    Args:
        access: the account's way to the service.
        register: takes the observations.
        telemetry: is told of streams and snapshots.
        workflow_id: whom to follow.
        purpose: what its first stream is for.
        now: both clocks.
        random: numbers from 0 to 1, for the backoff.
        on_end: called from the follower's thread when it is over.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        register: WorkflowRegister,
        telemetry: Telemetry,
        workflow_id: str,
        *,
        purpose: Purpose,
        now: Callable[[], Moment],
        random: Callable[[], float],
        on_end: Callable[["Follower"], None],
    ) -> None:
        self.workflow_id: Final = workflow_id
        self.purpose: Final = purpose
        self.opened_at: float = -inf
        """Monotonic time at which its latest stream was opened."""
        self.retry_at: float | None = None
        """Monotonic time until which it backs off; None: it does not."""
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._now = now
        self._backoff = Backoff(random)
        self._on_end = on_end
        self._stop = Stop()
        self._streaming = False
        self._thread = threading.Thread(
            target=self._run, name=f"follower {workflow_id}", daemon=True
        )

    @property
    def streaming(self) -> bool:
        """Whether its stream is open now."""
        return self._streaming

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stop.ask()

    def join(self, timeout: float) -> bool:
        """Wait that many seconds for the end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._follow()
        except Stopped:
            pass
        finally:
            self._on_end(self)

    def _follow(self) -> None:
        purpose = self.purpose
        while True:
            then = self._one_attempt(purpose)
            if then.action in ("done", "give_up"):
                return
            if then.action == "back_off":
                seconds = max(self._backoff.failed(), then.at_least)
                self.retry_at = self._now().monotonic + seconds
                self._stop.sleep(seconds)
                self.retry_at = None
            purpose = Purpose.RECONNECT

    def _one_attempt(self, purpose: Purpose) -> Next:
        try:
            return self._one_stream(purpose)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the workflow
            # Only the type: the text could hold what the service sent.
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "following failed",
                extra=self._marks(error=type(error).__name__),
            )
            # Ending here would have it started anew at once, and ask again at once.
            return Next("back_off")

    def _one_stream(self, purpose: Purpose) -> Next:
        call: Call | None = None

        def subscribe(new_call: Call) -> Stream:
            nonlocal call
            call = new_call
            return self._access.client.subscribe(self.workflow_id, call=new_call)

        try:
            stream = self._access.ask(purpose, self._stop, subscribe, still_wanted=self._is_open)
        except ServiceError as error:
            return self._refused(error)
        assert call is not None  # noqa: S101 - for the type checker: the request was made
        self._access.refusals.told(self.workflow_id)
        self.opened_at = self._now().monotonic
        self._streaming = True
        try:
            with self._stop.interrupting(call.abort):
                reason, seconds = self._read(stream)
        finally:
            self._streaming = False
            stream.close()
        self._telemetry.stream_ended(self._account, reason, self.workflow_id, seconds)
        if reason not in ("finished", "shutdown"):
            log.debug("stream ended", extra=self._marks(reason=reason, seconds=round(seconds, 1)))
        return after_stream(reason)

    def _read(self, stream: Stream) -> tuple[StreamEnd, float]:
        settled = False
        began = self._now().monotonic
        reading = StreamReading(stream, self._access, self._telemetry, self.workflow_id, self._now)
        for seen in reading:
            if seen is not None and not self._register.observe(seen):
                settled = True
                break
        seconds = self._now().monotonic - began
        if reading.updates:
            self._backoff.worked(seconds)
        life = StreamLife(
            ending=stream.ending,
            settled=settled,
            updates=reading.updates,
            malformed=reading.malformed,
            seconds=seconds,
            stopped=self._stop.asked,
        )
        return reason_of(life), seconds

    def _refused(self, error: ServiceError) -> Next:
        self._telemetry.stream_ended(self._account, reason_of_refusal(error), self.workflow_id)
        log.debug("no stream", extra=self._marks(code=error.code, reason=str(error)))
        return self._access.refusals.judge(
            self._register, self._account, self.workflow_id, error, self._now()
        )

    def _is_open(self) -> bool:
        return self._register.is_open(self._account, self.workflow_id)

    def _marks(self, **more: object) -> dict[str, object]:
        return {"account": self._account, "workflow_id": self.workflow_id, **more}
