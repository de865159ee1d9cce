"""Ids written in the configuration."""

from collections.abc import Callable, Iterable

from exporter.observations import Moment, TakenUp, WorkflowRegister


def take_up_configured(
    account: str, ids: Iterable[str], register: WorkflowRegister, now: Callable[[], Moment]
) -> None:
    """Name every configured id to the register; those it knows already change nothing."""
    for workflow_id in ids:
        register.take_up(TakenUp(account, workflow_id, "configured", now()))
