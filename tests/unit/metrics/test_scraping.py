"""Which series lose their `instance` where several replicas are scraped."""

import re
from pathlib import Path

from exporter.metrics.scraping import of_accounts, of_accounts_pattern

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_has_the_pattern() -> None:
    assert f"```\n{of_accounts_pattern()}\n```" in PAGE.read_text("utf-8")


def test_what_belongs_to_whom() -> None:
    pattern = re.compile(of_accounts_pattern())
    assert "comfycontrol_workflows_finished_total" in of_accounts()
    for series in (
        "comfycontrol_workflows_finished_total",
        "comfycontrol_workflow_run_duration_seconds_bucket",
        "comfycontrol_account_up",
        "comfycontrol_account_lease_changes_total",
    ):
        assert pattern.fullmatch(series), series
    for series in (
        "comfycontrol_account_held",
        "comfycontrol_api_requests_total",
        "comfycontrol_stream_ends_total",
        "comfycontrol_exporter_replicas",
        "comfycontrol_request_budget_used",
        "process_start_time_seconds",
    ):
        assert not pattern.fullmatch(series), series
