"""The reference page explains every value that a label can have, and none that it cannot."""

from functools import partial
from typing import get_args

import pytest

from exporter.comfycontrol import Endpoint
from exporter.following.reconciling import COMPARED, SHOWN
from exporter.interfaces.observations import FINAL_STATUSES, OPEN_STATUSES, Status
from exporter.interfaces.telemetry import SnapshotResult, StreamEnd
from exporter.ledger.forms import COUNTERS, HISTOGRAMS, CounterName, HistogramName, form_of
from exporter.metrics.catalogue import BY_NAME, CATALOGUE, Metric
from exporter.metrics.label_values import FREE_LABELS
from exporter.metrics.reading import OTHER_STATUS

TOTALS = [(m.read.keywords["name"], m) for m in CATALOGUE if isinstance(m.read, partial)]
"""The totals of the ledger that the catalogue shows as they are."""


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_label_is_free_or_explained(metric: Metric) -> None:
    assert set(metric.values) == set(metric.labels) - FREE_LABELS


def test_every_total_is_shown() -> None:
    # The two overflows are one metric.
    apart = {"label_overflow", "slice_overflow"}
    shown = [name for name, _ in TOTALS]
    assert sorted([*shown, *apart]) == sorted([*COUNTERS, *HISTOGRAMS])


@pytest.mark.parametrize(("name", "metric"), TOTALS)
def test_a_total_is_shown_by_what_the_ledger_counts_it_by(
    name: CounterName | HistogramName, metric: Metric
) -> None:
    form = form_of(name)
    assert set(metric.labels) == {"account", *form.labels}
    assert metric.sliced == form.sliced
    for label, values in metric.values.items():
        column = list(form.labels).index(label)
        # An end in a status that nobody knows has its series once there was one.
        explained = [v for v in values if (form.labels[label], v) != ("status", Status.OTHER)]
        assert sorted(explained) == sorted({known[column] for known in form.initial})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("comfycontrol_workflows", [s.value for s in OPEN_STATUSES] + [OTHER_STATUS]),
        ("comfycontrol_workflow_run_duration_seconds", [s.value for s in FINAL_STATUSES]),
        ("comfycontrol_service_workflows", [s.value for s in (*SHOWN, *COMPARED)]),
        ("comfycontrol_reconciliation_difference", [s.value for s in COMPARED]),
        ("comfycontrol_api_requests_total", get_args(Endpoint)),
        ("comfycontrol_stream_ends_total", get_args(StreamEnd)),
        ("comfycontrol_stream_snapshots_total", get_args(SnapshotResult)),
    ],
)
def test_what_others_count_by(name: str, expected: list[str]) -> None:
    (values,) = BY_NAME[name].values.values()
    assert sorted(values) == sorted(expected)
