"""Our own files in the storage folder: never reached through a link, with the right owner and mode.

Others may be able to write to that folder. A link that they create there must not make us
overwrite, or trust, its target. The folder itself may be a link, as with mounts in Kubernetes.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_REGULAR: Final = "a file of the exporter belongs there; remove it"
_GROUP_WRITES: Final = 0o060


class NotOursError(OSError):
    """Something else is where a file of ours belongs. `strerror` is one line for a person."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(None, f"{path} is {kind}: {_REGULAR}")
        self.path = path

    @property
    def reason(self) -> str:
        """What is wrong, and what to do."""
        return str(self.strerror)


def check_ours(path: Path) -> bool:
    """See to it that a regular file is there, or nothing; whether one is.

    Raises:
        NotOursError: it is a link, or no regular file.
        OSError: that cannot be determined.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    _check(path, status)
    return True


def open_ours(path: Path, flags: int) -> int:
    """Open a file that is there; its descriptor.

    Args:
        path: its name, of which the folder may be a link.
        flags: as for `os.open`.

    Raises:
        NotOursError: it is a link, or no regular file.
        OSError: it cannot be opened.
    """
    # Before it is opened, for its own words, and since to open a pipe or a device has effects.
    check_ours(path)
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def make_ours(path: Path) -> int:
    """Make a file that is not there, for reading and writing; its descriptor.

    The group may write to it where it may write to the folder: the user of a container can change,
    and the group of its volume stays.

    Raises:
        OSError: something is there, or it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o640)
    # The umask would take it away. Some file systems know no modes.
    with suppress(OSError):
        if path.parent.stat().st_mode & stat.S_IWGRP:
            os.fchmod(handle, 0o640 | _GROUP_WRITES)
    return handle


def renew_ours(path: Path) -> int:
    """Make a file in place of whatever has that name; its descriptor.

    Raises:
        OSError: it cannot be made.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    return make_ours(path)


def unwritable(folder: Path, names: tuple[str, ...]) -> str | None:
    """Which of these files in a folder this user may not write, and what mode it needs.

    Returns:
        One line for a person, or None: they can all be written, or are not there.
    """
    for name in names:
        path = folder / name
        try:
            status = path.lstat()
        except OSError:
            continue
        effective = os.access in os.supports_effective_ids
        if os.access(path, os.R_OK | os.W_OK, effective_ids=effective):
            continue
        in_group = status.st_gid in {os.getegid(), *os.getgroups()}
        mode = stat.S_IMODE(status.st_mode)
        remedy = (
            f"give it mode {mode | _GROUP_WRITES:04o} (chmod g+rw {path})"
            if in_group
            else f"give it to this user (chown {os.geteuid()} {path})"
        )
        return (
            f"{path} belongs to user {status.st_uid} and group {status.st_gid} with mode "
            f"{mode:04o}, and this is user {os.geteuid()}: {remedy}"
        )
    return None


def _check(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise NotOursError(path, "a link")
    if not stat.S_ISREG(status.st_mode):
        raise NotOursError(
            path, "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        )
