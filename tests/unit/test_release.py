"""What publishes a release, as far as it can be judged without GitHub."""

from pathlib import Path
from typing import Any

import yaml

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text("utf-8"))
    return found


def test_whatever_publishes_waits_for_the_whole_of_ci() -> None:
    # YAML takes the key `on` to be true.
    assert "workflow_call" in workflow("ci.yml")[True]
    jobs = workflow("release.yml")["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    publishing = {
        name for name, job in jobs.items() if "write" in job.get("permissions", {}).values()
    }
    assert publishing == {"image", "chart", "pypi", "release"}
    for name in publishing:
        assert "ci" in jobs[name]["needs"]
        # Either would let it run although what it needs has failed.
        assert not {"if", "continue-on-error"} & set(jobs[name])
