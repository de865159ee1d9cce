"""The tracker's rules for a row that is read because an outcome may have been missed.

Pure. The normal rules decide whether, and how, it counts (`exporter.ledger.tracker`).
"""

from dataclasses import replace

from exporter.interfaces.observations import Observation, Recovery, known_status
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import Finished, Recovered
from exporter.ledger.tracker import Change
from exporter.ledger.workflow import Workflow


def observe(workflow: Workflow | None, seen: Observation, rules: CountingRules) -> Change:
    """Apply a row that was read only for the comparison of totals."""
    change = tracker.observe(workflow, seen, rules)
    if _has_finished(change):
        if workflow is None or workflow.phase != "open":
            return replace(change, facts=(*change.facts, Recovered()))
        return change
    if workflow is None and change.workflow is not None and change.workflow.phase == "settled":
        # It had ended before counting began. A list goes back for years: storing such rows would
        # only fill the ledger, and reading them again gives the same result.
        return Change(None)
    return change


def recovery_of(workflow: Workflow | None, change: Change, seen: Observation) -> Recovery:
    """What became of the row, for the search for missing outcomes."""
    after = change.workflow
    if _has_finished(change):
        return "counted" if workflow is not None and workflow.phase == "open" else "recovered"
    if after is None:
        return "old"
    if after.phase != "settled":
        return "open"
    told = known_status(seen.status)
    return "elsewhere" if told is not None and told.final and told is not after.status else "known"


def _has_finished(change: Change) -> bool:
    return any(isinstance(fact, Finished) for fact in change.facts)
