"""Where the service asks us to stay away, whoever asks for an account does."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from exporter.comfycontrol import (
    BadRequest,
    Forbidden,
    NotFound,
    Redirected,
    ServerFault,
    ServiceError,
    Unauthorized,
    Unusable,
)
from exporter.comfycontrol.window import Limit, Purpose
from exporter.following.access import AccountAccess
from exporter.following.stop import Stop, Stopped
from exporter.retrying import Backoff
from tests.unit.following.test_access import Bench, Probe


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.budget.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(5) as executor:
        yield executor


AWAY = 40.0
PURPOSES_OF_ONE = [
    purpose
    for purpose in Purpose
    if purpose not in (Purpose.LIST_FIRST_PAGE, Purpose.LIST_DEEPER_PAGE)
]


def told_to_wait(bench: Bench, error: ServiceError, purpose: Purpose) -> None:
    error.retry_after = AWAY
    with pytest.raises(type(error)):
        bench.ask(error, purpose)


def is_held_back(bench: Bench, threads: ThreadPoolExecutor, purpose: Purpose) -> bool:
    """Whether nobody may ask for this until the service said, and may from then on."""
    stop, probe = Stop(), Probe()
    bench.clock.now += AWAY - 0.1
    asking = threads.submit(bench.access.ask, purpose, stop, probe)
    try:
        probe.made.get(timeout=0.05)
    except queue.Empty:
        bench.clock.now += 0.1
        bench.access.token_changed()
        probe.made.get(timeout=5)
        return True
    else:
        return False
    finally:
        stop.ask()
        probe.answers.put("answer")
        with suppress(Stopped):
            asking.result(5)


OF_THE_SERVICE: list[ServiceError] = [
    ServerFault("", code="503"),
    ServerFault("", code="500"),
    Redirected("", code="302"),
    Unusable("", code="200"),
]


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize(
    "error",
    [
        *OF_THE_SERVICE,
        BadRequest("", code="400"),
        NotFound("", code="404"),
        Forbidden("", code="403"),
        Unauthorized("", code="401"),
    ],
    ids=lambda error: f"{type(error).__name__} {error.code}",
)
def test_what_the_list_is_told_holds_for_the_whole_account(
    bench: Bench, threads: ThreadPoolExecutor, error: ServiceError, purpose: Purpose
) -> None:
    told_to_wait(bench, error, Purpose.LIST_FIRST_PAGE)
    assert is_held_back(bench, threads, purpose)


@pytest.mark.parametrize("purpose", PURPOSES_OF_ONE)
@pytest.mark.parametrize("error", OF_THE_SERVICE, ids=lambda e: f"{type(e).__name__} {e.code}")
def test_what_is_told_of_one_holds_for_all_single_ones_but_not_for_the_list(
    bench: Bench, threads: ThreadPoolExecutor, error: ServiceError, purpose: Purpose
) -> None:
    told_to_wait(bench, error, Purpose.NEW_STREAM)
    assert bench.ask("page", Purpose.LIST_FIRST_PAGE) == "page"
    assert is_held_back(bench, threads, purpose)


def test_one_that_is_missing_in_the_list_is_a_single_one(
    bench: Bench, threads: ThreadPoolExecutor
) -> None:
    error = ServerFault("", code="503", retry_after=AWAY)
    with pytest.raises(ServerFault):
        bench.ask(error, Purpose.LIST_DEEPER_PAGE, about_one=True)
    assert bench.ask("page", Purpose.LIST_DEEPER_PAGE) == "page"
    assert is_held_back(bench, threads, Purpose.POLL)


@pytest.mark.parametrize("kind", [BadRequest, NotFound, Forbidden])
def test_what_is_wrong_with_one_id_alone_holds_nobody_else_back(
    bench: Bench, threads: ThreadPoolExecutor, kind: type[ServiceError]
) -> None:
    told_to_wait(bench, kind("", code="404"), Purpose.NEW_STREAM)
    assert not is_held_back(bench, threads, Purpose.NEW_STREAM)


@pytest.mark.parametrize("purpose", [Purpose.NEW_STREAM, Purpose.LIST_FIRST_PAGE])
def test_a_refused_token_is_not_tried_again_before_the_service_said(
    bench: Bench, threads: ThreadPoolExecutor, purpose: Purpose
) -> None:
    told_to_wait(bench, Unauthorized("", code="401"), Purpose.NEW_STREAM)
    # Not even with another token.
    bench.access.token_changed()
    assert is_held_back(bench, threads, purpose)


def test_who_was_queued_up_when_it_was_said_goes_back_and_costs_nothing(
    threads: ThreadPoolExecutor,
) -> None:
    bench = Bench(limit=Limit(requests=1, reserve=0.0))
    first, probe = Probe(), Probe()
    asking = threads.submit(bench.access.ask, Purpose.LIST_FIRST_PAGE, Stop(), first)
    first.made.get(timeout=5)
    waiting = threads.submit(bench.access.ask, Purpose.NEW_STREAM, Stop(), probe)
    first.answers.put(ServerFault("", code="503", retry_after=AWAY))
    with pytest.raises(ServerFault):
        asking.result(5)
    bench.clock.now += 10.0
    poke = bench.budget.enter(Purpose.RECONNECT)
    with pytest.raises(queue.Empty):
        probe.made.get(timeout=0.05)
    assert poke.wait()
    poke.unused()
    bench.clock.now += AWAY
    bench.access.token_changed()
    probe.made.get(timeout=5)
    probe.answers.put("stream")
    assert waiting.result(5) == "stream"
    bench.budget.close()


def test_stopping_ends_the_wait_that_the_service_asked_for(
    bench: Bench, threads: ThreadPoolExecutor
) -> None:
    told_to_wait(bench, ServerFault("", code="503"), Purpose.LIST_FIRST_PAGE)
    stop = Stop()
    waiting = threads.submit(bench.ask, "page", stop=stop)
    stop.ask()
    with pytest.raises(Stopped):
        waiting.result(5)


def test_another_account_is_not_held_back(bench: Bench) -> None:
    told_to_wait(bench, ServerFault("", code="503"), Purpose.LIST_FIRST_PAGE)
    other = AccountAccess(
        "agency",
        bench.access.client,
        bench.budget,
        reload_token=lambda: True,
        monotonic=bench.clock,
        backoff=Backoff(lambda: 1.0),
    )
    assert other.ask(Purpose.LIST_FIRST_PAGE, Stop(), lambda _: "page") == "page"


def test_it_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    probes = [Probe() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        asking = [
            threads.submit(bench.access.ask, Purpose.NEW_STREAM, Stop(), probe) for probe in probes
        ]
        for probe in probes:
            probe.made.get(timeout=5)
            bench.clock.now += 1.0
        for probe in probes:
            probe.answers.put(ServerFault("", code="503", retry_after=AWAY))
    assert all(isinstance(future.exception(), ServerFault) for future in asking)
    assert [record.message for record in caplog.records] == ["the service asks to stay away"]
