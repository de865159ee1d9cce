"""The settings of the web side, as requests use them.

Without a file for it, only this is loaded: not the models of the file, which take a megabyte.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.config.errors import ErrorEntry
from exporter.plurals import counted
from exporter.web.security.passwords import Users
from exporter.web.security.rate import RequestRate


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS settings from one reading of the configuration."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str] | None
    """A client's certificate must have one of these names; None: any verified certificate is
    accepted."""


@dataclass(frozen=True, slots=True)
class Security:
    """The security settings from one reading of the file. Without a file, nothing is protected."""

    tls: Tls | None = None
    users: Users = field(default_factory=Users, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RequestRate = field(default_factory=RequestRate)
    warnings: tuple[ErrorEntry, ...] = ()

    def __str__(self) -> str:
        """A short description."""
        parts = ["plain HTTP" if self.tls is None else "TLS"]
        if self.tls is not None and self.tls.context.verify_mode:
            parts[0] += " with client certificates"
        users = len(self.users.hashes)
        parts.append(counted(users, "user") if users else "no passwords")
        if self.rate_limit.interval:
            parts.append("a rate limit")
        return ", ".join(parts)


UNSECURED: Final = Security()
