"""Files of workflow ids: which files there are, and the content of each."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.config.faults import Fault
from exporter.config.workflow_ids import parse_workflow_ids
from exporter.files.plain import UnreadableError, read_plain
from exporter.files.watching import Fingerprint, fingerprint, fingerprint_of

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""A list of over 400,000 ids; whatever is larger is not one."""


@dataclass(frozen=True, slots=True)
class IdFile:
    """One file, as it was read.

    Attributes:
        ids: Those that are right, even beside faulty ones; None where nothing can be read.
        faults: Everything that is wrong with it.
        stamp: Of the file, from before it was read.
    """

    ids: frozenset[str] | None
    faults: tuple[Fault, ...]
    stamp: Fingerprint


def files_of(pattern: str) -> list[Path]:
    """The files that a path, or a pattern with `*`, `?` and `**`, names now."""
    return sorted(Path(n) for n in glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute


def read_ids(path: Path) -> IdFile:
    """Read a file. Nothing is raised: what is wrong is among its faults."""
    # Of what cannot be read as well: it is read again once that has changed.
    taken = fingerprint_of(path)
    try:
        file = read_plain(path, MAX_FILE_BYTES)
        taken = fingerprint(file.status)
        ids, faults = parse_workflow_ids(file.content.decode("utf-8-sig"))
    except UnreadableError as error:
        remedy = "Name a list of ids that this user can read; split one that is too large."
        return IdFile(None, (Fault("", error.reason, remedy),), taken)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return IdFile(None, (Fault("", "is not UTF-8 text", "Save it as UTF-8.", line),), taken)
    # A file that makes no sense at all changes nothing.
    return IdFile(frozenset(ids) if ids or not faults else None, tuple(faults), taken)
