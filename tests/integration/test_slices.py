"""Sums over slices are the truth, over kills and reloads, with names and tags as people give them.

Real processes: the simulator, and one exporter after another in the same folder.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.comfycontrol.text import clean
from tests.e2e.programs import EXPORTER, Stage, metrics_page, with_hold
from tests.ports import free_port

WORKFLOWS = 150
SPEED = 10
LIMIT = {"requests": 100, "per": "1s", "cooldown": "1s"}
FINISHED = "comfycontrol_workflows_finished_total"

TEAM = {"label": "team", "from": "tag", "match": "^team[:=](.+)$", "values": 20}
TEMPLATE = {
    "label": "template", "from": "name", "match": "^([a-z0-9-]+)", "values": 25,
    "default": "other",
}  # fmt: skip
ENVIRONMENT = {"label": "environment", "from": "tag", "match": "^env:(.*)$", "values": 3}
FEW = {"label": "name", "from": "name", "match": "(.+)", "values": 20, "default": "unnamed"}

PEOPLE = {
    "teams": ["video", "art", "ads", "Ünit 7"],
    "environments": ["prod", "test"],
    "templates": ["sdxl-portrait", "upscale", "flux-schnell", "Wan 2.2"],
    "untagged": 0.1,
    "hostile": 0.1,
}

NO_TAGS = {**PEOPLE, "untagged": 1.0, "hostile": 0.0}

Labels = Mapping[str, str]


class Exporters:
    """One exporter after another; what they show of outcomes never falls."""

    def __init__(self, stage: Stage, simulator: str) -> None:
        self._stage = stage
        self._file = stage.folder / "config.yml"
        self._account = {
            "name": "studio",
            "token": "cfc_studio",
            "base_url": simulator,
            "listing": {"interval": "1s"},
            "rate_limit": LIMIT,
        }
        self._port = free_port()
        self._lives = 0
        self._shown: Counter[str] = Counter()

    def write(self, slices: Sequence[Mapping[str, Any]]) -> None:
        """Configure these slices."""
        content = {"accounts": [self._account], "metrics": {"slices": list(slices)}}
        self._file.write_text(yaml.safe_dump(content))

    def start(self) -> None:
        """Begin the next one."""
        self._lives += 1
        self._stage.start(
            f"exporter-{self._lives}",
            [
                *with_hold(0), f"--config.file={self._file}", "--web.enable-lifecycle",
                f"--storage.path={self._stage.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
        )  # fmt: skip
        self._stage.until("it listens", self.series)

    def set_counting_cutoff(self) -> None:
        """Begin the first one: what is over by its first look does not count."""
        self.start()
        name = "comfycontrol_listing_last_success_timestamp_seconds"
        self._stage.until("the list was read", lambda: self.series(name))

    def reload(self) -> None:
        """Have the configuration read again."""
        url = f"http://127.0.0.1:{self._port}/-/reload"
        requests.post(url, timeout=10).raise_for_status()

    def kill(self) -> None:
        """`kill -9`."""
        self._stage.kill(f"exporter-{self._lives}")

    def series(self, name: str = FINISHED) -> list[tuple[Labels, float]]:
        """The series of a metric. All have the same labels."""
        text = metrics_page(f"http://127.0.0.1:{self._port}")
        samples: list[tuple[Labels, float]] = [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]
        assert len({frozenset(labels) for labels, _ in samples}) <= 1
        if name == FINISHED:
            self._check({s: sum(v for at, v in samples if at["status"] == s) for s in STATUSES})
        return samples

    def _check(self, shown: Mapping[str, float]) -> None:
        fallen = {s: (v, shown[s]) for s, v in self._shown.items() if shown[s] < v}
        assert not fallen, "the sum over the account has fallen"
        self._shown = Counter({status: int(value) for status, value in shown.items()})

    def counted(self, *labels: str) -> Counter[tuple[str, ...]]:
        """Outcomes by these labels."""
        found: Counter[tuple[str, ...]] = Counter()
        for has, value in self.series():
            if value:
                found[tuple(has[label] for label in labels)] += int(value)
        return found


STATUSES = ("completed", "failed", "cancelled", "invalid")


class Service:
    """A running simulator."""

    def __init__(self, stage: Stage, people: Mapping[str, Any]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        file = stage.folder / "scenario.yml"
        scenario = {
            "accounts": [{"name": "studio", "tokens": ["cfc_studio"]}],
            "arrivals": {"rate": 1.0, "max_workflows": WORKFLOWS},
            "limit": LIMIT,
            "runners": [{"name": "gpu", "count": 20}],
            "jobs": [{"name": "image", "duration": {"median": "9s", "min": "2s", "max": "40s"}}],
            "outcomes": {"failed": 0.3, "cancelled": 0.08, "invalid": 0.05},
            "people": dict(people),
        }
        file.write_text(yaml.safe_dump(scenario))
        stage.start(
            "simulator",
            [
                EXPORTER, "simulate", "--scenario", str(file), "--speed", str(SPEED),
                "--seed", "5", "--listen-address", f"127.0.0.1:{port}",
            ],
        )  # fmt: skip
        stage.until("the simulator answers", self.truth)
        self.post("pause")
        # What has come by now is over by the exporter's first look, and does not count.
        stage.until("it is quiet", lambda: all(_is_over(w) for w in self._workflows()))
        self._before = {w["id"] for w in self._workflows()}

    def post(self, what: str) -> None:
        """Have arrivals pause or resume."""
        requests.post(f"{self.url}/_simulator/{what}", timeout=10).raise_for_status()

    def truth(self) -> dict[str, Any]:
        """What really happened."""
        found: dict[str, Any] = requests.get(f"{self.url}/_simulator/truth", timeout=10).json()
        return found

    def _workflows(self) -> list[dict[str, Any]]:
        workflows: list[dict[str, Any]] = self.truth()["workflows"]
        return workflows

    def ended(self) -> list[dict[str, Any]]:
        """What has ended since the first look."""
        return [w for w in self._workflows() if _is_over(w) and w["id"] not in self._before]

    @property
    def is_done(self) -> bool:
        """Whether all that will ever come has ended."""
        return len(self.ended()) + len(self._before) == WORKFLOWS

    def slices(self, match: str) -> dict[str, dict[str, int]]:
        """How many ended, by what this finds in their tags."""
        answer = requests.get(
            f"{self.url}/_simulator/slices", params={"from": "tag", "match": match}, timeout=10
        )
        found: dict[str, dict[str, int]] = answer.json()["studio"]
        return found


def _is_over(workflow: Mapping[str, Any]) -> bool:
    return workflow["status"] in STATUSES


def value_of(entry: Mapping[str, Any], workflow: Mapping[str, Any]) -> str:
    """The slice of a workflow, reckoned in another way than the exporter does."""
    texts = workflow["tags"] if entry["from"] == "tag" else [workflow["name"]]
    for text in texts:
        found = re.search(entry["match"], clean(text))
        if found:
            return clean(found[1]) or entry.get("default", "none")
    return str(entry.get("default", "none"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("people", "changes"),
    [
        pytest.param(PEOPLE, [[TEAM, TEMPLATE, ENVIRONMENT]], id="kills"),
        pytest.param(NO_TAGS, [[TEAM, TEMPLATE, ENVIRONMENT]], id="kills, no tags at all"),
        pytest.param(
            PEOPLE, [[TEAM], [TEMPLATE, TEAM], [TEMPLATE], [], [TEAM]], id="kills and reloads"
        ),
    ],
)
def test_sums_over_slices_are_the_truth(
    stage: Stage, people: Mapping[str, Any], changes: list[list[Mapping[str, Any]]]
) -> None:
    service = Service(stage, people)
    exporters = Exporters(stage, service.url)
    exporters.write(changes[0])
    exporters.set_counting_cutoff()
    before = service.slices(str(TEAM["match"]))
    service.post("resume")
    moments, turn = random.Random(7), 0
    while not service.is_done:
        deadline = time.monotonic() + moments.uniform(0.5, 2.5)
        while time.monotonic() < deadline:
            exporters.series()
        turn += 1
        exporters.write(changes[turn % len(changes)])
        if turn % 2:
            exporters.kill()
            exporters.start()
        else:
            exporters.reload()
    truth = Counter((w["status"],) for w in service.ended())
    stage.until("everything is counted", lambda: exporters.counted("status") == truth)
    if len(changes) > 1:
        for slices in changes:
            exporters.write(slices)
            exporters.reload()
            assert exporters.counted("status") == truth
        return
    by_slices = Counter(
        (w["status"], *(value_of(entry, w) for entry in changes[0])) for w in service.ended()
    )
    assert exporters.counted("status", "team", "template", "environment") == by_slices
    teams = {value_of(TEAM, w) for w in service.ended()}
    assert (teams == {"none"}) == (people == NO_TAGS)
    told = service.slices(str(TEAM["match"]))
    for team in ("video", "art", "ads", "Ünit 7"):
        found = {s[0]: n for s, n in exporters.counted("status", "team").items() if s[1] == team}
        earlier = Counter(before.get(team, {}))
        assert found == Counter(told.get(team, {})) - earlier
    exporters.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_names_make_no_more_series_than_configured(stage: Stage) -> None:
    service = Service(stage, {"distinct": 10_000})
    exporters = Exporters(stage, service.url)
    exporters.write([FEW])
    exporters.set_counting_cutoff()
    service.post("resume")
    while not service.is_done:
        exporters.series()
        exporters.kill()
        exporters.start()
        time.sleep(1.5)
    truth = Counter((w["status"],) for w in service.ended())
    stage.until("everything is counted", lambda: exporters.counted("status") == truth)
    by_name = exporters.counted("name")
    assert len(by_name) == 21
    overflow = {
        labels["label"]: value
        for labels, value in exporters.series("comfycontrol_label_overflow_total")
    }
    assert by_name["other",] == overflow["name"] > 0
    exporters.kill()
