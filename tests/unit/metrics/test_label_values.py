"""The reference page explains every value that a label can have, and none that it cannot."""

from typing import get_args

import pytest

from exporter.comfycontrol import Endpoint
from exporter.following.reconciling import COMPARED, SHOWN
from exporter.interfaces.observations import FINAL_STATUSES, OPEN_STATUSES, Status
from exporter.interfaces.telemetry import SnapshotResult, StreamEnd
from exporter.ledger.totals import FIXED_LABELS, CounterName
from exporter.metrics.catalogue import BY_NAME, CATALOGUE, Metric
from exporter.metrics.label_values import FREE_LABELS
from exporter.metrics.reading import OTHER_STATUS

COUNTERS: dict[CounterName, str] = {
    "discovered": "comfycontrol_workflows_discovered_total",
    "finished": "comfycontrol_workflows_finished_total",
    "dropped": "comfycontrol_workflows_dropped_total",
    "ignored": "comfycontrol_observations_ignored_total",
    "label_overflow": "comfycontrol_label_overflow_total",
}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_label_is_free_or_explained(metric: Metric) -> None:
    assert set(metric.values) == set(metric.labels) - FREE_LABELS


@pytest.mark.parametrize(("counter", "name"), COUNTERS.items())
def test_what_the_ledger_counts_by(counter: CounterName, name: str) -> None:
    (values,) = BY_NAME[name].values.values()
    # An end in a status that nobody knows has its series once there was one.
    fixed = [value for value in values if (counter, value) != ("finished", Status.OTHER)]
    assert [(value,) for value in fixed] == list(FIXED_LABELS[counter])


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
