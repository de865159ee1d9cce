"""The largest number of series of a configuration, metric by metric. Pure.

For `check-config --series`: to decide about slices before the first series exists.
"""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Final

from exporter.config import Account, Config
from exporter.ledger.slicing import OTHER
from exporter.metrics.catalogue import API_DURATION_BUCKETS, CATALOGUE, Metric
from exporter.metrics.instruments import EXPECTED_CODES

CODES: Final = 500
"""The number of HTTP statuses, 100 to 599; answers with others are not accepted."""

_BESIDES: Final = 2
"""How many values are not counted by a cap, such as `unknown` and `other`."""

_OF_HISTOGRAM: Final = 3
"""The series of a histogram besides the configured buckets: `+Inf`, the sum and the count."""

_BUCKETS: Final[Mapping[str, Callable[[Config], int]]] = {
    "comfycontrol_workflow_entry_queue_position": lambda config: len(
        config.metrics.entry_queue_position_buckets
    ),
    "comfycontrol_workflow_time_to_start_seconds": lambda config: len(
        config.metrics.time_to_start_buckets
    ),
    "comfycontrol_workflow_phase_duration_seconds": lambda config: len(
        config.metrics.time_to_start_buckets
    ),
    "comfycontrol_workflow_run_duration_seconds": lambda config: len(
        config.metrics.run_duration_buckets
    ),
    "comfycontrol_api_request_duration_seconds": lambda _: len(API_DURATION_BUCKETS),
}


_COME_LATER: Final = frozenset({"node_type", "exception_type", "workflow_id", "tag"})
"""Labels whose values are known only when a workflow or a runner has them."""


def combinations(config: Config) -> int:
    """How many combinations of slices an account can have, defaults and `other` included."""
    return prod(one.values + len({one.default, OTHER}) for one in config.metrics.slices)


def most_series(config: Config) -> Iterator[tuple[Metric, int]]:
    """Every metric with the most series that it can have.

    If `values` or a cap is lowered later, series that exist by then come on top.
    """
    for metric in CATALOGUE:
        per_account = _runner_tags if "tag" in metric.labels else _once
        accounts = sum(map(per_account, config.accounts)) if "account" in metric.labels else 1
        series = accounts * prod(
            _values(label, metric, config)
            for label in metric.labels
            if label not in {"account", "tag"}
        )
        if metric.sliced and "workflow_id" not in metric.labels:
            series *= combinations(config)
        if metric.type == "histogram":
            series *= _BUCKETS[metric.name](config) + _OF_HISTOGRAM
        yield metric, series


def series_at_first(config: Config) -> int:
    """The largest number of series before the first workflow ends: the known label sets."""
    found = 0
    for metric in CATALOGUE:
        if not _COME_LATER.isdisjoint(metric.labels):
            continue
        series = len(config.accounts) if "account" in metric.labels else 1
        series *= prod(
            len(EXPECTED_CODES) if label == "code" else _values(label, metric, config)
            for label in metric.labels
            if label != "account"
        )
        if metric.type == "histogram":
            series *= _BUCKETS[metric.name](config) + _OF_HISTOGRAM
        found += series
    return found


def table(config: Config) -> str:
    """The numbers as a table for users, the largest first."""
    found = sorted(most_series(config), key=lambda entry: -entry[1])
    total = sum(series for _, series in found)
    width = len(f"{total:,}")
    lines = [f"  {series:>{width},}  {metric.name}" for metric, series in found]
    head = "series at most, metric by metric"
    if config.metrics.slices:
        many = combinations(config)
        head += f", with {many:,} combinations of slices in each account"
    first = (
        f"  {series_at_first(config):>{width},}  of these at first. The others come one by one, "
        "with the causes, slices and places in a queue that there really are"
    )
    return "\n".join([f"{head}:", *lines, f"  {total:>{width},}  in all", first])


def _once(_: Account) -> int:
    return 1


def _runner_tags(account: Account) -> int:
    if account.runners is None or not account.runners.by_tag:
        return 0
    return account.runners.tags + _BESIDES


def _values(label: str, metric: Metric, config: Config) -> int:
    """How many values a label can have."""
    metrics = config.metrics
    many = {
        "node_type": metrics.node_types + _BESIDES,
        "exception_type": metrics.exception_types + _BESIDES,
        "workflow_id": metrics.per_workflow_series,
        "address": len({account.address for account in config.accounts}),
        "code": CODES + len([code for code in EXPECTED_CODES if not code.isdigit()]),
        "version": 1,
        "revision": 1,
        "python_version": 1,
    }
    if label in many:
        return many[label]
    if "slice" in metric.labels:
        # This metric has one series for each slice.
        return len(metrics.slices) if label == "slice" else 1
    slices = len(metrics.slices) if label == "label" else 0
    return len(metric.values[label]) + slices
