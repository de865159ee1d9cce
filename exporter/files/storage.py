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
    """Something that is not our file has its name. `strerror` is one line for users."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(None, f"{path} is {kind}: {_REGULAR}")
        self.path = path

    @property
    def reason(self) -> str:
        """The error and how to fix it."""
        return str(self.strerror)


def check_ours(path: Path) -> bool:
    """Check that the path is a regular file or does not exist; return whether it exists.

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
    """Open an existing file; return its descriptor.

    Args:
        path: the path of the file; its folder may be a link.
        flags: as for `os.open`.

    Raises:
        NotOursError: it is a link, or no regular file.
        OSError: it cannot be opened.
    """
    # Checked before opening, for a clear error, and because opening a pipe or a device can have
    # side effects.
    check_ours(path)
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def make_ours(path: Path) -> int:
    """Create a new file for reading and writing; return its descriptor.

    Its group may write to it if the group may write to the folder: the user of a container can
    change, while the group of its volume stays.

    Raises:
        OSError: it exists already, or cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o640)
    # The umask would remove the bit. Some file systems have no modes.
    with suppress(OSError):
        if path.parent.stat().st_mode & stat.S_IWGRP:
            os.fchmod(handle, 0o640 | _GROUP_WRITES)
    return handle


def renew_ours(path: Path) -> int:
    """Replace a file, if it exists, by a new one; return its descriptor.

    Raises:
        OSError: it cannot be created.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    return make_ours(path)


def unwritable(folder: Path, names: tuple[str, ...]) -> str | None:
    """Check whether this user may write these files of a folder.

    Returns:
        One line for users that names a file and the mode that it needs. None: all can be written,
        or do not exist.
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
        hint = (
            f"give it mode {mode | _GROUP_WRITES:04o} (chmod g+rw {path})"
            if in_group
            else f"give it to this user (chown {os.geteuid()} {path})"
        )
        return (
            f"{path} belongs to user {status.st_uid} and group {status.st_gid} with mode "
            f"{mode:04o}, and this is user {os.geteuid()}: {hint}"
        )
    return None


def _check(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise NotOursError(path, "a link")
    if not stat.S_ISREG(status.st_mode):
        raise NotOursError(
            path, "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        )
