"""Reads an account's whole list now and then, even if the totals agree.

A total is only a number. It does not show an outcome that was not counted if, within the same
comparison, a workflow of its status was deleted or ran again, or if a run ended like the run before
it. Within the lookback the lister's sweep finds such a run. Only the audit reads older rows.
"""

from math import inf

from exporter.comfycontrol import WorkflowSummary
from exporter.following.reconciling import ListWalk, Sought, next_audit
from exporter.following.rereading import ComparedAccount, reread
from exporter.interfaces.observations import Recovery, Status, known_status


class Audit:
    """Reads one page at each call, and says when the next one is due. For one task.

    Args:
        account: whose list it is, and what is needed to read it.
    """

    def __init__(self, account: ComparedAccount) -> None:
        self._account = account
        self._walk: ListWalk | None = None
        self._began = -inf
        self._due_at = -inf

    @property
    def due_at(self) -> float:
        """When the next page should be read; monotonic seconds."""
        return self._due_at

    async def read(self) -> list[tuple[Status | None, str, Recovery]]:
        """Read a page.

        Returns:
            For each row that was checked again: its status (None: an unknown one), its id, and
            what became of it.

        Raises:
            StoppedError: the process is ending.
            ServiceError: reading cannot continue. The next audit begins at the top.
        """
        now = self._account.now().monotonic
        baselines = self._account.books.baselines(self._account.name)
        if not baselines:
            # Nothing was compared yet, so it is unknown which outcomes are from before counting
            # began.
            self._due_at = now + self._account.pace.settle
            return []
        if self._walk is None:
            self._began = now
            self._walk = ListWalk(
                self._account.lists.filtered(None, is_repeated=False), is_proof=False
            )
        walk = self._walk
        try:
            shown = await walk.read()
        finally:
            if walk.over:
                self._walk = None
                self._due_at = next_audit(
                    self._began,
                    self._account.now().monotonic,
                    self._account.pace,
                    broken_off=walk.broken_off,
                )
        if shown is None:
            return []
        wall = self._account.lists.service_wall()
        read_at, now_wall = self._account.list_read_at(), self._account.now().wall
        # Outcomes since the lister's last pass, or since the last comparison but one, are found in
        # the normal way.
        found_as_ever = 2 * self._account.pace.every + max(0.0, now_wall - (read_at or 0.0))
        # A status that cannot be compared has no baseline: the latest time of the others is the
        # safe choice.
        latest = max(each.since for each in baselines.values())
        since = {status: each.since for status, each in baselines.items()}
        rows = shown.workflows
        statuses = {row.id: known_status(row.status) for row in rows}

        def sought(row: WorkflowSummary) -> Sought:
            status = statuses[row.id]
            return Sought(
                since=latest if status is None else since.get(status, latest),
                oldest=wall - self._account.terms.lookback,
                youngest=wall - found_as_ever,
            )

        found = await reread(walk, rows, self._account, sought)
        return [(statuses[identity], identity, recovery) for identity, recovery in found]
