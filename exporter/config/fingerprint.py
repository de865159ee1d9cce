"""A hash of the configuration, to compare replicas."""

import hashlib
import json
from typing import Final

from exporter.config.models import Config

_OF_A_MACHINE: Final = {"storage", "egress"}
"""Sections that may differ between replicas: the database and the local address."""

_OF_AN_ACCOUNT: Final = {"token", "token_file"}
"""Tokens are left out: a hash could reveal something about them, and replicas get new ones one by
one."""

_BITS: Final = 48
"""A sample in Prometheus is exact for this many bits."""


def fingerprint(config: Config) -> int:
    """Equal for configurations with the same effect on counting, in any order of keys."""
    accounts = {"__all__": _OF_AN_ACCOUNT | {"push"}}
    said = config.model_dump(
        mode="json",
        exclude_none=True,
        exclude={**dict.fromkeys(_OF_A_MACHINE, True), "accounts": accounts},
    )
    said["accounts"].sort(key=lambda account: account["name"])
    written = json.dumps(said, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(written).digest()[: _BITS // 8], "big")
