"""The gate of an account: one tries for all, and no request escapes the budget."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from exporter.budget.budget import RequestBudget
from exporter.budget.sliding_window import Limit, Priority
from exporter.comfycontrol import (
    AbortedError,
    BadRequestError,
    Call,
    Client,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.comfycontrol.redirects import MOST_HOPS
from exporter.following.access import AccountAccess
from exporter.following.ending import Answering
from exporter.following.threads import CallThreads
from exporter.retrying import Backoff
from exporter.worker import StoppedError
from tests.running import LoopThread

REFUSED = UnauthorizedError("subscribe: answered with status 401", code="401")


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """An account's access, with everything around it at hand."""

    def __init__(self, *, jitter: float = 0.0, limit: Limit | None = None) -> None:
        self.clock = Clock()
        self.reloads = 0
        self.jitter = jitter
        self.token_shape: str | None = None
        self.reload_result: Callable[[], bool] = lambda: True
        self.budget = RequestBudget(
            "localhost",
            limit or Limit(requests=10_000, reserve=0.0),
            monotonic=self.clock,
            wall=self.clock,
        )
        self.loop = LoopThread()
        self.threads = CallThreads(20, "requests")
        self.access = AccountAccess(
            "studio",
            Client("http://localhost", lambda: "token", max_streams=1, on_request=lambda _: None),
            self.budget,
            self.threads,
            reload_token=self._reload,
            monotonic=self.clock,
            backoff=Backoff(lambda: self.jitter),
            token_shape=lambda: self.token_shape,
        )

    def _reload(self) -> bool:
        self.reloads += 1
        return self.reload_result()

    def begin(
        self,
        request: Callable[[Call], object],
        priority: Priority = Priority.NEW_STREAM,
        **how: Any,
    ) -> "Future[object]":
        """Ask in a task; cancelling the future cancels it."""
        return self.loop.submit(self.access.ask(priority, request, **how))

    def ask(
        self,
        answer: object,
        priority: Priority = Priority.NEW_STREAM,
        *,
        about_one: bool = False,
    ) -> object:
        """Ask for what is an answer, or an error to raise."""
        return self.begin(answering(answer), priority, about_one=about_one).result(30)

    def refuse(self) -> None:
        with pytest.raises(UnauthorizedError):
            self.ask(REFUSED)

    def close(self) -> None:
        self.budget.close()
        self.loop.close()
        self.access.close()


def answering(answer: object) -> Callable[[Call], object]:
    """A request for what is an answer, or an error to raise."""

    def request(_: Call) -> object:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return request


class Probe:
    """A request that says when it is made, and whose answer the test gives later."""

    def __init__(self) -> None:
        self.made: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def __call__(self, call: Call) -> object:
        self.made.put(call)
        answer = self.answers.get(timeout=30)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


# Answers ----------------------------------------------------------------------------------------


def test_an_answer_is_handed_on(bench: Bench) -> None:
    assert bench.ask("page") == "page"
    assert bench.budget.reading().used == 1


def test_a_redirect_within_the_service_is_followed_in_its_own_turn(bench: Bench) -> None:
    asked: list[str | None] = []

    def request(call: Call) -> str:
        asked.append(call.target)
        if call.target is None:
            raise moved("https://localhost/there")
        return "page"

    assert bench.begin(request, Priority.LIST_FIRST_PAGE).result(30) == "page"
    assert asked == [None, "https://localhost/there"]
    assert bench.budget.reading().used == 2
    assert bench.access.health().up
    assert bench.access.last_error is None


def test_redirects_are_followed_a_few_times_only(bench: Bench) -> None:
    asked: list[str | None] = []

    def request(call: Call) -> str:
        asked.append(call.target)
        raise moved(f"https://localhost/{len(asked)}")

    with pytest.raises(RedirectedError):
        bench.begin(request, Priority.LIST_FIRST_PAGE).result(30)
    assert asked == [None, *(f"https://localhost/{n}" for n in range(1, MOST_HOPS + 1))]
    assert bench.budget.reading().used == MOST_HOPS + 1
    assert bench.access.health().up is False


def test_a_redirect_that_leads_nowhere_is_a_bad_answer(bench: Bench) -> None:
    with pytest.raises(RedirectedError):
        bench.ask(moved(None), Priority.LIST_FIRST_PAGE)
    assert bench.budget.reading().used == 1
    assert bench.access.health().up is False


def test_the_request_that_tries_a_refused_token_may_be_redirected(bench: Bench) -> None:
    bench.refuse()
    bench.clock.now += 100

    def request(call: Call) -> str:
        if call.target is None:
            raise moved("https://localhost/there")
        return "page"

    assert bench.begin(request).result(30) == "page"
    assert bench.ask("page") == "page"


def moved(target: str | None) -> RedirectedError:
    error = RedirectedError("list: answered with status 307", code="307")
    error.target = target
    return error


def test_before_the_first_answer_nothing_is_said_of_the_account(bench: Bench) -> None:
    health = bench.access.health()
    assert (health.up, health.answered, health.down_since) == (None, False, None)


def test_a_good_answer_brings_it_up(bench: Bench) -> None:
    bench.ask("page")
    health = bench.access.health()
    assert (health.up, health.answered, health.down_since) == (True, True, None)


@pytest.mark.parametrize(
    ("error", "priority", "up", "answered"),
    [
        (UnauthorizedError("", code="401"), Priority.NEW_STREAM, False, True),
        (UnauthorizedError("", code="401"), Priority.LIST_FIRST_PAGE, False, True),
        (UnauthorizedError("", code="error"), Priority.NEW_STREAM, False, False),
        (ForbiddenError("", code="403"), Priority.LIST_FIRST_PAGE, False, True),
        (ForbiddenError("", code="403"), Priority.NEW_STREAM, True, True),
        (NotFoundError("", code="404"), Priority.NEW_STREAM, True, True),
        (BadRequestError("", code="400"), Priority.LIST_DEEPER_PAGE, True, True),
        (BadRequestError("", code="400"), Priority.LIST_FIRST_PAGE, False, True),
        # So a wrong address answers, too: it is no answer of the service's.
        (NotFoundError("", code="404"), Priority.LIST_FIRST_PAGE, False, False),
        (ServerFaultError("", code="404"), Priority.LIST_FIRST_PAGE, False, False),
        (ServerFaultError("", code="405"), Priority.LIST_FIRST_PAGE, False, False),
        (RedirectedError("", code="301"), Priority.LIST_FIRST_PAGE, False, False),
        (UnusableError("", code="200"), Priority.LIST_FIRST_PAGE, False, False),
        (ServerFaultError("", code="503"), Priority.NEW_STREAM, False, True),
        # An edge's page in the place of the service's own refusal.
        (ServerFaultError("", code="404"), Priority.NEW_STREAM, False, True),
        (ServerFaultError("", code="403"), Priority.LIST_FIRST_PAGE, False, True),
        (UnreachableError("", reason="connect"), Priority.NEW_STREAM, False, False),
        (UnreachableError("", reason="broken", code="200"), Priority.LIST_FIRST_PAGE, False, True),
        (RateLimitedError("", code="429"), Priority.NEW_STREAM, None, True),
    ],
)
def test_what_a_first_answer_says_of_the_account(
    bench: Bench, error: ServiceError, priority: Priority, up: bool | None, answered: bool
) -> None:
    with pytest.raises(type(error)):
        bench.ask(error, priority)
    health = bench.access.health()
    assert (health.up, health.answered) == (up, answered)


@pytest.mark.parametrize(
    ("error", "priority", "told"),
    [
        # Of one id, or of a word that the service does not know: it is well.
        (NotFoundError("", code="404"), Priority.NEW_STREAM, None),
        (BadRequestError("", code="400"), Priority.LIST_DEEPER_PAGE, None),
        (ServerFaultError("", code="503"), Priority.NEW_STREAM, "503"),
        (UnauthorizedError("", code="401"), Priority.LIST_FIRST_PAGE, "401"),
        (RateLimitedError("", code="429"), Priority.NEW_STREAM, "429"),
    ],
)
def test_the_last_error_is_none_of_one_id(
    bench: Bench, error: ServiceError, priority: Priority, told: str | None
) -> None:
    with pytest.raises(type(error)):
        bench.ask(error, priority)
    last = bench.access.last_error
    assert (last and last.text[:3]) == told


@pytest.mark.parametrize(
    "error",
    [
        UnauthorizedError("", code="401"),
        ForbiddenError("", code="403"),
        NotFoundError("", code="404"),
        BadRequestError("", code="400"),
    ],
)
def test_a_refusal_of_what_is_extra_says_nothing_of_the_account(
    bench: Bench, error: ServiceError
) -> None:
    def refuse(_: Call) -> object:
        raise error

    before = bench.access.health()
    with pytest.raises(type(error)):
        bench.begin(refuse, Priority.RECONCILE, is_extra=True).result(30)
    assert bench.access.health() == before
    # Nor is a token taken for good that was refused elsewhere.
    bench.refuse()
    bench.clock.now += 1000
    with pytest.raises(type(error)):
        bench.begin(refuse, Priority.RECONCILE, is_extra=True).result(30)
    assert bench.access.health().up is False


def test_a_wrong_address_is_suspected_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.access.need_list(needed=True)
    for _ in range(3):
        with pytest.raises(NotFoundError):
            bench.ask(NotFoundError("", code="404"), Priority.LIST_FIRST_PAGE)
        # So a wrong address answers for every id.
        with pytest.raises(NotFoundError):
            bench.ask(NotFoundError("", code="404"), Priority.NEW_STREAM)
    assert not bench.access.health().answered
    (line,) = [r for r in caplog.records if "base_url" in r.message]
    assert line.__dict__["base_url"] == "http://localhost"
    reason = bench.access.health().reason
    assert reason == "there is no list at its address (404); is base_url right?"


def test_one_page_of_an_edge_does_not_make_the_address_suspect(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with pytest.raises(UnusableError):
            bench.ask(UnusableError("", code="200"), Priority.LIST_FIRST_PAGE)
    bench.ask("page", Priority.LIST_FIRST_PAGE)
    assert "base_url" not in caplog.text


def test_the_first_refusal_of_a_token_says_what_it_looks_like(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.token_shape = "has quotes or brackets around it"
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            bench.ask(UnauthorizedError("", code="401"), Priority.LIST_FIRST_PAGE)
        bench.clock.now += 1000
    (line,) = [r for r in caplog.records if "refuses this account's token" in r.message]
    assert line.__dict__["token_shape"] == "has quotes or brackets around it"


def test_an_address_that_was_right_is_not_suspected(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.ask("page", Priority.LIST_FIRST_PAGE)
    bench.clock.now += 5
    for _ in range(9):
        bench.clock.now += 10
        with pytest.raises(NotFoundError):
            bench.ask(NotFoundError("", code="404"), Priority.LIST_FIRST_PAGE)
    health = bench.access.health()
    assert (health.up, health.answered) == (False, True)
    assert health.reason == "there is no list at its address (404)"
    assert "base_url" not in caplog.text


def test_it_is_down_since_the_first_of_several_bad_answers(bench: Bench) -> None:
    bench.ask("page")
    for now in (1010.0, 1020.0, 1030.0):
        bench.clock.now = now
        with pytest.raises(ServerFaultError):
            bench.ask(ServerFaultError("", code="500"))
    assert bench.access.health().up
    bench.clock.now = 1040.0
    assert bench.access.health().down_since == 1010.0
    bench.ask("page")
    bench.ask("page")
    assert bench.access.health().down_since is None


def test_an_edges_403_for_the_list_closes_no_gate(bench: Bench) -> None:
    with pytest.raises(ServerFaultError):
        bench.ask(ServerFaultError("", code="403"), Priority.LIST_FIRST_PAGE)
    bench.ask("page")
    assert bench.reloads == 0


def test_only_a_usable_answer_lets_refusals_be_believed(bench: Bench) -> None:
    for error in (NotFoundError("", code="404"), ServerFaultError("", code="403")):
        with pytest.raises(type(error)):
            bench.ask(error)
    assert bench.access.refusals._answering is None
    bench.ask("page")
    assert bench.access.refusals._answering == Answering(1000.0, 1000.0)


def test_a_429_says_nothing_of_the_account(bench: Bench) -> None:
    bench.ask("page")
    with pytest.raises(RateLimitedError):
        bench.ask(RateLimitedError("", code="429", retry_after=7.0))
    assert bench.access.health().up


def test_a_429_closes_the_budget_for_as_long_as_it_says(bench: Bench) -> None:
    with pytest.raises(RateLimitedError):
        bench.ask(RateLimitedError("", code="429", retry_after=7.0))
    assert bench.budget.reading().cooldown_until == 1007.0


def test_a_fault_of_ours_gives_the_place_back_to_the_window(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        bench.ask(ZeroDivisionError())
    assert not bench.access.health().answered
    bench.clock.now += 10.1
    assert bench.budget.reading().used == 0


# Stopping ---------------------------------------------------------------------------------------


def test_stopping_ends_the_wait_in_the_budget() -> None:
    bench = Bench(limit=Limit(requests=1, reserve=0.0))
    bench.ask("the only one for a while")
    waiting = bench.begin(answering("page"))
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(5)
    bench.close()


def test_stopping_ends_the_wait_at_the_gate() -> None:
    bench = Bench(jitter=1.0)
    bench.refuse()
    waiting = bench.begin(answering("page"))
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(5)
    bench.close()


def test_stopping_aborts_the_call_that_is_under_way(bench: Bench) -> None:
    probe = Probe()
    asking = bench.begin(probe)
    call = probe.made.get(timeout=5)
    asking.cancel()
    bench.loop.close()
    assert call.aborted
    probe.answers.put(AbortedError(""))
    assert not bench.access.health().answered
    bench.loop = LoopThread()


def test_what_nobody_wants_any_more_is_not_asked_and_costs_nothing(bench: Bench) -> None:
    def request(_: Call) -> None:
        pytest.fail("it was asked")

    with pytest.raises(StoppedError):
        bench.begin(request, still_wanted=lambda: False).result(30)
    assert bench.budget.reading().used == 0


def test_an_answer_that_takes_too_long_is_broken_off(bench: Bench) -> None:
    probe = Probe()
    asking = bench.begin(probe, at_most=0.05)
    call = probe.made.get(timeout=5)
    with pytest.raises(AbortedError):
        asking.result(5)
    assert call.aborted
    probe.answers.put(AbortedError(""))
    assert not bench.access.health().answered


# The gate ---------------------------------------------------------------------------------------


def test_after_a_401_one_tries_for_all_and_the_others_go_on_after_it(
    bench: Bench,
) -> None:
    bench.refuse()
    probe = Probe()
    asking = [bench.begin(probe) for _ in range(15)]
    probe.made.get(timeout=5)
    assert probe.made.empty()
    probe.answers.put("stream")
    for _ in range(14):
        probe.made.get(timeout=5)
        probe.answers.put("stream")
    assert [future.result(5) for future in asking] == ["stream"] * 15
    assert bench.reloads == 1
    assert bench.access.health().up


def test_while_it_is_refused_they_try_one_after_the_other(
    bench: Bench,
) -> None:
    bench.refuse()
    probe = Probe()
    asking = [bench.begin(probe) for _ in range(4)]
    for _ in range(4):
        probe.made.get(timeout=5)
        assert probe.made.empty()
        probe.answers.put(REFUSED)
    for future in asking:
        with pytest.raises(UnauthorizedError):
            future.result(5)
    # The token is read again before every try: its file may have been rotated.
    assert bench.reloads == 4


def test_between_two_tries_it_backs_off() -> None:
    bench = Bench(jitter=1.0)
    bench.refuse()
    probe = Probe()
    asking = bench.begin(probe)
    with pytest.raises(queue.Empty):
        probe.made.get(timeout=0.05)
    bench.clock.now += 1.0
    # Somebody else comes by, sees that it is time, and tries.
    assert bench.ask("page") == "page"
    probe.answers.put("stream")
    assert asking.result(5) == "stream"
    bench.close()


def test_requests_that_are_refused_together_are_one_step_of_the_backoff(
    bench: Bench,
) -> None:
    bench.jitter = 1.0
    probes = [Probe() for _ in range(10)]
    asking = [bench.begin(probe) for probe in probes]
    for probe in probes:
        probe.made.get(timeout=5)
    for probe in probes:
        probe.answers.put(REFUSED)
    for future in asking:
        with pytest.raises(UnauthorizedError):
            future.result(5)
    bench.clock.now += 1.0
    assert bench.ask("page") == "page"


def test_a_403_for_the_list_closes_the_gate_as_a_401_does(bench: Bench) -> None:
    with pytest.raises(ForbiddenError):
        bench.ask(ForbiddenError("", code="403"), Priority.LIST_FIRST_PAGE)
    bench.ask("page")
    assert bench.reloads == 1


def test_a_403_for_one_id_closes_nothing(bench: Bench) -> None:
    with pytest.raises(ForbiddenError):
        bench.ask(ForbiddenError("", code="403"), Priority.NEW_STREAM)
    bench.ask("page")
    assert bench.reloads == 0


def test_while_the_account_is_refused_a_403_says_nothing_of_the_id(bench: Bench) -> None:
    with pytest.raises(ForbiddenError):
        bench.ask(ForbiddenError("", code="403"), Priority.LIST_FIRST_PAGE)
    # Or every id would be given up, one after the other, for what is wrong with the account.
    with pytest.raises(UnauthorizedError):
        bench.ask(ForbiddenError("", code="403"), Priority.NEW_STREAM)
    assert not bench.access.health().up


@pytest.mark.parametrize("error", [NotFoundError("", code="404"), BadRequestError("", code="400")])
def test_an_answer_about_one_id_opens_the_gate(bench: Bench, error: ServiceError) -> None:
    bench.refuse()
    with pytest.raises(type(error)):
        bench.ask(error)
    bench.ask("page")
    assert bench.reloads == 1


def test_a_server_fault_opens_no_gate_and_lets_the_next_one_try(bench: Bench) -> None:
    bench.refuse()
    with pytest.raises(ServerFaultError):
        bench.ask(ServerFaultError("", code="500"))
    bench.ask("page")
    bench.ask("page")
    assert bench.reloads == 2


def test_who_tries_and_is_stopped_lets_the_next_one_try(
    bench: Bench,
) -> None:
    bench.refuse()
    probe = Probe()
    trying = bench.begin(probe)
    probe.made.get(timeout=5)
    waiting = bench.begin(answering("page"))
    trying.cancel()
    probe.answers.put(AbortedError(""))
    with pytest.raises(CancelledError):
        trying.result(5)
    assert waiting.result(5) == "page"


def test_a_token_that_cannot_be_read_again_does_not_lock_the_gate(bench: Bench) -> None:
    bench.refuse()

    def fail() -> bool:
        raise OSError("the mount is gone")

    bench.reload_result = fail
    with pytest.raises(OSError, match="mount"):
        bench.ask("page")
    bench.reload_result = lambda: False
    assert bench.ask("page") == "page"


def test_all_who_wait_at_the_gate_can_be_stopped_while_one_tries(
    bench: Bench,
) -> None:
    bench.refuse()
    probe = Probe()
    trying = bench.begin(probe)
    probe.made.get(timeout=5)
    waiting = [bench.begin(answering("page")) for _ in range(10)]
    for future in waiting:
        future.cancel()
        with pytest.raises(CancelledError):
            future.result(5)
    probe.answers.put("stream")
    assert trying.result(5) == "stream"


def test_the_gate_of_one_account_is_not_that_of_another(bench: Bench) -> None:
    bench.refuse()
    other = AccountAccess(
        "agency",
        bench.access.client,
        bench.budget,
        bench.threads,
        reload_token=lambda: pytest.fail("its token was not refused"),
        monotonic=bench.clock,
        backoff=Backoff(lambda: 1.0),
    )
    assert bench.loop.run(other.ask(Priority.NEW_STREAM, lambda _: "stream")) == "stream"
    assert threading.active_count() < 50
