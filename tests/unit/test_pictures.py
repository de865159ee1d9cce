"""The invented history that the boards are drawn from, and the pictures in the documentation."""

import math
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards.build import BOARDS
from dashboards.pictures.day import HOUR, Account, Failing, Kind, Run, day
from dashboards.pictures.history import Prometheus, write
from dashboards.pictures.scenes import SCENES, Scene
from dashboards.pictures.told import of_the_exporter, told
from exporter.metrics.catalogue import CATALOGUE
from tests import promql
from tests.unit.test_dashboards import NOT_SHOWN

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
KNOWN = promql.exported()
SCRAPES = [float(at) for at in range(-3600, 0, 60)]
ACCOUNT = Account(
    "studio", 120, runners=1, kinds=(Kind(20.0),), failing=[Failing((-1800, 0), 0.5, ("A", "B"))],
    stopped=[(-600.0, math.inf)], down=[(-2400.0, -2000.0, "503")],
)  # fmt: skip
OPTIONAL = {
    "comfycontrol_account_held",
    "comfycontrol_account_lease_changes_total",
    "comfycontrol_exporter_config_hash",
    "comfycontrol_exporter_ledger_regressions_total",
    "comfycontrol_exporter_replicas",
    "comfycontrol_exporter_slice_info",
    "comfycontrol_exporter_workflow_files",
    "comfycontrol_exporter_web_config_last_reload_successful",
}
"""Metrics that an exporter need not have."""


def runs(account: Account = ACCOUNT) -> list[Run]:
    return day(account, -3600.0, 0.0, random.Random(1))


def test_a_history_has_every_metric_of_the_catalogue_with_its_labels() -> None:
    series = [*told(ACCOUNT, runs(), SCRAPES, -3600.0), *of_the_exporter(SCRAPES, *[[1] * 60] * 3)]
    shown: dict[str, set[frozenset[str]]] = {}
    for name, labels, _ in series:
        shown.setdefault(f"comfycontrol_{name}", set()).add(frozenset(labels))

    for name, found in shown.items():
        assert found == {KNOWN[name] - promql.TARGET}, name
    wanted = {name for name in KNOWN if name.startswith("comfycontrol_")}
    assert OPTIONAL <= wanted - shown.keys() <= OPTIONAL | NOT_SHOWN.keys()
    assert wanted >= {metric.name for metric in CATALOGUE if metric.type != "histogram"}


def test_an_account_with_teams_has_them_on_what_slices_are_on() -> None:
    teams = Account("studio", 0, teams=[replace(ACCOUNT, name=name) for name in ("art", "video")])
    sliced = {metric.name for metric in CATALOGUE if metric.sliced}

    for name, labels, _ in told(teams, runs(teams), SCRAPES, -3600.0):
        family = re.sub("_(bucket|count|sum)$", "", f"comfycontrol_{name}")
        assert ("team" in labels) == (family in sliced), name
        assert labels["account"] == "studio"


def test_counters_only_rise_and_no_series_is_told_twice() -> None:
    seen = set()
    for name, labels, samples in told(ACCOUNT, runs(), SCRAPES, -3600.0):
        key = (name, *sorted(labels.items()))
        assert key not in seen
        seen.add(key)
        if name.endswith(("_total", "_bucket", "_count")):
            values = [value for _, value in samples]
            assert values == sorted(values), key


def test_nothing_starts_while_runners_are_stopped() -> None:
    assert all(run.started < -600 or run.started == math.inf for run in runs())
    assert any(run.queued < 0 and run.started == math.inf for run in runs())


def test_an_account_that_is_down_is_not_seen() -> None:
    series = {
        (name, labels.get("status")): samples
        for name, labels, samples in told(ACCOUNT, runs(), SCRAPES, -3600.0)
    }

    assert {at for at, value in series["account_up", None] if value == 0} == {
        at for at in SCRAPES if -2400 <= at < -2000
    }
    told_of = {at for at, _ in series["workflows", "queued"]}
    assert told_of.isdisjoint(at for at in SCRAPES if -2370 <= at < -1970)


def test_a_scene_is_written_as_openmetrics(tmp_path: Path) -> None:
    scene = Scene("small", "one account", [ACCOUNT], history=7 * HOUR, blind_since=-300.0)

    write(scene, 1_000_000_000.0, tmp_path / "history.txt")

    lines = (tmp_path / "history.txt").read_text("utf-8").splitlines()
    assert lines[-1] == "# EOF"
    reached = [line.split() for line in lines if line.startswith("up{")]
    assert {value for _, value, at in reached if int(at) >= 1_000_000_000 - 293} == {"0"}
    assert max(int(line.split()[-1]) for line in lines if "account_up" in line) < 1_000_000_000


def test_prometheus_forgets_soon_what_has_ended(tmp_path: Path) -> None:
    assert Prometheus(tmp_path, 1, patient=False).url == "http://127.0.0.1:1"
    assert "scrape_interval: 30s" in (tmp_path / "prometheus.yml").read_text("utf-8")


@pytest.mark.parametrize(
    ("board", "scene"), [(board, scene.name) for scene in SCENES for board in scene.boards]
)
def test_every_scene_has_its_pictures_in_the_documentation(board: str, scene: str) -> None:
    picture = IMAGES / f"{board}-{scene}.png"

    assert picture.is_file()
    assert f"images/{picture.name}" in (ROOT / "docs/dashboards.md").read_text("utf-8")


def test_no_picture_is_left_over_and_all_are_small() -> None:
    of_boards = {path for board in BOARDS for path in IMAGES.glob(f"{board[13:-5]}-*.png")}

    assert len(of_boards) == sum(len(scene.boards) for scene in SCENES)
    assert sum(path.stat().st_size for path in of_boards) < 3_000_000
