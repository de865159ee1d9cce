"""The limit of open files of the process, and how it is divided between streams and clients."""

import logging
import resource
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

KEPT_FREE: Final = 64
"""For the ledger, the list and single requests, the log, files of ids, and listening sockets."""

MOST_CLIENTS: Final = 512
"""Clients of the web side that descriptors are left for, where there are plenty."""

CLIENTS_PART: Final = 0.25
"""Of the rest (0 to 1), what clients get where there are few."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Descriptors for each side."""

    streams: int
    clients: int


def shares(limit: int) -> Shares:
    """What a limit of open files leaves for streams and for clients; one at least for each."""
    rest = max(2, limit - KEPT_FREE)
    clients = max(1, min(MOST_CLIENTS, int(rest * CLIENTS_PART)))
    return Shares(streams=rest - clients, clients=clients)


@dataclass(frozen=True, slots=True)
class DescriptorLimit:
    """The limit of open files: what holds now, and what held before."""

    now: int
    before: int

    def tell(self) -> None:
        """A line in the log, once it is sure that the process goes on."""
        share = shares(self.now)
        log.info(
            "limit of open files",
            extra={
                "limit": self.now,
                "before": self.before,
                "streams": share.streams,
                "clients": share.clients,
            },
        )


def raise_limit() -> DescriptorLimit:
    """Raise the soft limit of open files to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # Some systems have a limit below the hard one.
        log.debug(
            "the limit of open files could not be raised", extra={"error": type(error).__name__}
        )
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return DescriptorLimit(limit, soft)
