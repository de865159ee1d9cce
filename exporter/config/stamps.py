"""By what a change of a file is noticed."""

import os
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, ...] | None
"""What differs when a file does; None for one that cannot be read."""


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file as it is now; through symbolic links, which mounted secrets are."""
    try:
        return stamp(path.stat())
    except (OSError, ValueError):
        return None


def stamp(status: os.stat_result) -> Stamp:
    """The stamp of a file of which this is the status."""
    # The time of the last change of mode, owner or content as well: a file that is copied over
    # may bring an old time of modification along.
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )


class Watched:
    """Tells when a file has changed, once it was there twice in the same form.

    A file may be half written when it is first looked at.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._seen = stamp_of(path)

    def has_changed(self) -> bool:
        """Whether it is another than at the last call that said so, or at the beginning."""
        now = stamp_of(self._path)
        settled, self._seen = now == self._seen, now
        if not settled or now == self._known:
            return False
        self._known = now
        return True

    def note_read(self) -> None:
        """It is about to be read: only what comes after this is a change."""
        self._known = self._seen = stamp_of(self._path)
