"""The simulator as a program or a test holds it: started, asked, driven and stopped."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from exporter.simulator import order
from exporter.simulator.engine import Engine, Tokens
from exporter.simulator.faults import BaseFault, Fault, parse_faults
from exporter.simulator.handle import WorkflowHandle
from exporter.simulator.server import Server, listen
from exporter.simulator.service import make_app

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from exporter.simulator.scenario import Scenario
    from exporter.simulator.truth import Truth
    from exporter.simulator.workflow import WorkflowTruth


T = TypeVar("T")

_START_SECONDS = 30.0
_CALL_SECONDS = 60.0


class Simulator:
    """A local ComfyControl in a separate thread.

    Every method may be called from any thread, once it is started; what it does is done within
    the simulator's own loop, so that nothing is ever seen half changed.

    Args:
        scenario: what the day is like; see ``load_scenario``.
        seed: the same seed gives the same day; without one it is drawn.
        speed: seconds of the day in one real second.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        certfile: a certificate chain in PEM; with it the simulator speaks TLS.
        keyfile: the certificate's private key in PEM.

    Raises:
        ValueError: a speed that is not a positive number.
    """

    def __init__(  # noqa: PLR0913 (each is an option of the command line, too)
        self,
        scenario: Scenario,
        *,
        seed: int | None = None,
        speed: float = 1.0,
        host: str = "127.0.0.1",
        port: int = 0,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        self.scenario = scenario
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self.speed = speed
        self._host, self._port = host, port
        self._certfile, self._keyfile = certfile, keyfile
        self._tokens = Tokens(scenario, self.seed)
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._problem: BaseException | None = None
        self._changed = threading.Condition()
        self._changes = 0
        self._watchers = 0
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed must be a positive number, not {speed}")

    # --- starting and stopping -----------------------------------------------------------------

    def start(self) -> None:
        """Begin the day, listen, and return when requests are answered.

        Raises:
            OSError: it cannot listen there.
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a simulator starts only once")
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, ready), name="simulator", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise RuntimeError(f"the simulator did not start within {_START_SECONDS:g} s")
        if self._problem is not None:
            raise RuntimeError("the simulator did not start") from self._problem

    def stop(self) -> None:
        """Cut every connection and end; does nothing when it is not running.

        The truth can still be asked for.
        """
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(self._begin_stop)
        thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listener, ready))
        except BaseException as problem:  # noqa: BLE001 (told to anyone who waits for the start)
            self._problem = problem
        finally:
            listener.close()
            self._loop = None
            ready.set()
            self._note_change()

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        engine = Engine(self.scenario, seed=self.seed, speed=self.speed, tokens=self._tokens)
        engine.on_activity = self._note_change
        self._server = Server(
            make_app(engine), ready=ready, certfile=self._certfile, keyfile=self._keyfile
        )
        self._engine, self._loop = engine, asyncio.get_running_loop()
        engine.run_on(self._loop)
        try:
            await self._server.serve(sockets=[listener])
        finally:
            engine.halt()

    def _begin_stop(self) -> None:
        if self._server is not None:
            self._server.end()

    # --- what it is ----------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Its URL, such as ``http://127.0.0.1:4321``, without a final slash."""
        scheme = "https" if self._certfile else "http"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}"

    @property
    def tokens(self) -> dict[str, str]:
        """Each account's bearer token: the first, or the newest where it was rotated."""
        return self._tokens.current

    @property
    def running(self) -> bool:
        """Whether it answers requests."""
        return self._loop is not None

    # --- what happened -------------------------------------------------------------------------

    def truth(self) -> Truth:
        """What it created and how each ended, and what it was asked: one consistent moment."""
        return self._call(lambda engine: engine.truth())

    def wait_until(self, predicate: Callable[[Truth], bool], timeout: float) -> Truth:
        """Wait until something is true, looking again after every change.

        Args:
            predicate: called with the truth, in this thread.
            timeout: real seconds.

        Returns:
            The truth of which it was so.

        Raises:
            TimeoutError: it did not come about in time.
        """
        found: Truth | None = None

        def holds() -> bool:
            nonlocal found
            found = self.truth()
            return predicate(found)

        if not self._wait(holds, timeout) or found is None:
            counts = {} if found is None else found.counts()
            raise TimeoutError(f"not within {timeout:g} s; workflows: {counts}")
        return found

    def wait_for_status(self, identity: str, status: str, timeout: float) -> WorkflowTruth:
        """Wait until a workflow is in a status; cheap, however many there are.

        Raises:
            KeyError: no such workflow.
            TimeoutError: it did not get there in ``timeout`` real seconds.
        """
        handle = self.workflow(identity)
        if not self._wait(lambda: handle.status == status, timeout):
            raise TimeoutError(
                f"workflow {identity} is {handle.status}, not {status}, after {timeout:g} s"
            )
        return handle.truth()

    def _wait(self, holds: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._changed:
            self._watchers += 1
        try:
            while True:
                seen, began = self._changes, time.monotonic()
                if holds():
                    return True
                # The truth of 20,000 workflows takes a tenth of a second of the simulator's own
                # time: it is not to be busy with nothing but being watched.
                time.sleep(min(0.25, 2 * (time.monotonic() - began)))
                with self._changed:
                    left = deadline - time.monotonic()
                    changed = self._changed.wait_for(lambda: self._changes != seen, max(0.0, left))  # noqa: B023
                if not changed:
                    return holds()
        finally:
            with self._changed:
                self._watchers -= 1

    def _note_change(self) -> None:
        self._changes += 1
        if self._watchers:
            with self._changed:
                self._changed.notify_all()

    # --- driving it ----------------------------------------------------------------------------

    def create(self, account: str | None = None, **wanted: Any) -> str:  # noqa: ANN401
        """Create a workflow without a request.

        Args:
            account: whose; the first account's without it.
            wanted: any of ``name``, ``tags``, ``duration`` (seconds of the day, or ``"12s"``),
                ``outcome`` (``completed`` unless said otherwise; None draws it from the scenario),
                ``ends_in`` (the stage in which a failed or cancelled one ends), ``cause`` (a
                mapping of ``node_type``, ``exception_type``, ``exception_message``; None for a
                null cause; drawn without it), ``outputs`` (how many), and ``scripted`` (it stays
                as it is until ``workflow(id).advance``).

        Returns:
            Its id.

        Raises:
            ScenarioError: with one line per mistake.
        """
        wanted = {"account": account, "outcome": "completed", **wanted}
        return self._call(lambda engine: order.create(engine, wanted).id)

    def workflow(self, identity: str) -> WorkflowHandle:
        """A handle on one workflow.

        Raises:
            KeyError: no such workflow.
        """
        self._call(lambda engine: engine.world.workflows[identity])
        return WorkflowHandle(self, identity)

    def pause(self) -> None:
        """Stop arrivals; existing workflows continue."""
        self._call(lambda engine: engine.set_paused(paused=True))

    def resume(self) -> None:
        """Let workflows arrive again."""
        self._call(lambda engine: engine.set_paused(paused=False))

    def set_runner(self, name: str, *, active: bool) -> None:
        """Enable or disable a runner; a disabled one starts nothing, and what runs goes on.

        Raises:
            KeyError: no such runner.
        """
        self._call(lambda engine: engine.set_runner(name, active=active))

    def set_faults(self, *faults: Fault | Mapping[str, Any]) -> None:
        """Put these faults in the place of all others; none at all clears them.

        Args:
            faults: models, or mappings such as ``{"kind": "status", "code": 503, "times": 2}``.

        Raises:
            ScenarioError: with one line per mistake.
        """
        checked = parse_faults(faults)
        self._call(lambda engine: engine.faults.replace(checked))

    def add_faults(self, *faults: Fault | Mapping[str, Any]) -> None:
        """Add faults to those that are set.

        Raises:
            ScenarioError: with one line per mistake.
        """
        checked = parse_faults(faults)
        self._call(lambda engine: engine.faults.replace((*engine.faults.faults, *checked)))

    def faults(self) -> tuple[BaseFault, ...]:
        """The faults that are set, whether or not their time has come."""
        return self._call(lambda engine: engine.faults.faults)

    def revoke_tokens(self, account: str) -> None:
        """Refuse an account's tokens with 401 from now on; open streams go on."""
        self._call(lambda engine: engine.tokens.revoke(account))

    def accept_token(self, account: str, token: str) -> None:
        """Accept one more token for an account; ``tokens`` names it from now on."""
        self._call(lambda engine: engine.tokens.accept(account, token))

    def rotate_token(self, account: str) -> str:
        """Revoke an account's tokens and make a new one.

        Raises:
            KeyError: no such account.
        """
        return self._call(lambda engine: engine.tokens.rotate(account))

    def drop_connections(self) -> int:
        """Reset every open connection, as a crash of the edge does.

        Returns:
            How many there were.
        """
        server = self._server
        return self._call(lambda _engine: server.drop_connections() if server else 0)

    def _call(self, function: Callable[[Engine], T]) -> T:
        engine, loop = self._engine, self._loop
        if engine is None:
            raise RuntimeError("the simulator is not started")
        if loop is None:  # it has ended: the loop is gone, and nothing changes any more
            return function(engine)

        async def within() -> T:
            engine.pump()
            return function(engine)

        return asyncio.run_coroutine_threadsafe(within(), loop).result(_CALL_SECONDS)

    def call(self, function: Callable[[Engine], T]) -> T:
        """Run a function in the simulator's loop, for actions without a method."""
        return self._call(function)
