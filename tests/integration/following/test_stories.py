"""What is told of single workflows, by an exporter that follows a simulator."""

from pathlib import Path

from exporter.views import WorkflowQuery
from tests.integration.following.exporting import LISTED, Bench

DAY = """
limit: {enabled: false}
start: {finished: 5}
arrivals: {rate: 1, max_workflows: 20}
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
    exporter.until_finished(20)
    views = exporter.app.views
    ended = views.workflows(WorkflowQuery(phase="settled", sort="ended", per_page=100)).rows
    stories = {row.id: views.workflow(row.id) for row in ended}
    counted = [s for s in stories.values() if s is not None and s.counted_as]
    before = [s for s in stories.values() if s is not None and s.not_counted_because]
    assert len(counted) >= 20
    assert all(s.row.status == s.counted_as for s in counted)
    assert all("first looked" in s.not_counted_because for s in before)
    assert exporter.app.stop()
    again = bench.export(account, storage=tmp_path).app.views
    for workflow_id, story in stories.items():
        known = again.workflow(workflow_id)
        assert story is not None
        assert known is not None
        assert known.counted_as == story.counted_as
        assert known.not_counted_because == story.not_counted_because
        assert known.events[: len(story.events)] == story.events
