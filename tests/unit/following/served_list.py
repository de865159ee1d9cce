"""A list as a service may serve it: everything that the documents leave open is open here."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    BadRequestError,
    Call,
    NotFoundError,
    ServerFaultError,
    ServiceError,
    TooLargeError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following.answer_size import AcceptedSize
from exporter.following.list_pages import FilteredList, ListPages
from exporter.interfaces.observations import Moment
from exporter.retrying import Backoff
from tests.running import at_once, called

Answer = TypeVar("Answer")

REFUSALS = {400: BadRequestError, 404: NotFoundError}


@dataclass(repr=False)
class ServedList:
    """Newest first. What is asked for is numbered and counted as the service pleases."""

    rows: list[WorkflowSummary] = field(default_factory=list)
    cap: int | None = None
    """More rows are never given."""
    cap_share: float = 1.0
    """Of the answers that this holds for."""
    accepted: int = 100
    """A request for more rows is refused."""
    refusal: int = 400
    """With this status."""
    always: int | None = None
    """So many rows are given, whatever is asked."""
    counted_by: Literal["asked", "given"] = "given"
    """What the number of a page is multiplied by."""
    base: Literal[0, 1] = 1
    """The number of the first page."""
    beyond: Literal["empty", "last", 400, 404] = "empty"
    """What a page shows, or how it is refused, that lies beyond the last one."""
    before: Literal["empty", "first", 400, 500] = 400
    """The same of page 0, where pages are counted from 1."""
    total: Literal["true", "absent", "stale", "wrong", "page", "so far"] = "true"
    """What it tells; a stale one is that of the beginning. It may count the rows of the page, or
    those down to its end."""
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    most_at_once: int = 10_000
    """More rows, weighted, are too large an answer."""
    weights: dict[str, int] = field(default_factory=dict)
    """Rows that weigh more than others, by their id."""
    cursed: set[str] = field(default_factory=set)
    """Rows with which the service fails, by their id."""

    def __post_init__(self) -> None:
        self._stale = len(self.rows)

    def __repr__(self) -> str:
        manners = {k: v for k, v in vars(self).items() if k not in ("rows", "dice")}
        return f"ServedList({len(self.rows)} rows, {manners})"

    def page(self, number: int, size: int) -> WorkflowPage:
        """Answer a request.

        Raises:
            ServiceError: it is refused, or too large.
        """
        if size > self.accepted:
            kind = REFUSALS.get(self.refusal, ServerFaultError)
            raise kind(f"list: answered with status {self.refusal}", code=str(self.refusal))
        given = self._given(size)
        stride = given if self.counted_by == "given" else size
        first = (number - self.base) * stride
        if first < 0:
            first = self._refused(self.before, {"first": 0}, len(self.rows))
        elif first >= len(self.rows) and first:
            last = max(0, len(self.rows) - 1) // stride * stride
            first = self._refused(self.beyond, {"last": last}, first)
        shown = self.rows[first : first + given]
        if sum(self.weights.get(each.id, 1) for each in shown) > self.most_at_once:
            raise TooLargeError("list: the body is too long", code="200")
        if any(each.id in self.cursed for each in shown):
            raise ServerFaultError("list: answered with status 500", code="500")
        return WorkflowPage(
            workflows=tuple(shown),
            total=self._told(first, len(shown)),
            malformed=0,
            entries=len(shown),
        )

    def _given(self, size: int) -> int:
        if self.always is not None:
            return self.always
        if self.cap is not None and self.dice.random() < self.cap_share:
            return min(size, self.cap)
        return size

    def _refused(self, manner: str | int, instead: dict[str, int], otherwise: int) -> int:
        if manner == 500:
            raise ServerFaultError("list: answered with status 500", code="500")
        if isinstance(manner, int):
            raise REFUSALS[manner](f"list: answered with status {manner}", code=str(manner))
        return instead.get(manner, otherwise)

    def _told(self, first: int, shown: int) -> int | None:
        match self.total:
            case "true":
                return len(self.rows)
            case "stale":
                return self._stale
            case "wrong":
                return max(0, len(self.rows) + self.dice.choice((-3, -2, -1, 1, 2, 3)))
            case "page":
                return shown
            case "so far":
                return min(first + shown, len(self.rows))
        return None


class Listed:
    """A `ListPages` that reads such a list; time passes only in waits."""

    account = "studio"

    def __init__(self, served: ServedList, accepted: AcceptedSize | None = None) -> None:
        self.served = served
        self.now = 0.0
        self.asked: list[tuple[int, int]] = []
        """Number and size of each page that was asked for."""
        self.malformed = 0
        self.outage: Callable[[], ServiceError | None] = lambda: None
        self.pages = ListPages(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            take_top=lambda _: None,
            top_again=1e9,
            now=lambda: Moment(5000.0 + self.now, self.now),
            backoff=Backoff(lambda: 1.0),
            accepted=accepted,
            sleep=self.sleep,
        )

    @property
    def client(self) -> "Listed":
        return self

    in_thread = staticmethod(called)

    async def ask(
        self,
        priority: Priority,
        request: Callable[[Call], Answer],
        *,
        about_one: bool = False,
    ) -> Answer:
        del priority, about_one
        return request(Call())

    def list_workflows(
        self, *, page: int, per_page: int, status: str | None, call: object
    ) -> WorkflowPage:
        del status, call
        self.asked.append((page, per_page))
        error = self.outage()
        if error is not None:
            raise error
        return self.served.page(page, per_page)

    def page_read(self, _: str) -> None:
        """A page was counted."""

    def rows_malformed(self, _: str, count: int) -> None:
        self.malformed += count

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def pages_of(listed: FilteredList) -> Iterator[WorkflowPage]:
    """Its pages, as they are read."""
    while (shown := at_once(listed.next())) is not None:
        yield shown
