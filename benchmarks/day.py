"""A day of 2,000 workflows at speed, with every trait on: what is counted is what happened.

python -m benchmarks.day

The day is the simulator's scenario `traits`, until so many workflows have arrived. Only the
service's time runs fast: the exporter's own (its interval of listing, its backoffs, its graces) and
the rate limit are real. So between two looks of the exporter happens twenty times what a real day
brings, and stamps of whole seconds, which are real too, hold many runs each: it is harsher than
real life.
"""

import argparse
import importlib.resources
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.comparing import Comparison, Execution, compare, executions, is_countable
from benchmarks.coverage.counted import CAUSE, Counted, read_counted
from benchmarks.coverage.ours import FILE_VARIABLE, ROWS_VARIABLE
from benchmarks.metrics import Metrics
from benchmarks.processes import ACCOUNT, ExporterProgram, SimulatorProgram, running

QUIET_SECONDS: Final = 120.0
"""Of the day, at its beginning: nothing arrives before the exporter has drawn its line."""
LOOK_SECONDS: Final = 2.0
FIRST_LOOK_SECONDS: Final = 30.0

OLD_ROWS: Final = 500
"""Over at the start."""
OLDEST_SECONDS: Final = 40 * 3600.0
"""For how long, the oldest of them: two in five are older than the lookback."""
ARCHIVE_ROWS: Final = 150
"""So many rows at the end of the list are older than the lookback for certain."""
ARCHIVE_RATE: Final = 0.01
"""How often one of those runs again, in a second of the day. It fails before it starts."""
STEADY_SECONDS: Final = 30.0
"""The old rows within the lookback have been read once where none is added for so long."""

OFF: Final[Mapping[str, Mapping[str, object]]] = {"reconciling": {"listing": {"reconcile": False}}}
"""By part: the configuration of the account that switches it off."""

LONGEST_UNSEEN_SECONDS: Final = 900.0
"""Real ones: within this time the whole list is read, so an end that stood longer was shown."""
MOST_TOLD: Final = 20
"""Ids with a difference of which all is told."""

_STAMPS: Final = ("created_ms", "started_ms", "completed_ms")


def main() -> None:
    """Run what the command line asks for. Exit status 1 where an end was not counted, or twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    parser.add_argument("--workflows", type=int, default=2000, help="that arrive; default 2000")
    parser.add_argument("--speed", type=float, default=20.0, help="of the day; default 20")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--patience", type=float, default=900.0, help="seconds after the last end; default 900"
    )
    parser.add_argument("--rows", type=Path, help="file for what was said of each workflow")
    parser.add_argument("--truth", type=Path, help="file for what really happened")
    parser.add_argument("--without", choices=sorted(OFF), action="append", default=[])
    arguments = parser.parse_args()
    account = {key: value for part in arguments.without for key, value in OFF[part].items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scenario = folder / "day.yml"
        scenario.write_text(
            json.dumps(_day(arguments.workflows, arguments.speed)), encoding="utf-8"
        )
        simulator = SimulatorProgram(str(scenario), arguments.seed, folder, speed=arguments.speed)
        with running(simulator.program):
            simulator.control("pause")
            file = folder / "counted"
            environment = {FILE_VARIABLE: str(file)}
            if arguments.rows is not None:
                environment[ROWS_VARIABLE] = str(arguments.rows)
            exporter = ExporterProgram(
                simulator.base_url,
                simulator.token(),
                folder,
                account=account,
                module="benchmarks.coverage.ours",
                environment=environment,
            )
            with running(exporter.program):
                _live_through(simulator, exporter, file, arguments)
                truth = simulator.truth()
                if arguments.truth is not None:
                    arguments.truth.write_text(json.dumps(truth), encoding="utf-8")
                counted = read_counted(file)
                found = compare(truth, counted, LONGEST_UNSEEN_SECONDS * arguments.speed)
                metrics = Metrics(exporter.scrape()[0])
                _tell(truth, counted, found)
                _tell_more(truth, metrics)
    shown = metrics.by("workflows_finished_total", "status")
    ours = Counter(each.what for each in counted if each.is_end)
    if any(shown.get(status, 0) != ours[status] for status in {*shown, *ours}):
        sys.exit(f"/metrics shows {shown}")
    if not found.holds:
        sys.exit(1)


def _day(workflows: int, speed: float) -> dict[str, Any]:
    file = importlib.resources.files("exporter.simulator") / "scenarios" / "traits.yml"
    day: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    day["arrivals"]["max_workflows"] = workflows
    day["phases"] = [{"to": QUIET_SECONDS, "rate_factor": 0}]
    # What is open at the start might end before the exporter's first look, and nobody could tell.
    ages = {"min": "1m", "max": OLDEST_SECONDS * speed}
    day["start"] = {"finished": OLD_ROWS, "finished_age": ages, "open": 0}
    # Below where the list is read again, and over before anybody looks: nobody has its clock.
    archived = {"failed": 1.0, "before_running": 1.0}
    day["traits"]["reruns"].append(
        {
            "rate": ARCHIVE_RATE,
            "depth": {"min": 0, "max": ARCHIVE_ROWS},
            "from_bottom": True,
            "ended": ["completed"],
            "outcomes": archived,
        }
    )
    for trait in ("reruns", "edits", "deletions", "vanishing"):
        for each in day["traits"][trait]:
            each["from"] = QUIET_SECONDS
    return day


def _live_through(
    simulator: SimulatorProgram,
    exporter: ExporterProgram,
    file: Path,
    arguments: argparse.Namespace,
) -> None:
    workflows, unseen = arguments.workflows, LONGEST_UNSEEN_SECONDS * arguments.speed
    began = time.monotonic()
    while Metrics(exporter.scrape()[0]).total("listing_last_success_timestamp_seconds") == 0:
        if time.monotonic() - began > FIRST_LOOK_SECONDS:
            print(f"the list could not be read whole within {FIRST_LOOK_SECONDS:.0f} s", flush=True)
            break
        time.sleep(0.2)
    # The sweep has been down the list once, as it has on any day but the first.
    rows, since = -1.0, time.monotonic()
    while time.monotonic() - since < STEADY_SECONDS:
        found = Metrics(exporter.scrape()[0]).total("exporter_ledger_workflows")
        if found != rows:
            rows, since = found, time.monotonic()
        time.sleep(LOOK_SECONDS)
    simulator.control("resume")
    began = time.monotonic()
    while not _is_over(simulator.truth(), workflows):
        _look(exporter)
    # Nothing befalls those that have ended any more: now it can be compared.
    simulator.control("pause")
    print(f"{workflows} workflows arrived within {time.monotonic() - began:.0f} s", flush=True)
    ended = time.monotonic()
    while time.monotonic() - ended < arguments.patience:
        truth, counted = simulator.truth(), read_counted(file)
        all_causes = _causes(counted) == sum(each.what == "failed" for each in counted)
        if not _open(truth) and all_causes and compare(truth, counted, unseen).holds:
            break
        _look(exporter)
    print(f"compared {time.monotonic() - ended:.0f} s after the last arrival")


def _look(exporter: ExporterProgram) -> None:
    """Do what a Prometheus would, and wait."""
    exporter.program.check()
    exporter.scrape()
    time.sleep(LOOK_SECONDS)


def _is_over(truth: dict[str, Any], workflows: int) -> bool:
    arrived = {each["id"] for each in executions(truth) if not each["at_start"]}
    first = {each["id"] for each in executions(truth) if each["final_at_start"]}
    return len(arrived - first) >= workflows


def _open(truth: dict[str, Any]) -> int:
    final = {"completed", "failed", "cancelled", "invalid"}
    return sum(each["status"] not in final for each in truth["workflows"])


def _causes(counted: Iterable[Counted]) -> int:
    return sum(each.what == CAUSE for each in counted)


def _tell(truth: dict[str, Any], counted: list[Counted], found: Comparison) -> None:
    account = truth["accounts"][ACCOUNT]
    unseen = Counter(each["told"]["outcome"] for each in found.never_shown)
    ours = Counter(each.what for each in counted if each.is_end)
    print(f"{'status':<12}{'truth':>8}{'never shown':>13}{'counted':>9}{'difference':>12}")
    for status in sorted({*account["outcomes"], *ours}):
        real, hidden = account["outcomes"].get(status, 0), unseen[status]
        told = ours[status]
        print(f"{status:<12}{real:>8}{hidden:>13}{told:>9}{told - real + hidden:>+12}")
    runs = Counter(each["id"] for each in executions(truth))
    print(f"executions of settled ids: {sum(count - 1 for count in runs.values())}")
    stood = sorted(each["stood_seconds"] for each in found.never_shown)
    print(f"never shown: {len(stood)}, at most {found.most_never_shown}", end="; ")
    print("each could be asked for, in seconds of the day: ", end="")
    print(", ".join(f"{seconds:.0f}" for seconds in stood) or "none")
    print(f"lost: {len(found.lost)}; doubles: {len(found.doubles)}")
    identities = dict.fromkeys(
        [each["id"] for each in found.lost] + [one.workflow_id for one in found.doubles]
    )
    for identity in list(identities)[:MOST_TOLD]:
        print(f"  {identity}")
        for each in (row for row in executions(truth) if row["id"] == identity):
            stamps = "  ".join(f"{key[:-3]} {each[key]}" for key in _STAMPS)
            shown = "" if each["shown"] else "never shown"
            print(f"    {stamps}", each["status"], shown, "LOST" if each in found.lost else "")
        for one in (one for one in counted if one.workflow_id == identity):
            print(f"    counted {one.wall:.0f} {one.what} by {one.way}, end {one.end}", end="")
            print(" DOUBLE" if one in found.doubles else "")
    _tell_ways(truth, found)
    for each, one in found.wrong_durations[:MOST_TOLD]:
        stamps = "  ".join(f"{key[:-3]} {each[key]}" for key in _STAMPS)
        print(f"duration of {each['id']}: {one.seconds} by {one.way}", end=", ")
        print(f"in truth {each['told']['run_seconds']}; {each['status']}  {stamps}")
    print(f"wrong durations: {len(found.wrong_durations)}")
    print(f"causes: {_causes(counted)}", end="")


def _tell_ways(truth: dict[str, Any], found: Comparison) -> None:
    """Print by what each kind of outcome was found, and how many were not."""
    counted = {(each["id"], each["execution"]): one for each, one in found.ways}
    runs: dict[str, list[Execution]] = defaultdict(list)
    for row in executions(truth):
        runs[row["id"]].append(row)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for rows in runs.values():
        rows.sort(key=lambda row: int(row["execution"]))
        for number, row in enumerate(rows):
            if not is_countable(row):
                continue
            kind = "first run"
            if number:
                before = rows[number - 1]["told"]["outcome"]
                is_alike = before == row["told"]["outcome"]
                kind = f"run again, ended {'as before' if is_alike else 'otherwise'}"
            one = counted[row["id"], row["execution"]]
            kinds[kind]["not counted" if one is None else one.way] += 1
    for kind, ways in sorted(kinds.items()):
        told = ", ".join(f"{way} {count}" for way, count in ways.most_common())
        print(f"{kind}: {told}")


def _tell_more(truth: dict[str, Any], metrics: Metrics) -> None:
    account = truth["accounts"][ACCOUNT]
    causes = sum(count for *_, count in account["causes"])
    print(f" of {causes} failures", end="; ")
    shown = metrics.by("workflow_failures_total", "node_type").get("unknown", 0.0)
    print(f"unknown {shown:.0f}", end=", ")
    unknown = sum(count for node, _, count in account["causes"] if node == "unknown")
    print(f"in truth {unknown}")
    durations = account["run_durations"].values()
    count = metrics.total("workflow_run_duration_seconds_count")
    sum_ = metrics.total("workflow_run_duration_seconds_sum")
    print(f"runs: {count:.0f} of {sum(each['count'] for each in durations)}", end=", ")
    print(f"{sum_:.1f} s together", end="; ")
    least, most = (sum(each[key] for each in durations) for key in ("least", "most"))
    print(f"in truth {least:.1f} to {most:.1f} s")
    print(f"recovered: {metrics.total('reconciliation_recovered_total'):.0f}", end="; ")
    print(f"most requests in 10 s: {truth['busiest_window']}", end="; ")
    print(f"refused: {sum(truth['refusals'].values())}; requests: {truth['requests']}")


if __name__ == "__main__":
    main()
