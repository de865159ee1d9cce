"""The pages of the list, in the manner of the scenario's traits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator import documents

if TYPE_CHECKING:
    import random

    from exporter.simulator.past import Past
    from exporter.simulator.reporting import Reporting
    from exporter.simulator.traits.paging import Paging
    from exporter.simulator.workflow import Workflow
    from exporter.simulator.world import World


class Listing:
    """Makes pages.

    Args:
        world: the present.
        past: how it was.
        reporting: writes the rows.
        rng: decides which answers have a total that is not the truth.
    """

    def __init__(self, world: World, past: Past, reporting: Reporting, rng: random.Random) -> None:
        self._world = world
        self._past = past
        self._reporting = reporting
        self._rng = rng

    @property
    def paging(self) -> Paging:
        """How pages are made."""
        return self._world.scenario.traits.paging

    def page(self, account: str, page: int, per_page: int, status: str | None, lag: float) -> bytes:
        """One page.

        Args:
            account: whose workflows.
            page: its number, as the client gave it.
            per_page: rows that the client asked for.
            status: only those that are told with it.
            lag: how old what it shows is, in seconds of the day; 0: it is the present.
        """
        rows = self.paging.rows(per_page)
        if lag > 0:
            then = self._past.listed(account, status, lag)
            total = len(then)
            number = self.paging.number(page, rows, total)
            shown = then[(number - 1) * rows : number * rows]
        else:
            register = self._world.registers[account]
            total = register.count(status)
            number = self.paging.number(page, rows, total)
            shown = register.page(number, rows, status)
        end = min(total, (number - 1) * rows + len(shown))
        return self._written(shown, self._reported_total(account, status, total, len(shown), end))

    def _written(self, shown: list[Workflow], total: dict[str, int | None]) -> bytes:
        return documents.page([self._reporting.row(each) for each in shown], total)

    def _reported_total(
        self, account: str, status: str | None, total: int, shown: int, end: int
    ) -> dict[str, int | None]:
        trait = self.paging.total
        if trait is None or self._rng.random() >= trait.share:
            return {"total": total}
        if trait.form == "absent":
            return {}
        if trait.form == "empty":
            return {"total": None}
        match trait.form:
            case "page":
                told = shown
            case "so_far":
                told = end
            case "stale":
                told = len(self._past.listed(account, status, trait.lag))
            case _:
                told = trait.wrong(total, self._rng)
        return {"total": told}
