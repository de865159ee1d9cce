"""Files with lists of ids, which other programs write: watched for changes."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.config import ErrorEntry
from exporter.config.id_files import files_of, read_ids
from exporter.files.watching import FileWatcher, Fingerprint, fingerprint_of
from exporter.sources.named import NamedIds

log = logging.getLogger(__name__)

MOST_LOGGED: Final = 20
"""How many errors of one file are logged, one line each."""


@dataclass(frozen=True, slots=True)
class FilesReading:
    """The state of an account's files of ids.

    Attributes:
        ok: How many files exist and are valid.
        faulty: The first error of each other existing file.
        unmatched: Paths and patterns that match no file.
    """

    ok: int = 0
    faulty: Mapping[str, str] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


class WatchedFiles(FileWatcher):
    """Watches the files of one account, in a separate thread.

    Args:
        account: the configured name.
        patterns: glob patterns, matched at each check, because files may come and go.
        named: is notified of the ids.
    """

    def __init__(self, account: str, patterns: Iterable[str], named: NamedIds) -> None:
        super().__init__(f"ids of {account}", self.check)
        self._account = account
        self._patterns = tuple(patterns)
        self._named = named
        self._stamps: dict[Path, Fingerprint] = {}
        self._ids: dict[Path, frozenset[str]] = {}
        self._errors: dict[Path, str] = {}
        self._unmatched: tuple[str, ...] = ()
        self._reading = FilesReading()
        # Ids of files that were written since the last check, perhaps with the same content.
        self._written: set[str] = set()

    def go_on(self, before: "WatchedFiles") -> None:
        """Continue from a previous watcher, so that a file that is invalid now changes nothing."""
        self._stamps, self._ids, self._errors = before.held()

    def held(self) -> tuple[dict[Path, Fingerprint], dict[Path, frozenset[str]], dict[Path, str]]:
        """Copies of the state by file: fingerprint, the last valid ids, and the first error."""
        return dict(self._stamps), dict(self._ids), dict(self._errors)

    def reading(self) -> FilesReading:
        """The state of the files at the last check."""
        return self._reading

    def check(self) -> None:
        """Read changed files, and report the ids."""
        ids = self.read()
        if not self.is_stopping:
            # While reading lasted, the watcher may have been replaced by one with other ids.
            self._named.replace({"file": ids}, again=self._written)
        self._written = set()

    def read(self) -> frozenset[str]:
        """Read changed files; return all ids in the files."""
        found = {pattern: files_of(pattern) for pattern in self._patterns}
        self._note_unmatched(tuple(pattern for pattern, files in found.items() if not files))
        paths = {path for files in found.values() for path in files}
        for path in set(self._stamps) - paths:
            del self._stamps[path]
            self._ids.pop(path, None)
            self._errors.pop(path, None)
        for path in sorted(paths):
            self._read_if_changed(path)
        faulty = {str(path): entry for path, entry in sorted(self._errors.items())}
        self._reading = FilesReading(len(paths) - len(faulty), faulty, self._unmatched)
        return frozenset().union(*self._ids.values())

    def _read_if_changed(self, path: Path) -> None:
        if path in self._stamps and self._stamps[path] == fingerprint_of(path):
            return
        file = read_ids(path)
        self._stamps[path] = file.stamp
        self._errors.pop(path, None)
        if file.errors:
            self._errors[path] = str(file.errors[0])
            self._tell(path, file.errors)
        if file.ids is not None:
            # Valid ids count even if others in the file are not; an invalid file changes nothing.
            self._ids[path] = file.ids
            self._written.update(file.ids)

    def _note_unmatched(self, unmatched: tuple[str, ...]) -> None:
        for pattern in unmatched:
            if pattern not in self._unmatched:
                log.warning(
                    "no workflow file found",
                    extra={"account": self._account, "pattern": pattern},
                )
        self._unmatched = unmatched

    def _tell(self, path: Path, errors: Sequence[ErrorEntry]) -> None:
        for entry in errors[:MOST_LOGGED]:
            log.warning(
                "error in a workflow file",
                extra={"account": self._account, "file": str(path), "error": str(entry)},
            )
        if len(errors) > MOST_LOGGED:
            log.warning(
                "more errors in a workflow file",
                extra={
                    "account": self._account,
                    "file": str(path),
                    "errors": len(errors) - MOST_LOGGED,
                },
            )
