"""Ids that a user's own program pushes after it has submitted a workflow."""

import hmac
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from exporter.config import TokenSource, TokenUnreadableError
from exporter.interfaces.observations import (
    Moment,
    NoRoomError,
    OpenWorkflow,
    Removed,
    Tracked,
    Traits,
    WorkflowRegister,
)


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push."""

    taken_up: int
    known: int
    """How many are known and open."""
    looked_at: int
    """How many are known and have ended: the service is asked whether they run again."""


class TooManyPushedError(NoRoomError):
    """There was no room for all pushed ids.

    Attributes:
        taken_up: how many of them are tracked.
    """

    def __init__(self, reason: str, taken_up: int) -> None:
        """Create the error, with its reason and how many ids were tracked."""
        super().__init__(reason)
        self.taken_up = taken_up


class PushedIds:
    """Accepts pushed ids for the accounts that allow it.

    Args:
        tokens: the push token of each account that allows pushing.
        register: is notified of the ids.
        now: returns the time of both clocks (wall and monotonic).
        recheck: called with an account and pushed ids of it that have ended.
        on_withdrawn: called with the account and the id that was withdrawn.
    """

    def __init__(
        self,
        tokens: Mapping[str, TokenSource],
        register: WorkflowRegister,
        now: Callable[[], Moment],
        recheck: Callable[[str, Collection[str]], None],
        on_withdrawn: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        self._tokens: Mapping[str, TokenSource] = dict(tokens)
        self._register = register
        self._now = now
        self._recheck = recheck
        self._on_withdrawn = on_withdrawn

    def change(self, tokens: Mapping[str, TokenSource]) -> None:
        """Set the accounts that accept pushed ids."""
        self._tokens = dict(tokens)

    @property
    def allowed(self) -> bool:
        """Whether any account accepts pushed ids."""
        return bool(self._tokens)

    def accounts_of(self, token: str) -> list[str]:
        """The accounts of this token. It is compared with all tokens: timing reveals nothing."""
        shown = token.encode("utf-8", "replace")
        found = []
        for account, source in self._tokens.items():
            try:
                expected = source.read().encode()
            except TokenUnreadableError:
                continue
            if hmac.compare_digest(shown, expected):
                found.append(account)
        return found

    def push(
        self, account: str, ids: Iterable[str], traits: Mapping[str, Traits] | None = None
    ) -> Pushed:
        """Track these ids, and check ended ones again.

        `traits` has the names and tags, for ids that have any.

        Raises:
            TooManyPushedError: there is no room for all of them.
            TrackError: not all of them were tracked; pushing them again is harmless.
        """
        taken_up = known = 0
        ended: list[str] = []
        try:
            for workflow_id in ids:
                taken = Tracked(
                    account,
                    workflow_id,
                    "pushed",
                    self._now(),
                    again=True,
                    traits=None if traits is None else traits.get(workflow_id),
                )
                if self._register.track(taken):
                    taken_up += 1
                elif self._register.is_open(account, workflow_id):
                    known += 1
                else:
                    ended.append(workflow_id)
        except NoRoomError as error:
            raise TooManyPushedError(str(error), taken_up) from None
        finally:
            if ended:
                self._recheck(account, ended)
        return Pushed(taken_up=taken_up, known=known, looked_at=len(ended))

    def untrack(self, account: str, workflow_id: str) -> bool:
        """Stop following this id; return whether it was open."""
        was_open = self._register.is_open(account, workflow_id)
        if was_open:
            self._register.untrack(Removed(account, workflow_id, "withdrawn", self._now()))
            self._on_withdrawn(account, workflow_id)
        return was_open

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """The open workflows of an account, the oldest first."""
        workflows = self._register.open_workflows(account)
        return sorted(workflows, key=lambda w: (w.created_at or w.first_seen.wall, w.workflow_id))
