"""What a replica answers about accounts that another one counts: the name of that replica."""

from collections.abc import Collection, Mapping

from exporter.web.answers import RefusedError


def refuse_those(elsewhere: Mapping[str, str], accounts: Collection[str] | None) -> None:
    """Refuse a request that only the replicas that count these accounts can answer.

    Args:
        elsewhere: the result of `exporter.views.Views.elsewhere`.
        accounts: the requested accounts; None: all.

    Raises:
        RefusedError: 503, naming the replicas: some of these accounts are not counted here.
    """
    asked = {
        name: holder for name, holder in elsewhere.items() if accounts is None or name in accounts
    }
    if asked:
        raise RefusedError(503, f"not known here: {said_of(asked)}")


def said_of(elsewhere: Mapping[str, str]) -> str:
    """A text that says which replicas count these accounts."""
    return ", ".join(
        f"{name} is counted by the replica {holder}"
        if holder
        else f"{name} is not counted by this replica, and no other is known to hold it"
        for name, holder in sorted(elsewhere.items())
    )
