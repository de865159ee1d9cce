"""The files that one reading of the configuration looks into, and by which a change is noticed."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.config.stamps import Stamp, stamp, stamp_of

LARGEST: Final = 1024 * 1024


class Unreadable(Exception):  # noqa: N818 - a state of the file, not an error of ours
    """A file that cannot be had. The reason continues its name as a sentence does."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FilesRead:
    """Reads each file once, so that everything is checked against the same content.

    Attributes:
        folder: Where relative paths start.
        stamps: Of every file that was looked at, whether it could be read or not.
    """

    folder: Path
    stamps: dict[Path, Stamp] = field(default_factory=dict)
    _contents: dict[Path, bytes | Unreadable] = field(default_factory=dict, repr=False)

    def content(self, name: str | Path) -> bytes:
        """What is in the file.

        Raises:
            Unreadable: with the reason, and without the name.
        """
        path = self.folder / name
        if path not in self._contents:
            self.stamps[path], self._contents[path] = _read(path)
        content = self._contents[path]
        if isinstance(content, Unreadable):
            raise Unreadable(content.reason)
        return content


def _read(path: Path) -> tuple[Stamp, bytes | Unreadable]:
    try:
        mode = path.stat().st_mode
        # A pipe would block, or be empty when it is read again later.
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            return stamp_of(path), Unreadable(f"is {kind}")
        with path.open("rb") as file:
            # Taken before the content: what is written meanwhile counts as a change.
            taken = stamp(os.fstat(file.fileno()))
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None, Unreadable("does not exist")
    except OSError as error:
        reason = (error.strerror or "input/output error").lower()
        return stamp_of(path), Unreadable(f"cannot be read: {reason}")
    except ValueError:
        return None, Unreadable("has a name that no file can have")
    if len(content) > LARGEST:
        return taken, Unreadable("is larger than 1 MiB")
    return taken, content
