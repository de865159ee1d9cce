"""A real Prometheus scrapes every replica through failovers, and its answers are the truth."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from exporter.metrics.scraping import of_accounts_pattern
from tests.e2e.programs import Stage, free_port, program
from tests.e2e.test_prometheus import Prometheus
from tests.integration.test_replicas import ACCOUNTS, Story
from tests.postgres import DURABLE, Server, binaries, serving

FINISHED = "comfycontrol_workflows_finished_total"


@pytest.fixture
def server() -> Iterator[Server]:
    if binaries() is None:
        program("initdb")
    with serving(DURABLE) as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_series_go_on_from_replica_to_replica(stage: Stage, server: Server) -> None:
    story = Story(stage, server)
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "comfycontrol",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{each}" for each in story.replicas.ports]}
                ],
                # As the Prometheus operator does it.
                "relabel_configs": [{"source_labels": ["__address__"], "target_label": "pod"}],
                "metric_relabel_configs": [
                    {
                        "source_labels": ["__name__"],
                        "regex": of_accounts_pattern(),
                        "target_label": label,
                        "replacement": replacement,
                    }
                    # As in docs/replicas.md, and as the chart's monitors have it.
                    for label, replacement in (("instance", ""), ("pod", "${none}"))
                ],
            }
        ],
    }
    path = stage.folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    stage.start(
        "prometheus",
        [
            program("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={stage.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    stage.until("Prometheus answers", lambda: prometheus.query("vector(1)"))
    story.begin()
    stage.until(
        "the series are scraped",
        lambda: len(prometheus.query(f"sum by (account) ({FINISHED})")) == len(ACCOUNTS),
    )
    for _ in range(2):
        time.sleep(4)
        ((holder, *_), *_) = story.replicas.holders().values()
        story.replicas.kill(holder)
        story.stage.until("every account is held again", story.replicas.all_held, seconds=20)
        story.replicas.start(holder)
    stage.until("everything is counted", story.is_all_known, seconds=120)
    story.check_truth()
    time.sleep(3)

    truth = Counter(w["status"] for w in story.ours())
    range_ = f"{FINISHED}[10m]"
    rose = prometheus.query(f"sum by (status) (max_over_time({range_}) - min_over_time({range_}))")
    assert {status: value for (status,), value in rose.items()} == {
        **dict.fromkeys(("completed", "failed", "cancelled", "invalid"), 0.0),
        **truth,
    }
    # One series each, which never stepped back, whoever showed it.
    assert set(prometheus.query(f"count by (account, status) ({range_[:-5]})").values()) == {1.0}
    assert set(prometheus.query(f"sum by (account) (resets({range_}))").values()) == {0.0}
    seconds = "comfycontrol_workflow_run_duration_seconds_sum[10m]"
    assert set(prometheus.query(f"sum by (account) (resets({seconds}))").values()) == {0.0}
    # And what belongs to a process still tells which.
    assert len(prometheus.query("count by (instance) (comfycontrol_exporter_replicas)")) == 3
    gap = prometheus.query(f"max(count_over_time({range_}))")
    assert all(value > 20 for value in gap.values())
