"""Open and recently ended workflows by each value of a slice. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from exporter.history.minutes import FAILED, Hour
from exporter.interfaces.views import SliceView
from exporter.ledger.slicing import matched
from exporter.ledger.workflow import Workflow


def by_slice(
    workflows: Iterable[Workflow], hour: Hour, defaults: Mapping[str, str]
) -> tuple[SliceView, ...]:
    """All values of the configured labels, most failures first.

    Args:
        workflows: the open workflows.
        hour: the last hour, with ended workflows.
        defaults: by label, the value that is shown if nothing matched.
    """
    open_now = [matched(workflow.slices) for workflow in workflows]
    return tuple(
        view
        for label, default in defaults.items()
        for view in sorted(
            _of_label(label, default, open_now, hour),
            key=lambda view: (-view.failed, -view.ended, -view.open, view.value),
        )
    )


def _of_label(
    label: str, default: str, open_now: list[dict[str, str]], hour: Hour
) -> Iterator[SliceView]:
    is_open = Counter(each.get(label, default) for each in open_now)
    ended = {value: counts for (its, value), counts in hour.slices.items() if its == label}
    # Workflows without a match are the rest of all ended ones.
    all_ended = sum(hour.outcomes.values())
    all_failed = sum(count for status, count in hour.outcomes.items() if status in FAILED)
    rest = (
        all_ended - sum(counts[0] for counts in ended.values()),
        all_failed - sum(counts[1] for counts in ended.values()),
    )
    before = ended.get(default, (0, 0))
    ended[default] = before[0] + rest[0], before[1] + rest[1]
    for value in {**is_open, **ended}:
        amounts = is_open[value], *ended.get(value, (0, 0))
        if any(amounts):
            yield SliceView(label, value, *amounts)
