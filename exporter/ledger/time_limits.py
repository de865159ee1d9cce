"""How long the ledger waits for a workflow to be seen, and for a pending cause or duration."""

from collections.abc import Collection
from math import inf

from exporter.interfaces.observations import Moment
from exporter.ledger.tracker import CAUSE_PATIENCE_SECONDS
from exporter.ledger.workflow import Workflow


class TimeLimits:
    """Measures these times; they begin again after nothing could be seen of a whole account.

    An outage, or a token that was revoked over a weekend, says nothing about a single workflow.
    """

    def __init__(self) -> None:
        # By account: monotonic time until which nothing could be seen of it.
        self._in_sight_since: dict[str, float] = {}

    def note_out_of_sight(self, accounts: Collection[str], now: Moment) -> None:
        """Note that nothing can be seen of these accounts now."""
        self._in_sight_since.update(dict.fromkeys(accounts, now.monotonic))

    def is_unseen(self, workflow: Workflow, lookback: float, now: Moment) -> bool:
        """Whether a workflow was not seen for longer than this many seconds."""
        return self._passed(workflow, workflow.last_seen or workflow.first_seen, now) > lookback

    def is_pending_too_long(self, workflow: Workflow, now: Moment) -> bool:
        """Whether a cause or a duration has been pending for too long."""
        since = workflow.pending_since
        return since is not None and self._passed(workflow, since, now) > CAUSE_PATIENCE_SECONDS

    def _passed(self, workflow: Workflow, since: Moment, now: Moment) -> float:
        in_sight = self._in_sight_since.get(workflow.account, -inf)
        return now.monotonic - max(since.monotonic, in_sight)
