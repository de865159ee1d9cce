"""Where the service asks us to stay away, anyone who asks for an account does."""

import queue
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress

import pytest

from exporter.budget.sliding_window import Limit, Priority
from exporter.comfycontrol import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnusableError,
)
from exporter.following.access import AccountAccess
from exporter.retrying import Backoff
from tests.turns import Turn
from tests.unit.following.test_access import Bench, Probe, answering


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


AWAY = 40.0
PURPOSES_OF_ONE = [
    priority
    for priority in Priority
    if priority not in (Priority.LIST_FIRST_PAGE, Priority.LIST_DEEPER_PAGE)
]


def told_to_wait(bench: Bench, error: ServiceError, priority: Priority) -> None:
    error.retry_after = AWAY
    with pytest.raises(type(error)):
        bench.ask(error, priority)


def is_held_back(bench: Bench, priority: Priority) -> bool:
    """Whether nobody may ask for this until the service said, and may from then on."""
    with asking_too_early(bench, priority) as probe:
        try:
            probe.made.get(timeout=0.05)
        except queue.Empty:
            bench.clock.now += 0.1
            bench.loop.call(bench.access.token_changed)
            probe.made.get(timeout=5)
            return True
        return False


def may_ask(bench: Bench, priority: Priority) -> bool:
    """Whether somebody may ask for this before the time that the service said.

    A thread may take long to begin the request, so this waits much longer than `is_held_back`.
    """
    with asking_too_early(bench, priority) as probe:
        try:
            probe.made.get(timeout=30)
        except queue.Empty:
            return False
        return True


@contextmanager
def asking_too_early(bench: Bench, priority: Priority) -> Iterator[Probe]:
    """Ask just before the time that the service said; in the end, nothing is left of it."""
    probe = Probe()
    bench.clock.now += AWAY - 0.1
    asking = bench.begin(probe, priority)
    try:
        yield probe
    finally:
        asking.cancel()
        probe.answers.put("answer")
        with suppress(CancelledError):
            asking.result(5)


OF_THE_SERVICE: list[ServiceError] = [
    ServerFaultError("", code="503"),
    ServerFaultError("", code="500"),
    RedirectedError("", code="302"),
    UnusableError("", code="200"),
]


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize(
    "error",
    [
        *OF_THE_SERVICE,
        BadRequestError("", code="400"),
        NotFoundError("", code="404"),
        ForbiddenError("", code="403"),
        UnauthorizedError("", code="401"),
    ],
    ids=lambda error: f"{type(error).__name__} {error.code}",
)
def test_what_the_list_is_told_holds_for_the_whole_account(
    bench: Bench, error: ServiceError, priority: Priority
) -> None:
    told_to_wait(bench, error, Priority.LIST_FIRST_PAGE)
    assert is_held_back(bench, priority)


@pytest.mark.parametrize("priority", PURPOSES_OF_ONE)
@pytest.mark.parametrize("error", OF_THE_SERVICE, ids=lambda e: f"{type(e).__name__} {e.code}")
def test_what_is_told_of_one_holds_for_all_single_ones_but_not_for_the_list(
    bench: Bench, error: ServiceError, priority: Priority
) -> None:
    told_to_wait(bench, error, Priority.NEW_STREAM)
    assert bench.ask("page", Priority.LIST_FIRST_PAGE) == "page"
    assert is_held_back(bench, priority)


def test_one_that_is_missing_in_the_list_is_a_single_one(
    bench: Bench,
) -> None:
    error = ServerFaultError("", code="503", retry_after=AWAY)
    with pytest.raises(ServerFaultError):
        bench.ask(error, Priority.LIST_DEEPER_PAGE, about_one=True)
    assert bench.ask("page", Priority.LIST_DEEPER_PAGE) == "page"
    assert is_held_back(bench, Priority.POLL)


@pytest.mark.parametrize("kind", [BadRequestError, NotFoundError, ForbiddenError])
def test_what_is_wrong_with_one_id_alone_holds_nobody_else_back(
    bench: Bench, kind: type[ServiceError]
) -> None:
    told_to_wait(bench, kind("", code="404"), Priority.NEW_STREAM)
    assert may_ask(bench, Priority.NEW_STREAM)


@pytest.mark.parametrize("priority", [Priority.NEW_STREAM, Priority.LIST_FIRST_PAGE])
def test_a_refused_token_is_not_tried_again_before_the_service_said(
    bench: Bench, priority: Priority
) -> None:
    told_to_wait(bench, UnauthorizedError("", code="401"), Priority.NEW_STREAM)
    # Not even with another token.
    bench.loop.call(bench.access.token_changed)
    assert is_held_back(bench, priority)


def test_who_was_queued_up_when_it_was_said_goes_back_and_costs_nothing() -> None:
    bench = Bench(limit=Limit(requests=1, reserve=0.0))
    first, probe = Probe(), Probe()
    asking = bench.begin(first, Priority.LIST_FIRST_PAGE)
    first.made.get(timeout=5)
    waiting = bench.begin(probe)
    first.answers.put(ServerFaultError("", code="503", retry_after=AWAY))
    with pytest.raises(ServerFaultError):
        asking.result(5)
    bench.clock.now += 10.0
    poke = Turn(bench.budget, Priority.RECONNECT)
    with pytest.raises(queue.Empty):
        probe.made.get(timeout=0.05)
    assert poke.wait()
    poke.unused()
    bench.clock.now += AWAY
    bench.loop.call(bench.access.token_changed)
    probe.made.get(timeout=5)
    probe.answers.put("stream")
    assert waiting.result(5) == "stream"
    bench.close()


def test_stopping_ends_the_wait_that_the_service_asked_for(
    bench: Bench,
) -> None:
    told_to_wait(bench, ServerFaultError("", code="503"), Priority.LIST_FIRST_PAGE)
    waiting = bench.begin(answering("page"))
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(5)


def test_another_account_is_not_held_back(bench: Bench) -> None:
    told_to_wait(bench, ServerFaultError("", code="503"), Priority.LIST_FIRST_PAGE)
    other = AccountAccess(
        "agency",
        bench.access.client,
        bench.budget,
        bench.threads,
        reload_token=lambda: True,
        monotonic=bench.clock,
        backoff=Backoff(lambda: 1.0),
    )
    assert bench.loop.run(other.ask(Priority.LIST_FIRST_PAGE, lambda _: "page")) == "page"


def test_it_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    probes = [Probe() for _ in range(3)]
    asking = [bench.begin(probe) for probe in probes]
    for probe in probes:
        probe.made.get(timeout=5)
        bench.clock.now += 1.0
    for probe in probes:
        probe.answers.put(ServerFaultError("", code="503", retry_after=AWAY))
    assert all(isinstance(future.exception(5), ServerFaultError) for future in asking)
    assert [record.message for record in caplog.records] == ["the service asks us to wait"]
