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
"""How often files are looked at."""

Fingerprint: TypeAlias = tuple[int, ...] | None
"""What differs when a file does; None for one that cannot be read."""


def fingerprint_of(path: Path) -> Fingerprint:
    """That of a file as it is now; through symbolic links, which mounted secrets are."""
    try:
        return fingerprint(path.stat())
    except (OSError, ValueError):
        return None


def fingerprint(status: os.stat_result) -> Fingerprint:
    """That of a file of which this is the status."""
    # The time of the last change of mode, owner or content as well: a file that is copied over
    # may bring an old time of modification along.
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )


class WatchedState:
    """Tells when files have changed, once they were there twice in the same form.

    One may be half written when it is first looked at, and a certificate be renewed before its key.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = self._seen = {path: fingerprint_of(path) for path in paths}

    def has_changed(self) -> bool:
        """Whether one is another than at the last call that said so, or when it was read."""
        now = {path: fingerprint_of(path) for path in self._known}
        settled, self._seen = now == self._seen, now
        if not settled or now == self._known:
            return False
        self._known = now
        return True

    def note_read(self, read: Mapping[Path, Fingerprint] | None = None) -> None:
        """They were `read` in this form, or are about to be: what comes after it is a change."""
        self._known = self._seen = (
            {path: fingerprint_of(path) for path in self._known} if read is None else dict(read)
        )


class FileWatcher(Worker):
    """Looks at files every two seconds, in a thread of its own.

    Of its own, as files may be on a disk that does not answer: that must hold up nothing else.

    Args:
        what: is looked at, in the words of the log.
        look: looks once, and takes over what has changed.
        every: seconds from one look to the next.
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
