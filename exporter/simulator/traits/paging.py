"""How the list is cut into pages, ordered and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from exporter.simulator.schema import Seconds, Share, StrictModel

if TYPE_CHECKING:
    import random

Rows = Annotated[int, Field(ge=1, le=100)]


class Total(StrictModel):
    """The reported ``total``, if it is not the true one."""

    form: Literal["absent", "empty", "stale", "wrong", "page", "so_far"]
    """``empty``: it is null; ``page``: it counts the rows of the page; ``so_far``: those down to
    its end."""
    share: Share = 1.0
    """Of the answers."""
    lag: Seconds = 10.0
    """How old a stale one is."""
    by: Annotated[int, Field(ge=1)] = 3
    """The most by which a wrong one is too great or too small."""

    def wrong(self, total: int, rng: random.Random) -> int:
        """A wrong total: never below 0, and never right by chance."""
        off = rng.randint(1, self.by)
        return total - off if total >= off and rng.random() < 0.5 else total + off


class Paging(StrictModel):
    """How pages are made."""

    most: Rows | None = None
    """The largest number of rows of a page, whatever ``per_page`` requests."""
    always: Rows | None = None
    """The number of rows of a page, whatever ``per_page`` requests."""
    first: Literal[0, 1] = 1
    """The number of the first page. Where it is 0, so is the default of ``page``."""
    beyond: Literal["empty", "last"] = "empty"
    """What a page past the last one shows; ``last``: the last one again."""
    order: Literal["created", "updated"] = "created"
    """Newest first by this stamp."""
    total: Total | None = None

    def rows(self, per_page: int) -> int:
        """How many rows a page has."""
        rows = per_page if self.always is None else self.always
        return rows if self.most is None else min(rows, self.most)

    def number(self, page: int, rows: int, total: int) -> int:
        """Which page is meant, counted from 1."""
        number = page - self.first + 1
        return number if self.beyond == "empty" else max(1, min(number, -(-total // rows)))
