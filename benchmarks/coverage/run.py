"""One run: each follower on a simulator of its own, with the same day, at the same time."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.coverage.counted import CAUSE, read_counted
from benchmarks.coverage.day import LONGEST_RUN, QUIET_SECONDS, Day
from benchmarks.coverage.measures import Measures, measure
from benchmarks.coverage.ours import FILE_VARIABLE
from benchmarks.processes import TOKEN, Cost, ExporterProgram, Program, SimulatorProgram

FollowerName = Literal["naive", "ours"]

SCRAPE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 2.0
CAUSE_SECONDS: Final = 180.0
"""How long after the last arrival a run still waits for causes."""


@dataclass(frozen=True)
class Followed:
    """How one follower did in one run."""

    follower: FollowerName
    measures: Measures
    cost: Cost
    wall_seconds: float
    """How long it ran."""
    shown: Mapping[str, float]
    """Workflows by outcome in its metrics at the end; nothing where it has none."""
    agrees: bool | None
    """Whether its outcomes are the truth; None where it has no metrics."""
    scrapes: Sequence[float]
    """Seconds that each scrape took."""


class _Side:
    """One follower and its simulator."""

    def __init__(self, name: FollowerName, day: Day, folder: Path, ends: ExitStack) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # a ledger of an earlier run would go on
        folder.mkdir(parents=True)
        self.name: Final = name
        self.file: Final = folder / "counted"
        self.scrapes: Final[list[float]] = []
        self.exporter: ExporterProgram | None = None
        scenario = folder / "day.yml"
        scenario.write_text(day.scenario(), encoding="utf-8")
        self.simulator: Final = SimulatorProgram(str(scenario), day.seed, folder)
        ends.callback(self.simulator.program.end)
        if name == "ours":
            self.exporter = ExporterProgram(
                self.simulator.base_url,
                TOKEN,
                folder,
                module="benchmarks.coverage.ours",
                environment={FILE_VARIABLE: str(self.file)},
            )
            self.program = self.exporter.program
        else:
            module = "benchmarks.coverage.naive"
            self.program = Program(
                [module, self.simulator.base_url, TOKEN, str(self.file)], {}, folder / "naive.log"
            )
        ends.callback(self.program.end)

    def scrape(self) -> None:
        """Do what a Prometheus would."""
        self.program.check()
        if self.exporter is not None:
            self.scrapes.append(self.exporter.scrape()[1])

    def is_done(self, day: Day) -> bool:
        """Whether everything was counted, and every cause is known."""
        counted = read_counted(self.file)
        outcomes = {c.workflow_id for c in counted if c.is_end}
        failed = {c.workflow_id for c in counted if c.what == "failed"}
        causes = {c.workflow_id for c in counted if c.what == CAUSE}
        return len(outcomes) >= day.workflows and failed <= causes

    def result(self) -> Followed:
        """How it did until now."""
        truth = self.simulator.truth()
        shown = {} if self.exporter is None else _shown(self.exporter.scrape()[0])
        return Followed(
            follower=self.name,
            measures=measure(truth, read_counted(self.file)),
            cost=self.program.cost(),
            wall_seconds=time.monotonic() - self.program.started,
            shown=shown,
            agrees=_agrees(truth, shown) if shown else None,
            scrapes=self.scrapes,
        )


def run(day: Day, followers: Sequence[FollowerName], folder: Path) -> list[Followed]:
    """Let it happen, and measure; takes the day's length and three minutes at most."""
    with _started(day, followers, folder) as sides:
        began = time.monotonic() + QUIET_SECONDS
        _scrape_until(sides, began + day.seconds)
        # The waiting ends sooner where ours has nothing left to count: the naive one may never.
        judged = [side for side in sides if side.name == "ours"] or sides
        least = began + day.seconds + LONGEST_RUN
        while time.monotonic() < began + day.seconds + CAUSE_SECONDS:
            if time.monotonic() > least and all(side.is_done(day) for side in judged):
                break
            _scrape_until(sides, time.monotonic() + LOOK_SECONDS)
        return [side.result() for side in sides]


@contextmanager
def _started(day: Day, followers: Sequence[FollowerName], folder: Path) -> Iterator[list[_Side]]:
    with ExitStack() as ends:
        yield [_Side(name, day, folder / name, ends) for name in followers]


def _scrape_until(sides: Sequence[_Side], moment: float) -> None:
    while time.monotonic() < moment:
        for side in sides:
            side.scrape()
        time.sleep(max(0.0, min(SCRAPE_SECONDS, moment - time.monotonic())))


def _shown(text: str) -> dict[str, float]:
    shown: dict[str, float] = {"causes": 0.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "comfycontrol_workflows_finished_total":
                shown[sample.labels["status"]] = sample.value
            elif sample.name == "comfycontrol_workflow_failures_total":
                shown["causes"] += sample.value
    return shown


def _agrees(truth: Mapping[str, Any], shown: Mapping[str, float]) -> bool:
    return all(
        shown[status] == truth["counts"].get(status, 0) for status in shown if status != "causes"
    )
