"""Watches files that others write: how a change is detected, and how often they are checked.

They are polled. The kernel's events are not used, because mounted secrets, config maps and network
file systems do not send them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from exporter.retrying import RetryPolicy
from exporter.worker import Worker

CHECK_SECONDS: Final = 2.0
"""Seconds between two checks."""

Fingerprint: TypeAlias = tuple[int, ...] | None
"""Differs whenever the file has changed; None: the file cannot be read."""


def fingerprint_of(path: Path) -> Fingerprint:
    """The fingerprint of a file now. Links are followed: mounted secrets are links."""
    try:
        return fingerprint(path.stat())
    except (OSError, ValueError):
        return None


def fingerprint(status: os.stat_result) -> Fingerprint:
    """The fingerprint of a file with this status."""
    # The change time is included, because a file that is copied into place may have an old
    # modification time.
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )


class WatchedState:
    """Detects changes of files, once two checks have seen the same state.

    A file may be half written at the first check, and a certificate may be renewed before its key.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = self._seen = {path: fingerprint_of(path) for path in paths}

    def has_changed(self) -> bool:
        """Whether any file has changed since the last reported change, or since it was read."""
        now = {path: fingerprint_of(path) for path in self._known}
        settled, self._seen = now == self._seen, now
        if not settled or now == self._known:
            return False
        self._known = now
        return True

    def note_read(self, read: Mapping[Path, Fingerprint] | None = None) -> None:
        """Note in which state the files were read; None: in their present state."""
        self._known = self._seen = (
            {path: fingerprint_of(path) for path in self._known} if read is None else dict(read)
        )


class FileWatcher(Worker):
    """Checks files every two seconds, in a separate thread.

    Files may be on a disk that does not answer, and this must delay nothing else.

    Args:
        what: describes the files in the log.
        check: checks once, and applies changes.
        every: seconds between two checks.
    """

    def __init__(
        self, what: str, check: Callable[[], object], *, every: float = CHECK_SECONDS
    ) -> None:
        def one_check() -> float:
            check()
            return every

        super().__init__(
            what,
            one_check,
            task="checking files for changes",
            retry=RetryPolicy((every,)),
            files=what,
        )
