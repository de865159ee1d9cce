"""One workflow's stream: connect, read, reconnect, end."""

import logging
import threading
from collections.abc import Callable
from math import inf
from typing import Final

from exporter.comfycontrol import (
    Call,
    MalformedReading,
    NewSnapshot,
    NotFound,
    ServiceError,
    Snapshot,
    Stream,
)
from exporter.comfycontrol.window import Purpose
from exporter.following.access import AccountAccess
from exporter.following.backoff import Backoff
from exporter.following.ending import (
    Next,
    StreamLife,
    after_refusal,
    after_stream,
    reason_of,
    reason_of_refusal,
)
from exporter.following.stop import Stop, Stopped
from exporter.following.telemetry import StreamEnd, Telemetry
from exporter.observations import FailureCause, GivenUp, Moment, Observation, WorkflowRegister

log = logging.getLogger(__name__)


class Follower:
    """Follows one workflow in a thread of its own until it settles, is given up, or is stopped.

    One that asks for a cause tries once: whether and when to try again is for whoever sees all
    the causes that are owed.

    Args:
        access: the account's way to the service.
        register: takes the observations.
        telemetry: is told of streams and snapshots.
        workflow_id: whom to follow.
        purpose: what its first stream is for (a new stream, or a cause that is owed).
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
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._now = now
        self._backoff = Backoff(random)
        self._on_end = on_end
        self._stop = Stop()
        self._not_found_since: float | None = None
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
                if purpose is Purpose.CAUSE:
                    return
                self._stop.sleep(max(self._backoff.failed(), then.at_least))
            if purpose is not Purpose.CAUSE:
                purpose = Purpose.RECONNECT

    def _one_attempt(self, purpose: Purpose) -> Next:
        try:
            then = self._one_stream(purpose)
            if then.drop_reason is not None:
                self._register.give_up(
                    GivenUp(self._account, self.workflow_id, then.drop_reason, self._now())
                )
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
        return then

    def _one_stream(self, purpose: Purpose) -> Next:
        call: Call | None = None

        def subscribe(new_call: Call) -> Stream:
            nonlocal call
            call = new_call
            return self._access.client.subscribe(self.workflow_id, call=new_call)

        try:
            stream = self._access.ask(purpose, self._stop, subscribe, still_wanted=self._is_wanted)
        except ServiceError as error:
            return self._refused(error)
        assert call is not None  # noqa: S101 - for the type checker: the request was made
        self._not_found_since = None
        self.opened_at = self._now().monotonic
        self._streaming = True
        try:
            with self._stop.interrupting(call.abort):
                reason, seconds = self._read(stream)
        finally:
            self._streaming = False
            stream.close()
        self._telemetry.stream_ended(self._account, reason)
        if reason not in ("finished", "shutdown"):
            log.debug("stream ended", extra=self._marks(reason=reason, seconds=round(seconds, 1)))
        return after_stream(reason)

    def _read(self, stream: Stream) -> tuple[StreamEnd, float]:
        settled = False
        updates = malformed = 0
        began = self._now().monotonic
        for reading in stream:
            if isinstance(reading, MalformedReading):
                malformed += 1
                self._telemetry.snapshot_read(self._account, "malformed")
                continue
            updates += 1
            if isinstance(reading, NewSnapshot):
                self._telemetry.snapshot_read(self._account, "new")
                self._tell_malformed_fields(reading.malformed_fields)
            else:
                self._telemetry.snapshot_read(self._account, "repeated")
            wanted = self._register.observe(self._observation(reading.snapshot))
            if not wanted or (self.purpose is Purpose.CAUSE and self._is_open()):
                # Settled; or asked for a cause and found it running again, which is the affair
                # of another follower.
                settled = True
                break
        seconds = self._now().monotonic - began
        if updates:
            self._backoff.worked(seconds)
        life = StreamLife(
            ending=stream.ending,
            settled=settled,
            updates=updates,
            malformed=malformed,
            seconds=seconds,
            stopped=self._stop.asked,
        )
        return reason_of(life), seconds

    def _tell_malformed_fields(self, fields: tuple[str, ...]) -> None:
        if fields:
            self._telemetry.snapshot_read(self._account, "malformed")
            log.debug("snapshot with malformed fields", extra=self._marks(fields=",".join(fields)))

    def _refused(self, error: ServiceError) -> Next:
        self._telemetry.stream_ended(self._account, reason_of_refusal(error))
        now = self._now().monotonic
        if isinstance(error, NotFound):
            since = self._not_found_since = (
                now if self._not_found_since is None else self._not_found_since
            )
        else:
            since = now
        log.debug("no stream", extra=self._marks(code=error.code, reason=str(error)))
        # What has failed did exist: asking for its cause is never a moment too early.
        return after_refusal(error, inf if self.purpose is Purpose.CAUSE else now - since)

    def _is_wanted(self) -> bool:
        # Its turn may have come minutes later, when the list has long shown the end, or when
        # the cause has been told or forgiven.
        if self.purpose is Purpose.CAUSE:
            return self.workflow_id in self._register.causes_owed(self._account)
        return self._is_open()

    def _is_open(self) -> bool:
        return self._register.is_open(self._account, self.workflow_id)

    def _observation(self, snapshot: Snapshot) -> Observation:
        cause = snapshot.cause
        return Observation(
            account=self._account,
            workflow_id=self.workflow_id,
            via="stream",
            at=self._now(),
            status=snapshot.status,
            queue_position=snapshot.queue_number,
            started_at=snapshot.started_at,
            completed_at=snapshot.completed_at,
            cause=None if cause is None else FailureCause(cause.node_type, cause.exception_type),
            outputs=snapshot.outputs,
        )

    def _marks(self, **more: object) -> dict[str, object]:
        return {"account": self._account, "workflow_id": self.workflow_id, **more}
