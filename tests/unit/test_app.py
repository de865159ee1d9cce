"""The life of new series in a whole exporter, by a clock that moves when told to."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.app.app import App
from exporter.app.maintenance import PERSIST_SECONDS
from exporter.comfycontrol import Cause
from exporter.config import Config
from exporter.interfaces.observations import Observation
from exporter.metrics.announcements import HOLD_SECONDS, STANDSTILL_SECONDS
from tests.unit.ledger.ledgers import T0, Clocks, uuid


class Exporter:
    """An exporter of which only the keeping of the ledger runs, and that when it is told to."""

    def __init__(self) -> None:
        account = {"name": "studio", "token": "cfc_studio", "listing": {}}
        self._clocks = Clocks()
        self._app = App(Config.model_validate({"accounts": [account]}), now=self._clocks)
        self._app._ledger.set_counting_cutoff("studio", T0)

    def fails(self) -> None:
        """A workflow fails, and a proxy answers the next request."""
        self._app._ledger.observe(
            Observation(
                account="studio",
                workflow_id=uuid(1),
                via="stream",
                at=self._clocks(),
                status="failed",
                created_at=T0 + 1,
                completed_at=T0 + 2,
                cause=Cause("KSampler", "ValueError"),
            )
        )
        self._app._instruments.request_made("studio", "list", "502", 0.1)

    def go_on(self, *rests: float, asleep: float = 0.0) -> None:
        """Let it rest and keep so often; `asleep` is what the monotonic clock misses at first."""
        for rest in rests:
            self._clocks.pass_(rest)
            self._clocks.wall += asleep
            asleep = 0.0
            self._app.maintenance.persist()

    def stop(self) -> None:
        """End what was made with it."""
        self._app.stop()

    def shown(self) -> tuple[float, float]:
        """The failure, and the request."""
        page = self._app.page.render("text/plain").body.decode()
        samples = [s for f in text_string_to_metric_families(page) for s in f.samples]
        (failure,) = [s.value for s in samples if s.name == "comfycontrol_workflow_failures_total"]
        (request,) = [
            s.value
            for s in samples
            if s.name == "comfycontrol_api_requests_total"
            and (s.labels["endpoint"], s.labels["code"]) == ("list", "502")
        ]
        return failure, request


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    yield exporter
    exporter.stop()


def test_new_series_stand_at_zero_for_the_hold_though_nobody_looks(exporter: Exporter) -> None:
    exporter.fails()
    turns = int(HOLD_SECONDS / PERSIST_SECONDS)
    exporter.go_on(*[PERSIST_SECONDS] * turns)
    assert exporter.shown() == (0, 0)
    exporter.go_on(PERSIST_SECONDS)
    assert exporter.shown() == (1, 1)


def test_looking_does_not_end_the_hold(exporter: Exporter) -> None:
    exporter.fails()
    for _ in range(5):
        assert exporter.shown() == (0, 0)
        exporter.go_on(PERSIST_SECONDS)


@pytest.mark.parametrize("asleep", [False, True])
def test_a_standstill_of_the_process_begins_the_hold_again(
    exporter: Exporter, asleep: bool
) -> None:
    exporter.fails()
    turns = int(HOLD_SECONDS / PERSIST_SECONDS)
    exporter.go_on(*[PERSIST_SECONDS] * (turns // 2))
    long = STANDSTILL_SECONDS + 1
    exporter.go_on(PERSIST_SECONDS, asleep=long) if asleep else exporter.go_on(long)
    exporter.go_on(*[PERSIST_SECONDS] * (turns - 1))
    assert exporter.shown() == (0, 0)
    exporter.go_on(PERSIST_SECONDS)
    assert exporter.shown() == (1, 1)
