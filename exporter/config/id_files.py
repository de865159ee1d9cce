"""Files of workflow ids: finding and reading them."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.config.errors import ErrorEntry
from exporter.config.workflow_ids import parse_workflow_ids
from exporter.files.plain import UnreadableError, read_plain
from exporter.files.watching import Fingerprint, fingerprint, fingerprint_of

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Enough for over 400,000 ids; a larger file is not a list of ids."""


@dataclass(frozen=True, slots=True)
class IdFile:
    """The content of one file.

    Attributes:
        ids: The valid ids, even if others are not; None: the file cannot be read.
        errors: All of its errors.
        stamp: The fingerprint of the file before it was read.
    """

    ids: frozenset[str] | None
    errors: tuple[ErrorEntry, ...]
    stamp: Fingerprint


def files_of(pattern: str) -> list[Path]:
    """The files that match a path or a pattern with `*`, `?` and `**` now."""
    return sorted(Path(n) for n in glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute


def read_ids(path: Path) -> IdFile:
    """Read a file. It raises nothing: errors are in `errors`."""
    # Also taken if the file cannot be read: it is read again when that changes.
    taken = fingerprint_of(path)
    try:
        file = read_plain(path, MAX_FILE_BYTES)
        taken = fingerprint(file.status)
        ids, errors = parse_workflow_ids(file.content.decode("utf-8-sig"))
    except UnreadableError as error:
        hint = "Name a list of ids that this user can read; split one that is too large."
        return IdFile(None, (ErrorEntry("", error.reason, hint),), taken)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return IdFile(
            None, (ErrorEntry("", "is not UTF-8 text", "Save it as UTF-8.", line),), taken
        )
    # An invalid file changes nothing.
    return IdFile(frozenset(ids) if ids or not errors else None, tuple(errors), taken)
