"""Reads files that a user names: only regular files, and only up to a limit.

A pipe or a device could block forever, or give other content when a reload reads it again.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_KINDS: Final = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a named pipe, not a regular file"),
    (stat.S_ISSOCK, "is a socket, not a regular file"),
    (stat.S_ISCHR, "is a device, not a regular file"),
    (stat.S_ISBLK, "is a device, not a regular file"),
)


class UnreadableError(Exception):
    """A file cannot be read. The reason is the predicate of a sentence that begins with its name.

    Attributes:
        reason: what is wrong, such as "does not exist".
        is_missing: whether there is no such file.
    """

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_missing = is_missing


@dataclass(frozen=True, slots=True)
class PlainFile:
    """The content of a file.

    Attributes:
        content: all of it.
        status: its status before it was read, so that a write during reading counts as a change.
    """

    content: bytes
    status: os.stat_result


def read_plain(path: str | Path, largest: int) -> PlainFile:
    """Read a regular file, through symbolic links, without ever waiting for another program.

    Args:
        path: The file.
        largest: The largest allowed size in bytes.

    Raises:
        UnreadableError: It is not a regular file, is too large, or cannot be read.
    """
    try:
        # Checked before opening, because opening a device or a pipe can have side effects.
        check_regular(os.stat(path))  # noqa: PTH116 - paths may be text
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            # Checked again, because the file may have been replaced meanwhile.
            status = os.fstat(handle)
            check_regular(status)
            content = _read(handle, largest + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise UnreadableError("does not exist", is_missing=True) from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {_reason(error)}") from None
    except ValueError:
        raise UnreadableError("has a name that no file can have") from None
    if len(content) > largest:
        raise UnreadableError(f"is larger than {_size(largest)}")
    return PlainFile(content, status)


def check_regular(status: os.stat_result) -> None:
    """Check that this is the status of a regular file.

    Raises:
        UnreadableError: It is something else.
    """
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        kinds = (words for is_kind, words in _KINDS if is_kind(mode))
        raise UnreadableError(next(kinds, "is not a regular file"))


def _read(handle: int, most: int) -> bytes:
    chunks: list[bytes] = []
    missing = most
    while missing > 0 and (chunk := os.read(handle, min(missing, 1 << 20))):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _reason(error: OSError) -> str:
    return (error.strerror or "input/output error").lower()


def _size(count: int) -> str:
    mebibytes, rest = divmod(count, 1 << 20)
    return f"{mebibytes} MiB" if mebibytes and not rest else f"{count >> 10} KiB"
