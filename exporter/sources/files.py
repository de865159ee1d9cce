"""Ids in files that others write: lists of ids, watched for change."""

import glob
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from exporter.config import Fault, parse_workflow_ids
from exporter.config.stamps import Stamp, stamp
from exporter.sources.named import NamedIds

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
"""How soon a change of a file is noticed."""

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""A list of over 400,000 ids; whatever is larger is not one."""


class WatchedFiles:
    """Watches the files of one account in a thread of its own.

    It looks at them every few seconds instead of asking the kernel for events, since mounted
    secrets, config maps and network file systems do not send any.

    Args:
        account: the configured name.
        patterns: globs, looked up anew each time: files may come and go.
        named: is told of the ids.
    """

    def __init__(self, account: str, patterns: Iterable[str], named: NamedIds) -> None:
        self._account = account
        self._patterns = tuple(patterns)
        self._named = named
        self._stamps: dict[Path, Stamp] = {}
        self._ids: dict[Path, frozenset[str]] = {}
        # Those of files that were written since the last look, maybe as they were.
        self._written: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"files {account}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait that many seconds for the end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def go_on(self, before: "WatchedFiles") -> None:
        """Take over what another has read: a file that makes no sense just now changes nothing."""
        self._stamps, self._ids = before.held()

    def held(self) -> tuple[dict[Path, Stamp], dict[Path, frozenset[str]]]:
        """Copies of what is known of each file: its stamp, and the ids when it last made sense."""
        return dict(self._stamps), dict(self._ids)

    def look(self) -> None:
        """Read what has changed, and say who is named."""
        ids = self.read()
        if not self._stopping.is_set():
            # Else reading took so long that somebody else may have said so meanwhile.
            self._named.replace({"file": ids}, again=self._written)
        self._written = set()

    def read(self) -> frozenset[str]:
        """Read what has changed; every id in the files."""
        paths = {
            Path(name)
            for pattern in self._patterns
            for name in glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes absolute ones
        }
        for path in set(self._stamps) - paths:
            del self._stamps[path]
            self._ids.pop(path, None)
        for path in sorted(paths):
            self._read_if_changed(path)
        return frozenset().union(*self._ids.values())

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the watch
                log.error(  # noqa: TRY400 - a traceback shows values as well
                    "looking at workflow files failed",
                    extra={"account": self._account, "error": type(error).__name__},
                )
            if self._stopping.wait(LOOK_SECONDS):
                return

    def _read_if_changed(self, path: Path) -> None:
        try:
            status = path.stat()
            found = stamp(status)
            if self._stamps.get(path) == found:
                return
            self._stamps[path] = found
            if status.st_size > MAX_FILE_BYTES:
                self._tell(path, [Fault("", "is too large", "Split it.")])
                return
            ids, faults = parse_workflow_ids(path.read_text("utf-8"))
        except OSError as error:
            self._tell(path, [Fault("", f"cannot be read ({error.strerror})", "Check its mode.")])
            return
        except UnicodeDecodeError:
            self._tell(path, [Fault("", "is not UTF-8 text", "Save it as UTF-8.")])
            return
        if faults:
            self._tell(path, faults)
        if ids or not faults:
            # Good ids count even beside bad ones; a file that makes no sense changes nothing.
            self._ids[path] = frozenset(ids)
            self._written.update(ids)

    def _tell(self, path: Path, faults: Iterable[Fault]) -> None:
        for fault in faults:
            log.warning(
                "fault in a workflow file",
                extra={"account": self._account, "file": str(path), "fault": str(fault)},
            )
