"""How Prometheus scrapes several replicas as one: which series belong to an account."""

from typing import Final

from exporter.metrics.catalogue import CATALOGUE

_OF_A_REPLICA: Final = {
    "comfycontrol_account_held",
    "comfycontrol_api_requests_total",
    "comfycontrol_open_workflows_beyond_limit_total",
    "comfycontrol_streams",
}
"""Read at a scrape, with an account, and yet each process's own."""

_PREFIX: Final = "comfycontrol_"


def of_accounts() -> list[str]:
    """Metrics that belong to an account, whichever replica shows them: one at a time does.

    What a process counts itself (requests, ends of streams) starts over with each, and is shown
    apart by its `instance`.
    """
    return [
        metric.name
        for metric in CATALOGUE
        if metric.read is not None
        and "account" in metric.labels
        and metric.name not in _OF_A_REPLICA
    ]


def of_accounts_pattern() -> str:
    """The names of their series, as a regular expression of Prometheus's."""
    names = "|".join(name.removeprefix(_PREFIX) for name in of_accounts())
    return f"{_PREFIX}({names})(_bucket|_count|_sum)?"
