"""The files that one reading of the configuration uses, to detect their changes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.files.plain import UnreadableError, read_plain
from exporter.files.watching import Fingerprint, fingerprint, fingerprint_of

LARGEST: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FilesRead:
    """Reads each file once, so that everything is checked against the same content.

    Attributes:
        folder: Where relative paths start.
        stamps: The state of every file that was opened, whether it could be read or not.
    """

    folder: Path
    stamps: dict[Path, Fingerprint] = field(default_factory=dict)
    _contents: dict[Path, bytes | UnreadableError] = field(default_factory=dict, repr=False)

    def content(self, name: str | Path) -> bytes:
        """The content of the file.

        Raises:
            UnreadableError: with the reason, and without the name.
        """
        path = self.folder / name
        if path not in self._contents:
            self.stamps[path], self._contents[path] = _read(path)
        content = self._contents[path]
        if isinstance(content, UnreadableError):
            raise UnreadableError(content.reason)
        return content


def _read(path: Path) -> tuple[Fingerprint, bytes | UnreadableError]:
    try:
        read = read_plain(path, LARGEST)
    except UnreadableError as error:
        return fingerprint_of(path), error
    return fingerprint(read.status), read.content
