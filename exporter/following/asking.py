"""Asks for one workflow, once: by a single request, or by the beginning of its stream."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final, Literal

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import Call, ServiceError, Stream, WorkflowDetail
from exporter.following.access import AccountAccess
from exporter.following.ending import StreamLife, reason_of, reason_of_refusal, refused_because
from exporter.following.reading import StreamReading, observation_of_detail
from exporter.interfaces.observations import Moment, WorkflowRegister
from exporter.interfaces.telemetry import Telemetry
from exporter.worker import Cancellation, StoppedError

Way = Literal["stream", "detail"]
"""`stream`: `GET /v1/workflow/{id}/subscribe`; `detail`: `GET /v1/workflow/{id}`. Both show the
status, the stamps and the cause of one workflow. If one cannot show them, the other may."""


class Asking:
    """Sends one account's requests about single workflows; for any number of threads.

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

    def ask(  # noqa: PLR0913 - all but four by name
        self,
        workflow_id: str,
        way: Way,
        priority: Priority,
        stop: Cancellation,
        *,
        wanted: Callable[[], bool],
        at_most: float | None = None,
    ) -> bool:
        """Send the request, and pass the answer on as observations.

        Return whether there was an answer. A refusal of this id is judged by the rule for all
        refusals, and may drop it.

        Args:
            workflow_id: the workflow to ask for.
            way: which endpoint. A stream is closed as soon as the answer is no longer wanted.
            priority: its priority in the request budget.
            stop: ends the wait, and the request.
            wanted: returns whether the answer is still wanted; called when the turn has come, and
                after each observation of a stream.
            at_most: seconds from the request to the end of its answer; after that it is broken off.

        Raises:
            StoppedError: this part was asked to end meanwhile.
            ServiceError: there was no answer about this id.
        """
        if not wanted():
            return False
        try:
            if way == "detail":
                self._by_detail(workflow_id, priority, stop, wanted, at_most)
                return True
            return self._by_stream(workflow_id, priority, stop, wanted, at_most)
        except StoppedError:
            if stop.is_requested:
                raise
            return False  # when its turn came, the answer was no longer wanted
        except ServiceError as error:
            self._access.refusals.judge(
                self._register, self.account, workflow_id, error, self._now()
            )
            if refused_because(error) is not None:
                return False
            raise

    def _by_detail(
        self,
        workflow_id: str,
        priority: Priority,
        stop: Cancellation,
        wanted: Callable[[], bool],
        at_most: float | None,
    ) -> None:
        def get(call: Call) -> WorkflowDetail:
            with _breaking_off(call, at_most):
                return self._access.client.get_workflow(workflow_id, call=call)

        detail = self._access.ask(priority, stop, get, still_wanted=wanted, about_one=True)
        self._access.refusals.told(workflow_id)
        self._register.observe(
            observation_of_detail(
                self.account, workflow_id, detail, self._now(), self._access.service_wall()
            )
        )

    def _by_stream(
        self,
        workflow_id: str,
        priority: Priority,
        stop: Cancellation,
        wanted: Callable[[], bool],
        at_most: float | None,
    ) -> bool:
        call: Call | None = None
        with ExitStack() as ends:

            def subscribe(new_call: Call) -> Stream:
                nonlocal call
                call = new_call
                ends.enter_context(_breaking_off(new_call, at_most))
                return self._access.client.subscribe(workflow_id, call=new_call)

            try:
                stream = self._access.ask(
                    priority, stop, subscribe, still_wanted=wanted, about_one=True
                )
            except ServiceError as error:
                self._telemetry.stream_ended(self.account, reason_of_refusal(error), workflow_id)
                raise
            ends.enter_context(closing(stream))
            assert call is not None  # noqa: S101 - for the type checker: the request was made
            ends.enter_context(stop.interrupting(call.abort))
            self._access.refusals.told(workflow_id)
            return self._read(stream, workflow_id, stop, wanted)

    def _read(
        self, stream: Stream, workflow_id: str, stop: Cancellation, wanted: Callable[[], bool]
    ) -> bool:
        """Read until the answer is no longer wanted; return whether there was one."""
        began = self._now().monotonic
        reading = StreamReading(stream, self._access, self._telemetry, workflow_id, self._now)
        told = False
        for seen in reading:
            if seen is None:
                break  # the next snapshot would not be readable either; the other endpoint may be
            self._register.observe(seen)
            if not wanted():
                told = True
                break
        life = StreamLife(
            ending=stream.ending,
            settled=told,
            updates=reading.updates,
            malformed=reading.malformed,
            seconds=self._now().monotonic - began,
            stopped=stop.is_requested,
        )
        self._telemetry.stream_ended(self.account, reason_of(life), workflow_id, life.seconds)
        return reading.updates > 0


@contextmanager
def _breaking_off(call: Call, seconds: float | None) -> Iterator[None]:
    """Abort the call if the block takes longer than so many seconds; None: never."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, call.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
