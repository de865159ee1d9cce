"""`kill -9` of replicas and crashes of their database at random moments, at two addresses.

Every outcome is counted exactly once, with its cause and its duration; nothing that was shown is
taken back; no address asks more than its share; and the story of each workflow is told by anyone
who holds its account in the end. The suite kills a few times;
`REPLICA_KILLS=300 REPLICA_CRASHES=30` takes half an hour.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests

from tests.e2e.programs import Stage
from tests.integration.test_replicas import (
    ACCOUNTS,
    REPLICAS,
    SCENARIO,
    SPEED,
    Replicas,
    Shown,
    Story,
)
from tests.postgres import Server

KILLS = int(os.environ.get("REPLICA_KILLS", "8"))
CRASHES = int(os.environ.get("REPLICA_CRASHES", "2"))
SHORTEST, LONGEST = 0.5, 5.0
"""Seconds between two of them."""
AWAY = 2.0
"""Seconds for which the server stays away, at most."""
WORKFLOWS = 8 * (KILLS + CRASHES)
SHARE = 30
"""Of the 40 requests that the service allows, a quarter is left to others."""
SOURCES = ("127.0.0.2", "127.0.0.2", "127.0.0.3")
REMEMBERED = 600
"""The latest workflows of an account whose stories are checked. A replica that holds both accounts
remembers 2,000 stories; only the latest 500 failures are sure to be among them, and three in ten
workflows fail here."""
STALLED = 240
"""Seconds without anything new after which the rest is lost. How long it takes in all is up to the
service, which is hostile, and to the machine: failures owe their causes by then."""
LATE = 400 + 3 * (KILLS + CRASHES)
"""Seconds that this may take."""

HOSTILE: dict[str, Any] = {
    **SCENARIO,
    # The service's own limit, or a hastier one for those who wait for the suite.
    "limit": {"requests": 40, "per": "10s" if KILLS >= 50 else "4s", "cooldown": "10s"},
    "arrivals": {
        # They go on arriving until shortly before the last kill.
        "rate": WORKFLOWS / ((KILLS + CRASHES) * (SHORTEST + LONGEST) / 2) / SPEED,
        "max_workflows": WORKFLOWS,
    },
    "traits": {
        "stamps": {"list": "ms", "subscribe": "us", "get": "us"},
        "missing": [
            {"stamp": "completed_at", "places": ["subscribe"], "share": 0.2, "for": "10s"},
            {"stamp": "updated_at", "places": ["list"], "share": 0.1, "absent": True},
        ],
        "statuses": {
            "case": "mixed",
            "share": 0.2,
            "words": [{"word": "timed_out", "instead_of": "cancelled", "share": 0.2}],
        },
        "paging": {"most": 50, "total": {"form": "stale", "share": 0.05, "lag": "20s"}},
        "replicas": [{"share": 0.1, "lag": "15s", "places": ["subscribe", "list"]}],
        "dates": {"told": False},
        "vanishing": [{"rate": 0.01, "depth": {"min": 0, "max": 50}, "for": "20s"}],
    },
}

FAULTS: list[dict[str, Any]] = [
    {"kind": "drop", "probability": 0.2, "after": {"min": 1, "max": 5}},
    {"kind": "drop", "probability": 0.1, "how": "reset", "cut": "in_chunk"},
    {"kind": "garbage", "probability": 0.1},
    {"kind": "framing", "probability": 0.3},
    {"kind": "latency", "probability": 0.3, "delay": {"min": "0.1s", "max": "1s"}},
    {"kind": "status", "probability": 0.1, "code": 503},
    {"kind": "status", "probability": 0.05, "code": 500, "body": "html"},
    {"kind": "edge_page", "probability": 0.05, "code": 200},
    {"kind": "reset", "probability": 0.05},
    {"kind": "hang_up", "probability": 0.05},
]


@contextmanager
def scraped(replicas: Replicas) -> Iterator[None]:
    """Scrape them all, again and again, beside what happens to them."""
    is_over = threading.Event()

    def scrape() -> None:
        while not is_over.wait(0.1):
            replicas.look()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(150 + 12 * (KILLS + CRASHES) + 2 * LATE)
def test_totals_are_the_truth_whatever_is_killed(stage: Stage, server: Server) -> None:
    story = Story(stage, server, HOSTILE, SOURCES)
    story.begin()
    faults = f"{story.simulator}/_simulator/faults"
    requests.put(faults, json=FAULTS, timeout=10).raise_for_status()
    replicas, moments = story.replicas, random.Random(5)
    ends = ["kill"] * KILLS + ["crash"] * CRASHES
    moments.shuffle(ends)
    with scraped(replicas):
        for end in ends:
            time.sleep(moments.uniform(SHORTEST, LONGEST))
            revive(replicas)
            if end == "crash":
                server.crash()
                time.sleep(moments.uniform(0, AWAY))
                server.start()
            else:
                # Who holds an account, more often than not.
                holders = [who for each in replicas.holders().values() for who in each]
                victim = moments.choice(holders or range(REPLICAS))
                replicas.kill(victim)
                time.sleep(moments.uniform(0, 1))
                replicas.start(victim)
        wait_for_all(replicas)
    wait_until_all_known(story)
    story.wait_for_pages()
    shown = replicas.look()
    for account in ACCOUNTS:
        check_account(story, account, shown)
    assert not replicas.faults
    told = story.truth()
    assert sum(told["refusals"].values()) == 0
    assert told["busiest_window"] <= SHARE
    print(  # noqa: T201 - for anyone who runs it with -s
        f"{KILLS} kills, {CRASHES} crashes, {replicas.scrapes} rounds of scrapes, "
        f"{len(story.ours())} workflows, {sum(told['requests'].values())} requests, at most "
        f"{told['busiest_window']} in a window, {told['faults']} faults"
    )
    requests.put(faults, json=[], timeout=10).raise_for_status()
    stories_are_true(story)


def wait_for_all(replicas: Replicas) -> None:
    """Until all of them answer."""
    deadline = time.monotonic() + 60
    while len(answering := replicas.answering()) < REPLICAS:
        assert time.monotonic() < deadline, answering
        revive(replicas)
        time.sleep(0.2)


def revive(replicas: Replicas) -> None:
    """Start those again that found no database when they began, as anyone who runs them would."""
    ended = [number for number, process in replicas.processes.items() if process.has_ended]
    for number in ended:
        process = replicas.processes.pop(number)
        assert "cannot use the ledger" in process.output, process.output[-2000:]
        replicas.stage.kill(process.name)
        replicas.start(number)


def truth_of(story: Story, account: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Outcomes and causes that are to be counted."""
    after, before = story.truth()["accounts"][account], story.told_before[account]
    causes = {(node, exception): count for node, exception, count in after["causes"]}
    earlier = {(node, exception): count for node, exception, count in before["causes"]}
    return Counter(after["outcomes"]) - Counter(before["outcomes"]), Counter(causes) - Counter(
        earlier
    )


def wait_until_all_known(story: Story) -> None:
    """Until all have ended, and as many are counted as are to be."""
    deadline = time.monotonic() + LATE
    most, news = 0, time.monotonic()
    while True:
        # On a busy machine the simulator may not answer in time.
        with suppress(requests.RequestException):
            counted, left = progress(story)
            if not left and story.has_ended():
                return
            if counted > most:
                most, news = counted, time.monotonic()
                print(f"{counted} counted, {left} left")  # noqa: T201 - for who runs it with -s
        for process in story.replicas.processes.values():
            process.check_alive()
        assert time.monotonic() < min(deadline, news + STALLED), f"{most} are counted"
        time.sleep(1)


def progress(story: Story) -> tuple[int, int]:
    """How many outcomes and causes are counted, and are to be counted still."""
    shown = story.replicas.look()
    counted = left = 0
    for account in ACCOUNTS:
        outcomes, causes = truth_of(story, account)
        for name, truth in (
            ("comfycontrol_workflows_finished_total", outcomes.total()),
            ("comfycontrol_workflow_failures_total", causes.total()),
        ):
            found = values(shown, name, account).total()
            counted += found
            left += max(0, truth - found)
    return counted, left


def values(shown: Shown, name: str, account: str) -> Counter[tuple[str, ...]]:
    """The series of an account that are not 0, by their labels in the order of their names."""
    return Counter(
        {
            key[2:]: int(value)
            for key, value in shown.items()
            if key[:2] == (name, account) and value
        }
    )


def check_account(story: Story, account: str, shown: Shown) -> None:
    """What is shown is the truth."""
    outcomes, causes = truth_of(story, account)
    finished = values(shown, "comfycontrol_workflows_finished_total", account)
    # The labels' names in their order: account comes first.
    assert finished == Counter({(account, status): count for status, count in outcomes.items()})
    assert values(shown, "comfycontrol_workflow_failures_total", account) == Counter(
        {(account, exception, node): count for (node, exception), count in causes.items()}
    )
    ours = [w for w in story.ours() if w["account"] == account]
    discovered = values(shown, "comfycontrol_workflows_discovered_total", account)
    assert discovered.total() == len(ours)
    after, before = story.truth()["accounts"][account], story.told_before[account]
    for outcome, ran in after["run_durations"].items():
        earlier = before["run_durations"].get(outcome, {"count": 0, "least": 0.0, "most": 0.0})
        name, key = "comfycontrol_workflow_run_duration_seconds", (account, account, outcome)
        assert shown[f"{name}_count", *key] == ran["count"] - earlier["count"]
        least, most = (ran[end] - earlier[end] for end in ("least", "most"))
        assert least - 0.001 <= shown[f"{name}_sum", *key] <= most + 0.001


def stories_are_true(story: Story) -> None:
    """The history tells of each workflow what it was counted as, anyone who saw it end."""
    for account, (holder,) in story.replicas.holders().items():
        url = f"http://127.0.0.1:{story.replicas.ports[holder]}/api/v1/workflows"
        ours = [workflow for workflow in story.ours() if workflow["account"] == account]
        # Of the older ones only the rows are kept.
        for workflow in ours[-REMEMBERED:]:
            told = requests.get(f"{url}/{workflow['id']}", timeout=10).json()
            counted = [event for event in told["events"] if event["what"] == "counted"]
            assert len(counted) == 1
            assert told["counted_as"]
