"""Whether what was counted is what happened, and whether anything grows."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from tests.simulation.plan import ACCOUNT
from tests.simulation.scraper import samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.app.app import App
    from tests.simulation.scheduler import Life
    from tests.simulation.scraper import Scraper
    from tests.simulation.services import Simulated, Truth

LIMIT: Final = 40
PERIOD: Final = 10.0
TOLERANCE: Final = 1e-5
ON_ITS_WAY: Final = 0.3
"""Seconds."""

LIST_SECONDS: Final = 120.0
"""Once all is right, a pass over the list began within this time and is complete: one begins every
20 s at most, and takes a minute at most by a small share and pages of five rows."""

MOST_THREADS: Final = 40
MOST_SOCKETS: Final = 40
MOST_WAITING: Final = 100
MOST_FILES: Final = 12
MOST_BYTES: Final = 8_000_000


def counted(app: App) -> Counter[str]:
    """Outcomes by the ledger."""
    outcomes = Counter[str]()
    for labels, total in app._ledger.snapshot().totals.counters_named("finished"):
        outcomes[labels[1]] += int(total.value)
    return +outcomes


def differences(app: App, service: Simulated, wall: float, age: float, lately: float) -> list[str]:
    """Ways in which what is counted is not what happened; those that cost least first.

    `wall` is the machine's clock, `age` that of the process. The list must have been read within
    `lately` seconds.
    """
    snapshot = app._ledger.snapshot()
    truth: Truth = service.truth()
    told = []
    outcomes, expected = counted(app), Counter(truth.outcomes)
    if expected - outcomes or (outcomes - expected) - truth.early:
        told.append(f"outcomes are {dict(outcomes)}, in truth {truth.outcomes}")
    if snapshot.open_workflows and service.is_idle():
        told.append(f"{len(snapshot.open_workflows)} are still open")
    causes = Counter[tuple[str, str]]()
    for labels, total in snapshot.totals.counters_named("failures"):
        causes[labels[1], labels[2]] += int(total.value)
    if truth.causes is not None and +causes != Counter(truth.causes):
        told.append(f"causes are {dict(+causes)}, in truth {truth.causes}")
    if told:
        return told
    latest = samples(app.page.render("text/plain").body.decode())
    return [
        *_of_durations(latest, truth),
        *_of_account(latest),
        *_of_list(latest, wall, age, lately),
    ]


def _of_account(latest: dict[str, float]) -> Iterator[str]:
    """Whether it says that the account works. After a refused token it takes a while to try."""
    up = latest.get(f'comfycontrol_account_up{{account="{ACCOUNT}"}}')
    if up != 1:
        yield f"the account is up, and account_up says {up}"


def _of_list(latest: dict[str, float], wall: float, age: float, most: float) -> Iterator[str]:
    """Whether the list was read lately. A pass that was held up says when it began."""
    at = latest.get(f'comfycontrol_listing_last_success_timestamp_seconds{{account="{ACCOUNT}"}}')
    if age > most and (at is None or wall - at > most):
        yield f"the list was read {wall - (at or 0):.0f} s ago, it says"


def _of_durations(latest: dict[str, float], truth: Truth) -> Iterator[str]:
    name = "comfycontrol_workflow_run_duration_seconds"
    latest = {series: value for series, value in latest.items() if series.startswith(name)}
    for status, (count, least, most) in truth.runs.items():
        found, seconds = (
            sum(
                value
                for series, value in latest.items()
                if series.startswith(f"{name}_{part}{{") and f'status="{status}"' in series
            )
            for part in ("count", "sum")
        )
        if not count <= found <= count + truth.early[status]:
            yield f"{found:g} runs of {status}, in truth {count}"
        if truth.early[status]:
            continue
        if not least - TOLERANCE <= seconds <= most + TOLERANCE:
            yield f"{seconds} s of {status}, in truth {least} to {most}"


def of_sums(latest: dict[str, float]) -> Iterator[str]:
    """Whether what was discovered is finished or dropped, when nothing is open."""
    discovered, finished, dropped = (
        sum(
            value
            for series, value in latest.items()
            if series.startswith(f"comfycontrol_workflows_{name}_total{{")
        )
        for name in ("discovered", "finished", "dropped")
    )
    if discovered != finished + dropped:
        yield f"discovered {discovered:g} is not finished {finished:g} + dropped {dropped:g}"


def of_itself(
    latest: dict[str, float], wall: float, age: float, lately: float = LIST_SECONDS
) -> Iterator[str]:
    """What the page says of the exporter, when all has been right for a while.

    `age` is that of the process: a young one may still be at its first pass. The list must have
    been read within `lately` seconds.
    """
    yield from _of_account(latest)
    yield from _of_list(latest, wall, age, lately)
    for series, value in latest.items():
        if series.startswith("comfycontrol_exporter_ledger_regressions_total") and value:
            yield "it says that a counter has stepped back"


def of_requests(
    service: Simulated, share: int, forgot_at: Sequence[float], *, others_ask: bool
) -> Iterator[str]:
    """Whether more was asked than our share, or anything refused, by the service's clock.

    A process that knows nothing of what was asked before it has what the limit leaves beside one
    share; `forgot_at` is when those before such ones ended.
    """
    window: deque[float] = deque()
    for at in service.asked_at():
        window.append(at)
        # The service's window is open at its beginning.
        while window[0] <= at - PERIOD:
            window.popleft()
        has_forgotten = any(window[0] <= each <= at for each in forgot_at)
        allowed = share + min(share, LIMIT - share) * has_forgotten
        if len(window) > allowed:
            yield f"{len(window)} requests in the period until {at:.3f}, {allowed} are allowed"
            break
    if service.refused() and not (others_ask or service.has_neighbours):
        yield f"{service.refused()} requests were refused"


def of_first_steps(
    service: Simulated, share: int, starts: Sequence[tuple[float, float]]
) -> Iterator[str]:
    """Whether a process that knew of no earlier request left room for them."""
    for begin, end in starts:
        # What the process before has sent may arrive a moment after its end.
        count = sum(begin + ON_ITS_WAY < at < end for at in service.asked_at())
        if count > max(0, LIMIT - share):
            told = f"{count} requests in the first period from {begin:.3f}"
            yield f"{told}, by a start that knew of none"


def of_increase(scrapers: Sequence[Scraper], truth: Counter[str]) -> Iterator[str]:
    """Whether both servers have seen grow what was counted."""
    for number, scraper in enumerate(scrapers):
        if scraper.was_cut:
            continue
        for status in ("completed", "failed", "cancelled", "invalid"):
            found = expected = 0.0
            is_known = False
            for series, points in scraper.series.items():
                if not series.startswith("comfycontrol_workflows_finished_total{"):
                    continue
                if f'status="{status}"' not in series or len(points) < 2:
                    continue
                is_known = True
                found += scraper.increase(series, points[0][0] - 1e-9, points[-1][0]) or 0.0
                expected -= points[0][1]
            expected += truth[status]
            if is_known and abs(found - expected) > 1e-6 * max(1.0, expected):
                yield f"scraper {number}: increase of {status} is {found}, in truth {expected}"
        if not scraper.is_frequent:
            continue
        # Series whose labels nobody knew in advance: each is seen at 0 first.
        first = sum(
            points[0][1]
            for series, points in scraper.series.items()
            if points and series.startswith("comfycontrol_workflow_failures_total{")
        )
        if first:
            yield f"scraper {number}: failures of new labels began at {first:g}, not at 0"


def of_growth(app: App, life: Life, sockets: int, files: dict[str, int]) -> Iterator[str]:
    """Whether anything is left that should have been let go, when nothing is open.

    `sockets`: without one for each workflow that was open at once. Those of streams that have ended
    stay in the pool, to be used again.
    """
    threads = [task.name for task in life.alive()]
    if len(threads) > MOST_THREADS:
        yield f"{len(threads)} threads: {threads[:60]}"
    if sockets > MOST_SOCKETS:
        yield f"{sockets} connections more are open than there were workflows"
    waiting = {
        "history": len(app._history._inbox),
        "budgets": sum(
            len(queue)
            for budget in app._budgets._budgets.values()
            for queue in budget._waiting.values()
        ),
        "journals": sum(len(budget._notes) for budget in app._budgets._budgets.values()),
    }
    yield from (
        f"{count} wait in the {name}" for name, count in waiting.items() if count > MOST_WAITING
    )
    pool = app._accounts.followed[ACCOUNT]._access._threads
    if pool._jobs and pool._name not in threads:
        yield f"{len(pool._jobs)} requests wait for a thread, and there is none"
    if len(files) > MOST_FILES or sum(files.values()) > MOST_BYTES:
        yield f"the folder has grown: {files}"
