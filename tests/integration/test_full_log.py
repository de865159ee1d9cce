"""The disk of the log is full, and the real program goes on."""

import json
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator, parse_scenario
from tests.e2e.programs import EXPORTER, metrics_page
from tests.integration.following.exporting import NO_LIMIT, Metrics
from tests.ports import free_port

PATIENCE = 30.0
SCENARIO = "{limit: {enabled: false}, accounts: [{name: studio, tokens: [cfc_token]}]}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_it_counts_answers_and_stops_as_ever(tmp_path: Path) -> None:
    with ExitStack() as ends:
        simulator = ends.enter_context(Simulator(parse_scenario(SCENARIO), seed=1))
        # Without a log each of these would be a line.
        simulator.set_faults({"kind": "status", "code": 503, "times": 3})
        account = {
            "name": "studio", "token": "cfc_token", "base_url": simulator.base_url,
            "rate_limit": NO_LIMIT, "listing": {"interval": "1s"},
        }  # fmt: skip
        config, port = tmp_path / "config.yml", free_port()
        config.write_text(json.dumps({"accounts": [account]}))
        full = ends.enter_context(Path("/dev/full").open("wb"))
        process = subprocess.Popen(
            [
                EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.path={tmp_path / 'data'}", "--log.level=debug",
            ],
            stdout=full,
            stderr=full,
        )  # fmt: skip
        ends.callback(process.kill)
        deadline = time.monotonic() + PATIENCE
        created = False
        while True:
            try:
                text = metrics_page(f"http://127.0.0.1:{port}")
            except requests.RequestException:
                text = ""
            metrics = Metrics(text)
            if metrics("listing_last_success_timestamp_seconds", account="studio") and not created:
                created = True
                workflow = simulator.workflow(simulator.create(scripted=True))
                workflow.advance("running")
                workflow.advance("completed")
            if metrics.total("workflows_finished_total") == 1:
                break
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "it does not count"
            time.sleep(0.1)
        assert metrics.total("exporter_log_lines_suppressed_total") > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
