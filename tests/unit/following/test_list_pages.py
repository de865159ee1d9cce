"""Reading pages of a list that are not always answered."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    BadRequestError,
    Call,
    RateLimitedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following.list_pages import MOST_TRIES, ListPages
from exporter.following.listing_pass import PageToRead
from exporter.interfaces.observations import Moment
from exporter.retrying import Backoff
from tests.running import at_once, called
from tests.unit.following.served_list import Answer, Listed, ServedList

FAULT = ServerFaultError("list: answered with status 503", code="503")
SHOWN = WorkflowPage(workflows=(), total=0, entries=0, malformed=0)


class Service:
    """Answers as it is told to, and time passes only in waits."""

    account = "studio"

    def __init__(self) -> None:
        self.now = 0.0
        self.shown = SHOWN
        self.asked: list[Priority] = []
        self.tops_taken = 0
        self.answers: Callable[[Priority, int], ServiceError | None] = lambda *_: None
        self.pages = ListPages(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            take_top=self._take_top,
            top_again=30.0,
            now=lambda: Moment(5000.0 + self.now, self.now),
            backoff=Backoff(lambda: 1.0),
            sleep=self.sleep,
        )

    in_thread = staticmethod(called)

    async def ask(self, priority: Priority, _: object, *, about_one: bool = False) -> Any:
        del about_one
        self.asked.append(priority)
        error = self.answers(priority, self.asked.count(priority))
        if error is not None:
            raise error
        return PageToRead(3), self.shown

    def page_read(self, _: str) -> None:
        """A page was counted."""

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def _take_top(self, _: Iterable[WorkflowSummary]) -> None:
        self.tops_taken += 1

    def read(self) -> WorkflowPage:
        return at_once(self.pages.deeper(lambda _: PageToRead(3)))[1]


class Redirected(Listed):
    """Each request is redirected, and the one that follows it waits for its turn."""

    async def ask(
        self,
        priority: Priority,
        request: Callable[[Call], Answer],
        *,
        about_one: bool = False,
    ) -> Answer:
        await super().ask(priority, request, about_one=about_one)
        self.now += 1
        return request(Call("https://localhost/there"))


@pytest.fixture
def service() -> Service:
    service = Service()
    at_once(service.pages.first())
    service.asked.clear()
    return service


DEEPER, TOP = Priority.LIST_DEEPER_PAGE, Priority.LIST_FIRST_PAGE


def test_a_page_is_tried_again_until_it_is_answered(service: Service) -> None:
    service.answers = lambda _, times: FAULT if times < MOST_TRIES else None
    assert service.read() is SHOWN
    assert service.asked == [DEEPER] * MOST_TRIES


def test_one_that_fails_while_the_top_is_answered_is_given_up(service: Service) -> None:
    service.answers = lambda priority, _: FAULT if priority is DEEPER else None
    with pytest.raises(ServerFaultError):
        service.read()
    assert service.asked == [DEEPER] * MOST_TRIES + [TOP]
    assert service.tops_taken == 1


def test_an_outage_of_all_is_outlasted(service: Service) -> None:
    service.answers = lambda *_: FAULT if service.now < 3600 else None
    assert service.read() is SHOWN
    assert service.now < 3600 + 61


@pytest.mark.parametrize(
    "error",
    [RateLimitedError("429", code="429"), UnauthorizedError("401", code="401")],
    ids=["rate limited", "unauthorized"],
)
def test_budget_and_gate_hold_the_next_try_back_not_we(
    service: Service, error: ServiceError
) -> None:
    service.answers = lambda _, times: error if times < 20 else None
    assert service.read() is SHOWN
    assert (service.now, len(service.asked)) == (0.0, 20)


def test_a_redirect_leads_to_the_page_that_was_requested() -> None:
    listed = Redirected(ServedList())
    page, _ = at_once(listed.pages.deeper(lambda now: PageToRead(2 + int(now))))
    assert listed.asked[-2:] == [(page.number, page.size)] * 2


def test_a_filter_that_there_is_not_is_said_at_once(service: Service) -> None:
    service.answers = lambda *_: BadRequestError("400", code="400")
    with pytest.raises(BadRequestError):
        service.read()
    assert service.asked == [DEEPER]


def test_the_top_is_looked_at_again_between_pages(service: Service) -> None:
    for _ in range(7):
        service.read()
        service.now += 10
    assert service.asked == [DEEPER] * 3 + [TOP] + [DEEPER] * 3 + [TOP] + [DEEPER]
    assert service.tops_taken == 2


def test_time_is_that_of_the_service_where_it_tells_it(service: Service) -> None:
    service.read()
    assert service.pages.service_wall() == 5000.0
    service.shown = replace(SHOWN, service_time=5600.0)
    service.read()
    service.now += 10
    assert service.pages.service_wall() == 5610.0
    # An answer without it leaves what is known.
    service.shown = SHOWN
    service.read()
    assert service.pages.service_wall() == 5610.0
