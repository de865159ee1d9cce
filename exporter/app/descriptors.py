"""The limit of open files of the process, and how it is divided between streams and clients."""

import logging
import resource
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

KEPT_FREE: Final = 64
"""Descriptors that are reserved for the ledger, requests, the log, files, and listening sockets."""

MOST_CLIENTS: Final = 512
"""The largest number of web clients for which descriptors are reserved."""

CLIENTS_PART: Final = 0.25
"""The part (0 to 1) of the other descriptors that is for clients, if there are few."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many descriptors streams and clients may use."""

    streams: int
    clients: int


def shares(limit: int) -> Shares:
    """Divide a limit of open files between streams and clients; each gets at least one."""
    rest = max(2, limit - KEPT_FREE)
    clients = max(1, min(MOST_CLIENTS, int(rest * CLIENTS_PART)))
    return Shares(streams=rest - clients, clients=clients)


@dataclass(frozen=True, slots=True)
class DescriptorLimit:
    """The present limit of open files, and the previous one."""

    now: int
    before: int

    def log(self) -> None:
        """Log the limit; called when it is certain that the process starts."""
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
        # Some systems allow less than the hard limit.
        log.debug(
            "the limit of open files could not be raised", extra={"error": type(error).__name__}
        )
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return DescriptorLimit(limit, soft)
