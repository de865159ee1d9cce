"""Ids that the configuration names, directly or in files: which source names which id."""

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final, get_args

from exporter.interfaces.observations import (
    Moment,
    NamedBy,
    Removed,
    Tracked,
    TrackError,
    WorkflowRegister,
)

_SOURCES: Final[tuple[NamedBy, ...]] = get_args(NamedBy)
_WATCHED: Final = tuple(source for source in _SOURCES if source != "configured")
"""The sources outside the configuration. They may be written again with the same ids."""


class NamedIds:
    """The named ids of one account.

    An id is tracked when the first source names it, and untracked when no source names it any
    more: an id that moves from one source to another stays tracked.

    Args:
        account: the configured name.
        register: is notified of ids that come and go.
        now: returns the time of both clocks (wall and monotonic).
        recheck: called with ids that are named again and have ended.
    """

    def __init__(
        self,
        account: str,
        register: WorkflowRegister,
        now: Callable[[], Moment],
        recheck: Callable[[Collection[str], NamedBy], None] = lambda _, __: None,
    ) -> None:
        self._account = account
        self._register = register
        self._now = now
        self._recheck = recheck
        self._lock = threading.Lock()
        self._by_source: dict[NamedBy, frozenset[str]] = {}
        self._withdrawn: set[str] = set()
        """Ids that are still named, but were withdrawn by a request."""
        self._not_tracked: dict[str, tuple[NamedBy, bool]] = {}
        """Ids that could not be tracked yet: their source, and whether they are named again."""

    def begin(self, configured: Collection[str], *, has_files: bool, again: bool) -> None:
        """Track what the configuration names at the start.

        Ids that an earlier process followed by name, and this one does not, are untracked. Ids from
        files are not, because the volume of the files may not be mounted yet.

        Args:
            configured: the ids in the configuration itself.
            has_files: whether it also names files, which are not read yet.
            again: whether they are named now and were not before: dropped ones are tracked again.
        """
        ids = frozenset(configured)
        left = {
            workflow.workflow_id
            for workflow in self._register.open_workflows(self._account)
            if workflow.source == "configured"
        } - ids
        with self._lock:
            self._by_source = {"configured": ids}
            if again or not has_files:
                # So every id that a file names later counts as named again.
                self._by_source |= dict.fromkeys(_WATCHED, frozenset())
            self._track_all("configured", ids, again=again)
            self._untrack_all(left)

    def replace(self, ids: Mapping[NamedBy, Collection[str]], again: Collection[str] = ()) -> None:
        """Set the ids that these sources name; other sources do not change.

        Args:
            ids: the ids, by source.
            again: ids that were written again, perhaps unchanged: a withdrawn one of these is
                tracked again.
        """
        with self._lock:
            before = self._by_source
            self._by_source = after = {**before, **{s: frozenset(ids[s]) for s in ids}}
            for source in _SOURCES:
                brought_back = self._withdrawn.intersection(again) if source in _WATCHED else set()
                named = after.get(source, frozenset()) - (
                    before.get(source, frozenset()) - brought_back
                )
                # When a file is read for the first time, it is unknown when it was written.
                self._track_all(source, named, again=source in before)
            self._withdrawn.difference_update(again)
            self._withdrawn.intersection_update(_all(after))
            self._untrack_all(_all(before) - _all(after))

    def note_withdrawn(self, workflow_id: str) -> None:
        """Note that a DELETE untracked this id: it stays untracked until a source adds it again."""
        with self._lock:
            self._not_tracked.pop(workflow_id, None)
            if workflow_id in _all(self._by_source):
                self._withdrawn.add(workflow_id)

    def retry(self) -> None:
        """Try again to track ids that could not be tracked before."""
        with self._lock:
            for workflow_id, (source, again) in list(self._not_tracked.items()):
                self._track_all(source, (workflow_id,), again=again)
                if workflow_id in self._not_tracked:
                    return  # the others would fail too, and each try may take seconds

    def _track_all(self, source: NamedBy, ids: Collection[str], *, again: bool) -> None:
        ended = []
        for workflow_id in sorted(ids):
            taken = Tracked(self._account, workflow_id, source, self._now(), again=again)
            try:
                is_new = self._register.track(taken)
            except TrackError:
                self._not_tracked[workflow_id] = source, again
                continue
            self._not_tracked.pop(workflow_id, None)
            if again and not is_new and not self._register.is_open(self._account, workflow_id):
                ended.append(workflow_id)
        if ended:
            # They were named just now, so there may be something new.
            self._recheck(ended, source)

    def _untrack_all(self, ids: Collection[str]) -> None:
        if not ids:
            return
        for workflow_id in ids:
            self._not_tracked.pop(workflow_id, None)
        # Pushed ids stay tracked, even if the configuration named them too.
        ours = {
            workflow.workflow_id
            for workflow in self._register.open_workflows(self._account)
            if workflow.source in _SOURCES
        }
        for workflow_id in sorted(ours.intersection(ids)):
            self._register.untrack(Removed(self._account, workflow_id, "withdrawn", self._now()))


def _all(by_source: Mapping[NamedBy, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*by_source.values())
