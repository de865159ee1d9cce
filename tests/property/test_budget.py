"""The request budget under real threads, against a service that counts when it likes."""

import random
import threading
import time
from bisect import bisect_left

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.budget.budget import RequestBudget
from exporter.budget.sliding_window import Limit, Priority
from tests.turns import Turn

PER = 0.1

MOST_LATENCY = 0.03


class Service:
    """Counts each request at some moment between its sending and its answer."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.counted: list[float] = []

    def ask(self) -> None:
        with self._lock:
            before, after = (self._random.uniform(0, MOST_LATENCY / 2) for _ in range(2))
        time.sleep(before)
        with self._lock:
            self.counted.append(time.monotonic())
        time.sleep(after)


def ask_all(budget: RequestBudget, service: Service, purposes: list[Priority]) -> None:
    """One thread's day. Some of its turns are not used, and some waits are called off."""
    for number, priority in enumerate(purposes):
        turn = Turn(budget, priority)
        if number % 5 == 4:
            turn.cancel()
        if not turn.wait():
            continue
        if number % 7 == 6:
            turn.unused()
            continue
        service.ask()
        turn.answered()


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.lists(st.sampled_from(Priority), max_size=12), min_size=2, max_size=8),
    st.integers(0, 1000),
)
def test_no_period_holds_more_than_the_share_whoever_asks(
    requests: int, threads: list[list[Priority]], seed: int
) -> None:
    service = Service(seed)
    budget = RequestBudget(
        "localhost",
        Limit(requests=requests, per=PER, reserve=0.0),
        monotonic=time.monotonic,
        wall=time.time,
    )
    workers = [
        threading.Thread(target=ask_all, args=(budget, service, purposes)) for purposes in threads
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive(), "somebody starves"
    assert budget.reading().used <= requests
    budget.close()
    counted = sorted(service.counted)
    for start in counted:
        within = bisect_left(counted, start + PER) - bisect_left(counted, start)
        assert within <= requests
