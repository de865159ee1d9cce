"""Listens to all that is logged, for what must not be."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from typing import Final

from tests.simulation import scheduler


class Ear(logging.Handler):
    """Hears each line, and keeps the latest."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.lines: deque[str] = deque(maxlen=400)
        self._secrets = secrets

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.name} {record.levelname} {record.getMessage()} " + " ".join(
            f"{key}={value}"
            for key, value in record.__dict__.items()
            if key not in _PLAIN and not key.startswith("_")
        )
        if record.exc_info:
            line += "\n" + "".join(traceback.format_exception(*record.exc_info))
            if record.name.startswith("exporter") or record.name == "asyncio":
                self.faults.append(f"a traceback was logged: {line}")
        self.lines.append(f"{scheduler.world().now:10.3f} {line}")
        if any(secret in line for secret in self._secrets):
            self.faults.append(f"a secret was logged: {line}")


_PLAIN: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message"}
