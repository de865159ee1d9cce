"""A Prometheus with the data of a scene: the data is invented, the rules and answers are real."""

import json
import math
import random
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from alerts.build import Values, load, rule_files
from dashboards.pictures.day import HOUR, Run, day
from dashboards.pictures.scenes import Scene
from dashboards.pictures.told import Sample, Series, of_the_exporter, told

INTERVAL: Final = 30
"""Seconds between two scrapes in the last hours; before that, two within the lookback suffice."""
_SELDOM: Final = 240
_FINE: Final = 6.75 * HOUR
_AHEAD: Final = 15 * 60
"""The data continues after the present, because drawing takes a while."""
_OFF_STEP: Final = 7
"""Scrapes are not at the round times that queries use."""
_TARGET: Final = {"job": "comfycontrol", "instance": "exporter-0:10871"}
_LABEL: Final = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
_DURATIONS: Final = {"s": 1, "m": 60, "h": 3600}


class HistoryError(Exception):
    """The history could not be created."""


def thresholds(scene: Scene) -> dict[str, Any]:
    """The shipped rules, with alerts by slice if the scene has one."""
    found = load()
    if any(account.teams for account in scene.accounts):
        found["settings"]["slice"] = "team"
    return found


def write(scene: Scene, end: float, file: Path) -> None:
    """All scraped samples, as OpenMetrics. The time 0 of the scene is `end`."""
    scrapes = _scrapes(scene)
    known = [at for at in scrapes if at < scene.blind_since]
    everything: list[Run] = []
    with file.open("w", encoding="utf-8") as out:
        for account in scene.accounts:
            dice = random.Random(account.name)
            runs = day(account, scrapes[0], _AHEAD, dice)
            everything += runs
            for series in told(account, runs, known, -_FINE):
                _put(out.write, series, end)
        opened, settled, used = [], [], []
        for at in known:
            ended = sum(run.ended <= at for run in everything)
            created = sum(run.created <= at for run in everything)
            opened.append(created - ended)
            settled.append(min(ended, 2000))
            used.append(min(40.0, 2 * len(scene.accounts) + (created - ended) / 24))
        for series in of_the_exporter(known, opened, settled, used):
            _put(out.write, series, end)
        if any(account.teams for account in scene.accounts):
            label = {"slice": "team", "source": "tag"}
            _put(out.write, ("exporter_slice_info", label, [(at, 1.0) for at in known]), end)
        reached = [(at, float(at < scene.blind_since)) for at in scrapes]
        out.write(_lines("up", {}, reached, end))
        process: dict[str, float] = {
            "process_start_time_seconds": end + scrapes[0],
            "process_resident_memory_bytes": 61e6,
            "process_open_fds": 40,
            "process_max_fds": 4096,
            "scrape_duration_seconds": 0.012,
            "scrape_samples_scraped": 220 * len(scene.accounts),
        }
        for name, value in process.items():
            out.write(_lines(name, {}, [(at, value) for at in known], end))
        cpu = [(at, (at - scrapes[0]) * 0.03) for at in known]
        out.write(_lines("process_cpu_seconds_total", {}, cpu, end))
        out.write("# EOF\n")


def _scrapes(scene: Scene) -> list[float]:
    seldom = range(-int(scene.history), -int(_FINE), _SELDOM)
    return [float(at) for at in (*seldom, *range(-int(_FINE), _AHEAD, INTERVAL))]


def _put(write_to: Callable[[str], object], series: Series, end: float) -> None:
    name, labels, samples = series
    if name.endswith("timestamp_seconds"):
        samples = [(at, 0 if value == -math.inf else end + value) for at, value in samples]
    write_to(_lines(f"comfycontrol_{name}", labels, samples, end))


def _lines(name: str, labels: Mapping[str, str], samples: Sequence[Sample], end: float) -> str:
    inner = ",".join(f'{key}="{value}"' for key, value in {**labels, **_TARGET}.items())
    head = f"{name}{{{inner}}}"
    return "".join(f"{head} {value:.10g} {end + at + _OFF_STEP:.0f}\n" for at, value in samples)


class Prometheus:
    """A Prometheus that scrapes nothing and reads a folder of blocks."""

    def __init__(self, folder: Path, port: int, *, patient: bool) -> None:
        self._folder = folder
        # Blocks cannot say that a series has ended, so it must be forgotten soon, as it would be
        # then; over days there are too few samples for that.
        self._lookback = "5m" if patient else "40s"
        self.url = f"http://127.0.0.1:{port}"
        self._blocks = folder / "blocks"
        (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: {INTERVAL}s}}\n")

    def add(self, file: Path) -> None:
        """Add samples to its blocks; it must not be running."""
        done = subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=240h", "openmetrics",
             str(file), str(self._blocks)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise HistoryError(f"promtool: {done.stderr[-500:]}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it; the context is entered once it answers."""
        port = urllib.parse.urlsplit(self.url).port
        with (self._folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                ["prometheus", f"--config.file={self._folder / 'prometheus.yml'}",
                 f"--storage.tsdb.path={self._blocks}", "--storage.tsdb.retention.time=30d",
                 f"--query.lookback-delta={self._lookback}",
                 f"--web.listen-address=127.0.0.1:{port}"],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                self._until_ready(process)
                yield
            finally:
                process.terminate()
                process.wait()

    def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(300):
            if process.poll() is not None:
                raise HistoryError(f"Prometheus ended: see {self._folder / 'prometheus.log'}")
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise HistoryError("Prometheus does not answer")

    def over(
        self, expression: str, start: float, end: float, step: float = INTERVAL
    ) -> list[dict[str, Any]]:
        """A range query; `step` in seconds."""
        asked = {"query": expression, "start": start, "end": end, "step": step}
        data = urllib.parse.urlencode(asked).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range", data, timeout=60) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def evaluate(prometheus: Prometheus, scene: Scene, end: float, folder: Path) -> None:
    """What the rules make of the last two hours: recordings, and alerts with their `for`.

    What is recorded for whole hours is made of all of the history, where a board shows it.

    Prometheus evaluates rules only as time passes; here the time has passed already.
    """
    documents = [yaml.safe_load(text) for text in rule_files(Values(thresholds(scene))).values()]
    every = [rule for d in documents for group in d["groups"] for rule in group["rules"]]
    rules = [rule for rule in every if "record" in rule]
    alerts = [rule for rule in every if "alert" in rule]
    names = {rule["record"] for rule in rules}
    first = [rule for rule in rules if not any(name in rule["expr"] for name in names)]
    second = [rule for rule in rules if rule not in first]
    start, stop = end - 2 * HOUR, end + _AHEAD - INTERVAL
    for number, some in enumerate((first, second)):
        file = folder / f"recorded-{number}.txt"
        with prometheus.running(), file.open("w", encoding="utf-8") as out:
            for rule in some:
                when = (start, stop, float(INTERVAL))
                if rule["record"].startswith("all:"):
                    if "usage" not in scene.boards:
                        continue
                    since = end - scene.history + 2 * HOUR
                    when = (since - since % HOUR, end - end % HOUR, HOUR)
                for series in prometheus.over(rule["expr"], *when):
                    out.write(_series(rule["record"], series["metric"], series["values"]))
            out.write("# EOF\n")
        prometheus.add(file)
    file = folder / "alerts.txt"
    with prometheus.running(), file.open("w", encoding="utf-8") as out:
        for rule in alerts:
            for series in prometheus.over(rule["expr"], start, stop):
                out.write("".join(_alert(rule, series)))
        out.write("# EOF\n")
    prometheus.add(file)


def _alert(rule: Mapping[str, Any], series: Mapping[str, Any]) -> Iterator[str]:
    labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
    labels |= {"alertname": rule["alert"]}
    labels |= {name: _LABEL.sub(lambda m: labels[m[1]], v) for name, v in rule["labels"].items()}
    wanted = rule.get("for", "0s")
    held = int(wanted[:-1]) * _DURATIONS[wanted[-1]]
    since, before = 0.0, -math.inf
    states: dict[str, list[tuple[float, str]]] = {"pending": [], "firing": []}
    active = []
    for at, _ in series["values"]:
        since = since if at - before <= INTERVAL else at
        before = at
        states["firing" if at - since >= held else "pending"].append((at, "1"))
        active.append((at, str(since)))
    for state, values in states.items():
        yield _series("ALERTS", {**labels, "alertstate": state}, values)
    yield _series("ALERTS_FOR_STATE", labels, active)


def _series(name: str, labels: Mapping[str, str], values: Sequence[tuple[float, str]]) -> str:
    kept = {key: value for key, value in labels.items() if key != "__name__"}
    inner = ",".join(f"{key}={json.dumps(value)}" for key, value in kept.items())
    return "".join(f"{name}{{{inner}}} {value} {at:.0f}\n" for at, value in values)
