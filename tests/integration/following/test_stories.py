"""What is told of single workflows, by an exporter that follows a simulator."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.interfaces.views import WorkflowQuery, WorkflowStory
from exporter.simulator import Simulator
from tests.integration.following.exporting import LISTED, PATIENCE, Bench, Exporter, hurried

DAY = """
limit: {enabled: false}
start: {finished: 5}
runners: [{name: gpu, count: 20}]
jobs: [{name: image, duration: {median: 3s, sigma: 0.2, min: 2s, max: 5s}}]
outcomes: {failed: 0.3, cancelled: 0.1}
"""


def test_every_outcome_is_told_as_it_was_counted_and_after_a_restart(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate(DAY, speed=20)
    account = bench.account(simulator, **LISTED)
    exporter = bench.export(account, storage=tmp_path)
    # Those that had ended before it first looked would not count.
    exporter.until_listed()
    for _ in range(20):
        simulator.create()
    exporter.until_finished(20)
    views = exporter.app.views
    ended = views.workflows(WorkflowQuery(phase="settled", sort="ended", per_page=100)).rows
    stories = {row.id: views.workflow(row.id) for row in ended}
    counted = [s for s in stories.values() if s is not None and s.counted_as]
    before = [s for s in stories.values() if s is not None and s.not_counted_because]
    assert len(counted) >= 20
    assert all(s.row.status == s.counted_as for s in counted)
    assert all("first read" in s.not_counted_because for s in before)
    assert exporter.app.stop()
    again = bench.export(account, storage=tmp_path).app.views
    for workflow_id, story in stories.items():
        known = again.workflow(workflow_id)
        assert story is not None
        assert known is not None
        assert known.counted_as == story.counted_as
        assert known.not_counted_because == story.not_counted_because
        assert known.events[: len(story.events)] == story.events


def told(exporter: Exporter, workflow: str, *, why: str) -> WorkflowStory:
    """The story, as soon as it says why it is not counted."""

    def says() -> bool:
        story = exporter.app.views.workflow(workflow)
        return story is not None and why in story.not_counted_because

    exporter.until(lambda _: says())
    story = exporter.app.views.workflow(workflow)
    assert story is not None
    assert story.counted_as == ""
    assert not any(event.what == "counted" for event in story.events)
    return story


def refused(code: int) -> Callable[[Simulator, str], None]:
    def refuse(simulator: Simulator, workflow: str) -> None:
        simulator.set_faults({"kind": "status", "code": code, "workflow": workflow})

    return refuse


def ended_long_ago(simulator: Simulator, workflow: str) -> None:
    simulator.workflow(workflow).advance("running")
    simulator.workflow(workflow).advance("completed", completed_at="2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (ended_long_ago, "before the exporter first read"),
        (refused(404), "does not know it (404)"),
        (refused(400), "malformed (400)"),
        (refused(403), "does not allow reading it (403)"),
    ],
)
def test_a_named_one_that_is_not_counted_says_why(
    bench: Bench, happens: Callable[[Simulator, str], None], why: str
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    happens(simulator, workflow)
    account = bench.account(simulator, workflows=[workflow])
    exporter = bench.export(account, now=hurried(100))
    story = told(exporter, workflow, why=why)
    assert story.row.phase != "open"
    # One id that is refused is nothing wrong with the account.
    (shown,) = exporter.app.views.overview().accounts
    assert (shown.up, shown.last_error) == (True, "")


def test_one_that_is_deleted_or_taken_back_says_so(bench: Bench, tmp_path: Path) -> None:
    token = tmp_path / "push"
    token.write_text("push-token")
    push: dict[str, Any] = {"push": {"token_file": str(token)}}
    simulator = bench.simulate()
    taken_back = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[str(uuid.uuid4())], **push))
    exporter.app.pushed.push("studio", [taken_back])
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    assert exporter.app.pushed.untrack("studio", taken_back)
    assert told(exporter, taken_back, why="no longer names it").row.phase == "dropped"


def test_one_in_a_status_that_nobody_knows_says_so_until_it_has_ended(bench: Bench) -> None:
    simulator = bench.simulate(
        """
        limit: {enabled: false}
        traits: {statuses: {words: [{word: preparing, instead_of: uploaded}]}}
        """
    )
    exporter = bench.export(bench.account(simulator, **LISTED))
    exporter.until_listed()
    workflow = simulator.create(scripted=True)
    simulator.workflow(workflow).advance("uploaded")
    story = told(exporter, workflow, why="does not know, so it stays open")
    assert (story.row.phase, story.row.status) == ("open", "preparing")
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    after = exporter.app.views.workflow(workflow)
    assert after is not None
    assert (after.counted_as, after.not_counted_because) == ("completed", "")
