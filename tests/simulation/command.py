"""The command: which seeds are run, by how many processes, and what is said of them."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import pickle
import select
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.simulation.long_plan import draw_long
from tests.simulation.plan import Plan, draw
from tests.simulation.run import Result, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REAL_SECONDS: Final = 600.0
"""A run that takes longer hangs in something that is not virtual."""

REAL_SECONDS_A_DAY: Final = 60.0
"""For each day of a long one so much longer."""

KEPT: Final = Path(__file__).parent / "seeds"


@dataclass(frozen=True)
class Job:
    """A seed, less what is left out."""

    seed: int
    without: tuple[str, ...] = ()
    path: Path | None = None
    """Where its plan is kept; None: it is drawn."""
    patience: float | None = None
    """Seconds of fair weather, where it is not the plan that says how many."""
    days: float = 0.0
    """For so many days a long one lives; 0: it is a short one."""

    def plan(self) -> Plan:
        """What happens in it."""
        if self.path is None and self.days:
            return draw_long(self.seed, self.days, self.without)
        if self.path is None:
            return draw(self.seed, self.without)
        return Plan.from_json(json.loads(self.path.read_text("utf-8"))["plan"])

    @property
    def command(self) -> str:
        """What replays it."""
        if self.path is not None:
            return f"python -m tests.simulation --replay-file {self.path}"
        more = "".join(f" --without {part}" for part in self.without)
        if self.days:
            more = f" --long --days {self.days:g}{more}"
        return f"python -m tests.simulation --replay {self.seed}{more}"


def _do(job: Job) -> tuple[Result, list[str]]:
    plan = job.plan()
    allowed = REAL_SECONDS + plan.days * REAL_SECONDS_A_DAY
    faulthandler.dump_traceback_later(allowed, exit=True)
    gc.disable()  # a collection at another moment would be another schedule
    if job.patience is not None:
        plan.patience = job.patience
    return run(plan)


def warm_up() -> None:
    """Do once, before any child is begun, what every child would have to do first.

    A short run fills the caches of the interpreter, the parsers and the models: a third of what a
    run costs. It is the same one always, so that a seed repeats itself.
    """
    os.environ.clear()  # looked through at every request
    for service in ("first", "second"):
        plan = draw(0, draw(0).parts)
        plan.service, plan.storm, plan.settle = service, 20.0, 1.0
        run(plan)
    gc.collect()
    gc.freeze()


def done(jobs: Iterable[Job], processes: int) -> Iterator[tuple[Job, Result | None, list[str]]]:
    """Do each in a process of its own, so many at once; None: the process ended by itself."""
    left = iter(jobs)
    running: dict[int, tuple[int, Job, bytearray]] = {}
    while True:
        while len(running) < processes and (job := next(left, None)) is not None:
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                code = 1
                try:
                    found = pickle.dumps(_do(job))
                    with os.fdopen(writer, "wb") as pipe:
                        pipe.write(found)
                    code = 0
                except BaseException as error:  # noqa: BLE001 - told by the exit code
                    print(f"seed {job.seed}: {error!r}", file=sys.stderr)  # noqa: T201
                finally:
                    os._exit(code)
            os.close(writer)
            running[reader] = child, job, bytearray()
        if not running:
            return
        for reader in select.select(list(running), [], [])[0]:
            child, job, said = running[reader]
            data = os.read(reader, 1 << 20)
            said.extend(data)
            if data:
                continue
            os.close(reader)
            os.waitpid(child, 0)
            del running[reader]
            if said:
                result, lines = pickle.loads(bytes(said))
                yield job, result, lines
            else:
                yield job, None, []


def _fails(job: Job) -> bool:
    ((_, result, _),) = done([job], 1)
    return result is None or bool(result.faults)


def shrunk(job: Job, parts: list[str]) -> Job:
    """The same failure with as little as it needs."""
    for part in parts:
        fewer = replace(job, without=(*job.without, part))
        if _fails(fewer):
            job = fewer
    return job


def kept() -> list[Job]:
    """The seeds that failed once."""
    found = []
    for path in sorted(KEPT.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        found.append(Job(content["plan"]["seed"], (), path))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--these", type=int, nargs="+", help="these seeds, and no others")
    parser.add_argument("--seconds", type=float, help="begin no more after so many seconds")
    parser.add_argument("--patience", type=float, help="seconds of fair weather")
    parser.add_argument(
        "--long", action="store_true", help="long lives with little work; see --days"
    )
    parser.add_argument("--days", type=float, default=30.0, help="how long each of them lives")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, help="one seed, with the end of its log")
    parser.add_argument("--replay-file", type=Path, help="one that was kept")
    parser.add_argument("--keep", help="with --replay: keep the plan, under this name")
    parser.add_argument("--why", default="", help="what it found")
    parser.add_argument("--without", action="append", default=[], help="a part that is left out")
    parser.add_argument("--kept", action="store_true", help="the seeds that failed once, first")
    parser.add_argument("--stop", action="store_true", help="end at the first failure")
    parser.add_argument("--shrink", action="store_true", help="shrink what fails")
    parser.add_argument("--twice", action="store_true", help="see that each seed repeats itself")
    options = parser.parse_args()
    warm_up()
    days = options.days if options.long else 0.0
    if options.replay_file is not None:
        return _replay(Job(0, (), options.replay_file))
    if options.replay is not None:
        job = Job(options.replay, tuple(options.without), days=days)
        if options.keep:
            content = {"why": options.why, "plan": job.plan().as_json()}
            path = KEPT / f"{options.keep}.json"
            path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return _replay(job)
    began = time.monotonic()

    def jobs() -> Iterator[Job]:
        if options.kept:
            yield from kept()
        for seed in options.these or range(options.first, options.first + options.seeds):
            if options.seconds is not None and time.monotonic() - began > options.seconds:
                return
            job = Job(seed, tuple(options.without), patience=options.patience, days=days)
            yield job
            if options.twice:
                yield job

    count, seconds, healed, lives, finished, failed = 0, 0.0, 0.0, 0, 0, []
    rows = size = objects = 0
    traces: dict[Job, int] = {}
    for job, result, _ in done(jobs(), options.processes):
        count += 1
        if result is None:
            failed.append(job)
            _say(f"seed {job.seed}: the process has ended by itself\n    {job.command}")
        else:
            seconds += result.seconds
            lives += result.lives
            healed = max(healed, result.healed)
            finished += result.finished
            rows, size = max(rows, result.rows), max(size, result.size)
            objects = max(objects, result.objects)
            faults = list(result.faults)
            if traces.setdefault(job, result.trace) != result.trace:
                faults.append("a second run of it went otherwise")
            if faults:
                failed.append(job)
                _say(f"seed {job.seed}: " + "\n    ".join(fault[:600] for fault in faults[:6]))
                _say(f"    {job.command}")
        if failed and options.stop:
            break
    took = time.monotonic() - began
    _say(
        f"{count} runs, {len(failed)} failed; {_told(seconds)}, {lives} lives, "
        f"{finished} outcomes, healed within {healed:.0f} s, in {took:.0f} s"
    )
    if days:
        _say(f"at most {rows} settled rows, {size / 1e6:.1f} MB and {objects} objects")
    if options.shrink:
        for job in failed[:5]:
            _say(f"shrunk: {shrunk(job, job.plan().parts).command}")
    return 1 if failed else 0


def _replay(job: Job) -> int:
    plan = job.plan()
    _say(f"service {plan.service}; {', '.join(plan.parts)}")
    for event in plan.events:
        _say(f"  {event}")
    ((_, result, lines),) = done([job], 1)
    for line in lines:
        _say(line)
    if result is None:
        return 1
    _say(f"trace {result.trace & (2**64 - 1):016x}, {result.steps} steps, {result.seconds:.0f} s")
    for fault in result.faults:
        _say(f"FAULT {fault}")
    return 1 if result.faults else 0


def _told(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} simulated hours" if hours < 48 else f"{hours / 24:.1f} simulated days"


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is a command
