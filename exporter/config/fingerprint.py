"""A hash of a configuration, by which replicas can be compared."""

import hashlib
import json
from typing import Final

from exporter.config.models import Config

_OF_A_MACHINE: Final = {"storage", "egress"}
"""What each replica may have of its own: where the database is, and from where it asks."""

_OF_AN_ACCOUNT: Final = {"token", "token_file"}
"""Tokens are no part of it: no number may tell anything of one, and they are changed one by one."""

_BITS: Final = 48
"""So many are exact in a sample of Prometheus's."""


def fingerprint(config: Config) -> int:
    """Equal for configurations by which the same is counted, in whatever order they are written."""
    accounts = {"__all__": _OF_AN_ACCOUNT | {"push"}}
    said = config.model_dump(
        mode="json",
        exclude_none=True,
        exclude={**dict.fromkeys(_OF_A_MACHINE, True), "accounts": accounts},
    )
    said["accounts"].sort(key=lambda account: account["name"])
    written = json.dumps(said, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(written).digest()[: _BITS // 8], "big")
