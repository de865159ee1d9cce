"""How long to wait before trying again."""

import ast
from pathlib import Path

import exporter
from exporter.retrying import Backoff, RetryPolicy, after_requests


def test_the_ceiling_doubles_from_one_second_to_a_minute() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_jitter_is_full() -> None:
    backoff = Backoff(iter([0.0, 0.5, 0.25]).__next__)
    assert [backoff.failed() for _ in range(3)] == [0.0, 1.0, 1.0]


def test_a_minute_of_health_forgets_all_failures() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.failed()
    backoff.worked(60.0)
    assert backoff.failed() == 1.0


def test_less_than_a_minute_of_health_forgets_none() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.failed()
    backoff.worked(59.9)
    assert backoff.failed() == 32.0


def test_an_answer_to_a_single_request_counts_as_health() -> None:
    backoff = Backoff(lambda: 1.0)
    backoff.failed()
    backoff.worked()
    assert backoff.failed() == 1.0


def test_after_years_of_failures_it_is_still_a_minute() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed() for _ in range(5000)][-1] == 60.0


def test_what_the_service_asks_for_is_waited_for_at_least() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed(at_least) for at_least in (None, 0.0, 30.0, 3.0)] == [1, 2, 30, 8]


def test_the_longest_wait_may_be_another() -> None:
    backoff = Backoff(lambda: 1.0, after_requests(longest=5.0))
    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_spread_makes_waits_longer_only() -> None:
    policy = RetryPolicy((10.0, 20.0), spread=(1.0, 1.25))
    assert [policy.wait(2, random) for random in (0.0, 0.4, 1.0)] == [20.0, 22.0, 25.0]


BY_POLICY = {
    "following.access": "a refused token",
    "following.pending": "what ended ones still owe",
    "following.follower": "streams",
    "following.list_pages": "pages",
    "following.rechecker": "looks at settled ones",
    "following.runner_watch": "runners",
    "following.traits_order": "names and tags",
    "ledger.writer": "writes of the ledger",
}
"""Who waits and tries again by a policy, by module."""

OTHERWISE = {
    "following.asking": "hands the error on",
    "following.collecting": "pending.py says when",
    "following.lister": "list_pages.py says when",
    "following.open_checks": "the lister says when",
    "following.poller": "rounds of 5 s, and poll_order.py for each workflow",
    "following.reconciler": "rounds of its own, far apart",
    "following.reconciling": "hands the error on",
    "following.traits_reader": "traits_order.py says when",
    "commands.online": "asks once",
}
"""What else goes on after a request that failed, and what paces it."""


def test_whoever_goes_on_after_a_failed_request_is_paced_by_the_one_policy() -> None:
    folder = Path(exporter.__file__).parent
    by_policy, going_on = set(), set()
    for path in folder.rglob("*.py"):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        tree = ast.parse(path.read_text("utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if any(call.endswith(("ackoff.failed", "policy.wait", "TRAITS.wait")) for call in calls):
            by_policy.add(module)
        caught = {
            ast.unparse(node.type)
            for node in ast.walk(tree)
            if isinstance(node, ast.ExceptHandler) and node.type is not None
        }
        if any("ServiceError" in types for types in caught):
            going_on.add(module)
    by_policy.remove("retrying")
    going_on -= {m for m in going_on if m.startswith(("comfycontrol.", "simulator."))}
    assert by_policy == BY_POLICY.keys()
    assert going_on - by_policy == OTHERWISE.keys()


def test_no_other_place_reads_what_the_service_asks_us_to_wait() -> None:
    """It is handed to a policy as it is: the one who worked it out again could forget it."""
    folder = Path(exporter.__file__).parent
    for path in sorted((folder / "following").glob("*.py")):
        if path.name != "held_back.py":
            assert "retry_after or" not in path.read_text("utf-8"), path
