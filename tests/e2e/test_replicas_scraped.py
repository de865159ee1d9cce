"""A real Prometheus scrapes every replica through failovers, and its answers are the truth."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
import yaml

from exporter.metrics.scraping import of_accounts_pattern
from tests.e2e.programs import Stage, program
from tests.e2e.test_prometheus import Prometheus
from tests.integration.test_replicas import ACCOUNTS, Replicas, Story
from tests.ports import free_port
from tests.postgres import DURABLE, Server, serving

FINISHED = "comfycontrol_workflows_finished_total"


class Scraper(Prometheus):
    """A Prometheus that scrapes all replicas, as the documentation says."""

    def __init__(self, stage: Stage, replicas: Replicas, name: str, interval: str) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        targets = [f"127.0.0.1:{each}" for each in replicas.ports]
        config = {
            "global": {"scrape_interval": interval},
            "scrape_configs": [
                {
                    "job_name": "comfycontrol",
                    "static_configs": [{"targets": targets}],
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
        path = stage.folder / f"{name}.yml"
        path.write_text(yaml.safe_dump(config))
        stage.start(
            name,
            [
                program("prometheus"),
                f"--config.file={path}",
                f"--storage.tsdb.path={stage.folder / name}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )
        stage.until(f"{name} answers", lambda: self.query("vector(1)"))


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    "ends", [("kill", "crash", "kill"), ("kill", "failover", "kill")], ids="-".join
)
def test_series_go_on_from_replica_to_replica(
    stage: Stage, server: Server, ends: Sequence[str]
) -> None:
    """Over holders that are killed, and a database that crashes, or fails over to a standby."""
    story = Story(stage, server)
    with ExitStack() as stack:
        standby = None
        if "failover" in ends:
            standby = stack.enter_context(serving(DURABLE, server.port))
            story.stand_by(standby, synchronous=True)
        go_through(story, ends, standby)


def go_through(story: Story, ends: Sequence[str], standby: Server | None) -> None:
    """Scrape it all; in the end the answers are the truth."""
    stage, server, replicas = story.stage, story.server, story.replicas
    # Two, as where one scrapes for the other's failure: each sees moments of its own.
    scrapers = [
        Scraper(stage, replicas, "first", "1s"),
        Scraper(stage, replicas, "second", "1500ms"),
    ]
    story.begin()
    for scraper in scrapers:
        stage.until(
            "the series are scraped",
            lambda: len(scraper.query(f"sum by (account) ({FINISHED})")) == len(ACCOUNTS),  # noqa: B023
        )
    for end in ends:
        time.sleep(4)
        if end == "crash":
            server.crash()
            server.start()
            continue
        if end == "failover":
            assert standby is not None
            server.crash()
            standby.query("SELECT pg_promote()")
            story.server = standby
            continue
        holder = replicas.a_holder()
        replicas.kill(holder)
        stage.until("every account is held again", replicas.all_held, seconds=30)
        replicas.start(holder)
    stage.until("everything is counted", story.is_all_known, seconds=120)
    story.check_truth()
    truth = Counter(w["status"] for w in story.ours())
    for scraper in scrapers:
        check(stage, scraper, truth)


def check(stage: Stage, scraper: Scraper, truth: Counter[str]) -> None:
    """What a server answers is the truth."""
    known = {**dict.fromkeys(("completed", "failed", "cancelled", "invalid"), 0.0), **truth}
    range_ = f"{FINISHED}[10m]"

    def rose() -> dict[str, float]:
        each = f"max_over_time({range_}) - min_over_time({range_})"
        found = scraper.query(f"sum by (status) ({each})")
        return {status: value for (status,), value in found.items()}

    stage.until("the last of it is scraped", lambda: rose() == known)
    # What a user asks. It is drawn out to the ends of the range, by half of a scrape at each.
    increase = scraper.query(f"sum by (status) (increase({range_}))")
    assert {status: value for (status,), value in increase.items()} == pytest.approx(
        known, rel=0.05
    )
    # One series each, which never stepped back, no matter who showed it.
    assert set(scraper.query(f"count by (account, status) ({FINISHED})").values()) == {1.0}
    assert set(scraper.query(f"sum by (account) (resets({range_}))").values()) == {0.0}
    seconds = "comfycontrol_workflow_run_duration_seconds_sum[10m]"
    assert set(scraper.query(f"sum by (account) (resets({seconds}))").values()) == {0.0}
    # And what belongs to a process still tells which.
    assert len(scraper.query("count by (instance) (comfycontrol_exporter_replicas)")) == 3
    scrapes = scraper.query(f"max(count_over_time({range_}))")
    assert all(value > 20 for value in scrapes.values())
