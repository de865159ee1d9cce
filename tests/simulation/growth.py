"""Whether anything grows in a long life: looked at once a simulated day, while nothing happens."""

from __future__ import annotations

import gc
from collections import Counter
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.run import Run
    from tests.simulation.scheduler import Life

DAY: Final = 86_400.0

LATE_SECONDS: Final = 13 * 3600.0
"""What ended is known at last after so long: two outages may follow one another."""

FEW: Final = 10
"""Rows more than there should be: of ids that somebody made up, for example."""

BYTES_A_ROW: Final = 6_000
"""With its indices, its history and its part of the log."""

LOG_BYTES: Final = 6_000_000
"""SQLite puts it back when it has 4 MB; one more commit may come before that."""

BASE_BYTES: Final = 600_000

OBJECTS_A_WORKFLOW: Final = 40
BASE_OBJECTS: Final = 15_000

_FOREIGN: Final = (type, ModuleType, FunctionType)


class Growth:
    """Looks at the rows of the ledger, its files and the memory of the process.

    Args:
        run: whose exporter it is.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._most_rows = 0

    def watch(self) -> None:
        """Look, day by day, until the run is over."""
        here = self._run.scheduler
        while not self._run.is_over:
            here.sleep(DAY)
            # By itself it would collect at moments that another run of the seed does not have.
            gc.collect()
            for _ in range(60):
                if self._run.quiet.holds():
                    self._look()
                    break
                here.sleep(60.0)

    def _look(self) -> None:
        run = self._run
        app, life = run.app, run.life
        if app is None or life is None or run.is_over:
            return
        day = f"on day {run.scheduler.now / DAY:.0f}"
        rows = app._ledger._memory.closed
        self._most_rows = max(self._most_rows, rows)
        expected = self._expected_rows()
        if rows > expected + FEW:
            self._fault(f"the ledger has {rows} rows {day}, and {expected} are not pruned yet")
        sizes = {path.name: path.stat().st_size for path in run.disk.folder.iterdir()}
        log = sum(size for name, size in sizes.items() if name.endswith("-wal"))
        if log > LOG_BYTES:
            self._fault(f"the log has {log} bytes {day}")
        size = sum(sizes.values()) - log
        # What was large once stays so: SQLite uses the room again.
        if size > BASE_BYTES + BYTES_A_ROW * (self._most_rows + FEW):
            self._fault(f"the folder has {size} bytes {day}, for {self._most_rows} rows at most")
        found = objects_of(app)
        count = found.total()
        result = run.result
        result.objects = max(result.objects, count)
        result.rows, result.size = self._most_rows, max(result.size, size)
        workflows = run.service.ended_since(life_begin(run, life))
        if count > BASE_OBJECTS + OBJECTS_A_WORKFLOW * (workflows + rows):
            most = ", ".join(f"{name} {number}" for name, number in found.most_common(8))
            self._fault(f"{count} objects {day}, after {workflows} workflows: {most}")

    def _expected_rows(self) -> int:
        run = self._run
        known_by = run.scheduler.now - LATE_SECONDS - 2 * run.plan.interval
        latest = run.service.latest_end(known_by)
        return run.service.ended_since(latest - 2 * run.plan.lookback - LATE_SECONDS)

    def _fault(self, text: str) -> None:
        self._run.result.faults.append(text)
        self._run.is_over = True


def life_begin(run: Run, life: Life) -> float:
    """When this life began, or a little earlier: it knows what the ledger knew."""
    return run.began_at - 2 * run.plan.lookback if run.begins is life else 0.0


def objects_of(root: object) -> Counter[str]:
    """How many objects of which type the exporter holds, as far as it can be reached."""
    seen, found = {id(root)}, Counter[str]()
    reached: list[Any] = [root]
    while reached:
        each = reached.pop()
        found[type(each).__name__] += 1
        for other in gc.get_referents(each):
            if id(other) in seen or isinstance(other, _FOREIGN):
                continue
            if type(other).__module__.startswith(("tests.", "greenlet")):
                continue
            seen.add(id(other))
            reached.append(other)
    return found
