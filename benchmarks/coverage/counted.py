"""What a follower writes down while it counts: one line of JSON for each thing it has counted."""

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CAUSE: Final = "cause"
"""In the place of a status: the cause of a failure became known."""

DURATION: Final = "duration"
"""In the place of a status: how long an execution ran became known after its end was counted."""


@dataclass(frozen=True)
class Counted:
    """Something was counted."""

    wall: float
    """Unix seconds."""
    workflow_id: str
    what: str
    """A final status, `CAUSE` or `DURATION`."""
    way: str = ""
    """By what it was found, where the follower tells."""
    end: float | None = None
    """The stamp of the end with which it was told, Unix seconds, where the follower tells."""
    seconds: float | None = None
    """How long the execution ran, where that was counted with this."""

    @property
    def is_end(self) -> bool:
        """Whether it is an outcome, and no later addition to one."""
        return self.what not in {CAUSE, DURATION}


class CountedLog:
    """Writes; from any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii", buffering=1)
        self._lock = threading.Lock()

    def add(
        self,
        workflow_id: str,
        what: str,
        way: str = "",
        end: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Note that this was counted just now."""
        line = json.dumps([time.time(), workflow_id, what, way, end, seconds])
        with self._lock:
            self._file.write(line + "\n")


def read_counted(path: Path) -> list[Counted]:
    """What was written until now."""
    if not path.exists():
        return []
    # The last line may be on its way.
    lines = path.read_text("ascii").split("\n")[:-1]
    return [Counted(*json.loads(line)) for line in lines]
