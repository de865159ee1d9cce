"""Compares the service's own totals with what was counted, and searches for what is missing."""

import logging
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from exporter.comfycontrol import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ServerFaultError,
    ServiceError,
    WorkflowPage,
)
from exporter.following.audit import Audit
from exporter.following.loop import RepeatedTask, ServiceLoop
from exporter.following.reconciling import (
    COMPARED,
    DOCUMENTED,
    PASSES,
    SHOWN,
    UNEXPLAINED_SECONDS,
    ListWalk,
    Reconciliation,
    Shortfall,
    Sight,
    Sought,
    contradicts,
    counts_since,
    judge,
)
from exporter.following.rereading import ComparedAccount, observe_recent, reread
from exporter.interfaces.observations import Baseline, Recovery, Status
from exporter.retrying import RetryPolicy

log = logging.getLogger(__name__)

NOT_OFFERED_SECONDS: Final = 3600.0
"""Seconds after which a status is tried again for which the service has no filter."""

MOST_ROUNDS: Final = 10
"""A comparison that takes longer than so many intervals is dropped, because the list is not being
read."""

CLOCK_SECONDS: Final = 2.0
"""Tolerance in seconds: the service gives its time in whole seconds, perhaps a second late."""

MOST_ELSEWHERE: Final = 10_000
"""How many workflows are remembered that are recorded under another status."""


@dataclass(slots=True)
class _Round:
    """One comparison, from its first reading of the ledger to its second. Monotonic seconds."""

    began: float
    ask_at: float
    counted: dict[Status, int]
    totals: dict[Status, int] = field(default_factory=dict)
    is_whole: bool = True
    asked_at: float = inf
    """Unix seconds by the service's clock: not earlier than the last answer."""
    judge_at: float = inf
    """When to compare; infinite until the totals were requested."""
    passes: int = 0
    passed_at: float | None = None


class Reconciler(RepeatedTask):
    """Does what is due at each step, and says when the next one is.

    Args:
        loop: where it runs.
        account: whose list it is, and what is needed to read it.
    """

    def __init__(self, loop: ServiceLoop, account: ComparedAccount) -> None:
        super().__init__(
            loop,
            self.step,
            task="comparing totals",
            retry=RetryPolicy((max(1.0, account.pace.page),)),
            account=account.name,
        )
        self._account = account
        self._round: _Round | None = None
        self._round_at = -inf
        self._before: dict[Status, Sight] = {}
        # Statuses whose lists were last refused, and until when they are not requested again
        # (monotonic seconds).
        self._refused: dict[Status, float] = {}
        self._shortfalls: dict[Status, Shortfall] = {}
        self._elsewhere: set[str] = set()
        self._page_at = -inf
        self._audit = Audit(account)
        self._shown = Reconciliation()

    def reading(self) -> Reconciliation:
        """The latest results. Any thread may call it."""
        return self._shown

    async def step(self) -> float:
        """Do what is due; return the seconds until the next step.

        Raises:
            StoppedError: the process is ending.
        """
        if self._account.list_read_at() is None:
            # Until the list was read completely, everything missing may simply be in the backlog.
            return self._account.pace.settle / 10
        try:
            await self._compare()
        except ServiceError as error:
            self._failed(error)
            self._drop_round()
        try:
            await self._read_if_due()
        except ServiceError as error:
            self._failed(error)
        now = self._account.now().monotonic
        return max(0.0, min(self._next_check_at(), self._next_page_at(now)) - now)

    def _failed(self, error: ServiceError) -> None:
        # Other parts also read the list, and they report an outage.
        log.debug(
            "comparing totals failed", extra={"account": self._account.name, "code": error.code}
        )

    # Comparing --------------------------------------------------------------------------------

    def _next_check_at(self) -> float:
        if self._round is None:
            return self._round_at
        if not self._round.totals:
            return self._round.ask_at
        return max(
            self._round.judge_at, self._account.now().monotonic + self._account.pace.settle / 10
        )

    async def _compare(self) -> None:
        now = self._account.now().monotonic
        round_ = self._round
        if round_ is None:
            if now >= self._round_at:
                counted = self._account.books.finished(self._account.name)
                self._round = _Round(now, now + self._account.pace.settle, counted)
                self._round_at = now + self._account.pace.every
        elif not round_.totals:
            if now >= round_.ask_at:
                await self._ask_totals(round_)
        elif now >= round_.judge_at and self._has_settled(round_):
            self._round = None
            self._judge(round_)
        elif now - round_.began > MOST_ROUNDS * max(
            self._account.pace.every, self._account.terms.interval
        ):
            self._drop_round()

    def _drop_round(self) -> None:
        self._round = None
        self._round_at = max(
            self._round_at, self._account.now().monotonic + self._account.pace.settle
        )

    async def _ask_totals(self, round_: _Round) -> None:
        for status in (*SHOWN, *COMPARED):
            if self._refused.get(status, -inf) > self._account.now().monotonic:
                continue
            shown = await self._ask_total(status)
            if shown is None or contradicts(status, shown):
                round_.is_whole = False
                self._note_refused(status, is_wrong=shown is not None)
                continue
            self._refused.pop(status, None)
            if shown.total is None:
                round_.is_whole = False
            else:
                round_.totals[status] = shown.total
        round_.asked_at = self._account.lists.service_wall() + CLOCK_SECONDS
        round_.judge_at = self._account.now().monotonic + self._account.pace.settle
        round_.passed_at = self._account.list_read_at()
        if not round_.totals:
            self._drop_round()

    async def _ask_total(self, status: Status) -> WorkflowPage | None:
        """Read the first row of the list of one status, with its total.

        None: there is no such list.
        """
        try:
            shown = await self._account.lists.total(status.value)
        except (BadRequestError, NotFoundError, ForbiddenError):
            return None
        except ServerFaultError:
            # The service may answer anything to a filter that it does not document.
            if status in DOCUMENTED:
                raise
            return None
        account = self._account
        since_pass = account.now().wall - (account.list_read_at() or 0.0)
        await observe_recent(
            shown.workflows, account, account.lists.service_wall() - since_pass - CLOCK_SECONDS
        )
        return shown

    def _note_refused(self, status: Status, *, is_wrong: bool) -> None:
        """Note that the list of a status was refused.

        After twice in a row, it is not tried for a while. `is_wrong`: another list was shown, so
        its total means nothing.
        """
        if status not in self._refused:
            self._refused[status] = -inf
            return
        self._refused[status] = self._account.now().monotonic + NOT_OFFERED_SECONDS
        self._before.pop(status, None)
        self._shortfalls.pop(status, None)
        if is_wrong and status in COMPARED:
            self._account.books.set_baseline(self._account.name, status, None)
        self._shown = replace(
            self._shown,
            service={s: n for s, n in self._shown.service.items() if s is not status},
            differences={s: n for s, n in self._shown.differences.items() if s is not status},
        )

    def _has_settled(self, round_: _Round) -> bool:
        read_at = self._account.list_read_at()
        if read_at != round_.passed_at:
            round_.passed_at = read_at
            round_.passes += 1
        return round_.passes >= PASSES

    def _judge(self, round_: _Round) -> None:
        counted = self._account.books.finished(self._account.name)
        baselines = self._account.books.baselines(self._account.name)
        differences = dict(self._shown.differences)
        for status in COMPARED:
            if status not in round_.totals:
                continue
            sight = Sight(
                round_.totals[status], round_.counted[status], counted[status], round_.asked_at
            )
            before = self._before.get(status)
            baseline = self._still_good(status, baselines.get(status))
            verdict = judge(None if baseline is None else baseline.value, sight, before)
            self._before[status] = sight
            since = self._counts_since() if baseline is None else baseline.since
            self._keep_baseline(status, verdict.baseline, since)
            if verdict.missing is not None:
                differences[status] = verdict.missing
                ended_by = sight.asked_at if before is None else before.asked_at
                self._note_missing(status, verdict.missing, ended_by)
        self._shown = Reconciliation(
            service={**self._shown.service, **round_.totals},
            differences=differences,
            completed_at=self._account.now().wall if round_.is_whole else self._shown.completed_at,
        )

    def _still_good(self, status: Status, baseline: Baseline | None) -> Baseline | None:
        """The baseline; None if so much time has passed that missing outcomes would not count."""
        if (
            baseline is None
            or self._account.now().wall - baseline.compared_at <= self._account.terms.lookback
        ):
            return baseline
        log.warning(
            "totals were not compared for longer than the lookback: uncounted outcomes of "
            "that time are not searched for",
            extra={"account": self._account.name, "status": status.value},
        )
        return None

    def _counts_since(self) -> float:
        return counts_since(
            self._account.books.counting_cutoff(self._account.name),
            self._account.lists.service_wall(),
        )

    def _keep_baseline(self, status: Status, value: int, since: float) -> None:
        baseline = Baseline(value, self._account.now().wall, since)
        self._account.books.set_baseline(self._account.name, status, baseline)

    def _raise_baseline(self, status: Status, by: int) -> None:
        baseline = self._account.books.baselines(self._account.name).get(status)
        if baseline is not None:
            self._keep_baseline(status, baseline.value + by, baseline.since)

    # What is missing --------------------------------------------------------------------------

    def _note_missing(self, status: Status, missing: int, ended_by: float) -> None:
        now = self._account.now().monotonic
        shortfall = self._shortfalls.get(status)
        if shortfall is None:
            if missing:
                self._shortfalls[status] = Shortfall(
                    status, missing, now, ended_by, wait=self._account.pace.again, read_at=now
                )
                log.info(
                    "the service has more workflows in a status than were counted: searching "
                    "the list for them",
                    extra=self._about(status, workflows=missing),
                )
            return
        shortfall.note(missing, ended_by, now)
        if not missing:
            del self._shortfalls[status]
            log.info(
                "the difference to the service's total is resolved",
                extra=self._about(
                    status,
                    recovered=shortfall.recovered,
                    counted_otherwise=shortfall.elsewhere,
                    known_before=shortfall.corrected,
                ),
            )
        elif now - shortfall.since > UNEXPLAINED_SECONDS and not shortfall.is_told:
            shortfall.is_told = True
            walk = shortfall.last_walk
            log.warning(
                "the service has more workflows in a status than were counted, and the list "
                "does not show which",
                extra=self._about(
                    status,
                    workflows=missing,
                    total=None if walk is None else walk.total,
                    read=None if walk is None else walk.rows,
                    unreadable=None if walk is None else walk.unreadable,
                ),
            )

    def _about(self, status: Status, **more: int | None) -> dict[str, object]:
        told = {key: value for key, value in more.items() if value is not None}
        return {"account": self._account.name, "status": status.value, **told}

    # Reading ----------------------------------------------------------------------------------

    def _next_page_at(self, now: float) -> float:
        due = min((s.due_at(now) for s in self._shortfalls.values()), default=inf)
        due = min(due, self._audit.due_at)
        return max(self._page_at, due)

    async def _read_if_due(self) -> None:
        """Read a page: of a status with missing outcomes, or otherwise of the whole list."""
        now = self._account.now().monotonic
        if now < self._next_page_at(now):
            return
        self._page_at = now + self._account.pace.page
        for shortfall in self._shortfalls.values():
            if shortfall.due_at(now) <= now:
                await self._read_for(shortfall)
                return
        for status, workflow_id, recovery in await self._audit.read():
            found = None if status is None else self._shortfalls.get(status)
            if found is not None and recovery in {"recovered", "counted"}:
                self._explain(found, [(workflow_id, recovery)])
                self._show(found)

    async def _read_for(self, shortfall: Shortfall) -> None:
        status = shortfall.status
        baseline = self._account.books.baselines(self._account.name).get(status)
        if baseline is None:
            # A reload of the configuration has ended this comparison.
            del self._shortfalls[status]
            return
        if shortfall.walk is None:
            shortfall.walk = ListWalk(self._account.lists.filtered(status.value, is_repeated=False))
        walk = shortfall.walk
        try:
            shown = await walk.read()
            if shown is not None and contradicts(status, shown):
                self._refused[status] = -inf
                self._note_refused(status, is_wrong=True)
                return
            if shown is not None:
                found = await self._reread(shortfall, walk, shown, baseline)
                self._explain(shortfall, found)
        finally:
            is_over = walk.over or not shortfall.missing
            if is_over and shortfall.end(self._account.now().monotonic, self._account.pace):
                # Some workflows were hidden when the baseline was determined, or later.
                self._raise_baseline(status, shortfall.missing)
                shortfall.corrected += shortfall.missing
                shortfall.missing = 0
        self._show(shortfall)

    def _show(self, shortfall: Shortfall) -> None:
        differences = {**self._shown.differences, shortfall.status: shortfall.missing}
        self._shown = replace(self._shown, differences=differences)

    async def _reread(
        self, shortfall: Shortfall, walk: ListWalk, shown: WorkflowPage, baseline: Baseline
    ) -> list[tuple[str, Recovery]]:
        sought = Sought(
            since=baseline.since,
            oldest=self._account.lists.service_wall() - self._account.terms.lookback,
            youngest=shortfall.ended_by,
        )
        return await reread(
            walk, shown.workflows, self._account, lambda _: sought, shortfall.passed_over or ()
        )

    def _explain(self, shortfall: Shortfall, found: list[tuple[str, Recovery]]) -> None:
        for workflow_id, recovery in found:
            if not shortfall.missing:
                return
            if recovery in {"recovered", "counted"}:
                shortfall.recovered += recovery == "recovered"
                shortfall.missing -= 1
            elif recovery == "elsewhere" and workflow_id not in self._elsewhere:
                # It was counted by the end that was shown first, and the service now shows another
                # one.
                if len(self._elsewhere) < MOST_ELSEWHERE:
                    self._elsewhere.add(workflow_id)
                self._raise_baseline(shortfall.status, 1)
                shortfall.elsewhere += 1
                shortfall.missing -= 1
