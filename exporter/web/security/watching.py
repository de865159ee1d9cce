"""Loads the web side's file again when it has changed, or a certificate or key that it names."""

import logging
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from exporter.config.errors import ConfigError, ErrorEntry
from exporter.files.watching import FileWatcher, WatchedState
from exporter.web.security.loading import LoadedSecurity, read
from exporter.web.security.settings import Security, Tls
from exporter.web.security.tls import RenewedContext

log = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 0.25
"""Seconds that a running check may take at shutdown."""


class WatchedSecurity:
    """The web security settings from the file's present version, or its last valid version.

    As a context manager it watches the files.

    Args:
        path: The path given by `--web.config.file`.

    Raises:
        ConfigError: The file cannot be used. It lists every error by line, without values.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        reading = read(path)
        if reading.security is None:
            raise ConfigError(reading.errors, str(path))
        self._security = reading.security
        self._files = WatchedState(())
        self._files.note_read(reading.stamps)
        self.last_reload_successful = True
        """Whether the file's present version is the one in use."""
        self._reading = threading.Lock()
        self._watcher = FileWatcher("web configuration", self.check)

    def current(self) -> Security:
        """The settings in use."""
        return self._security

    def context(self) -> ssl.SSLContext | None:
        """The TLS context for the listening socket, which stays the same over all changes.

        None: no TLS.
        """
        return None if self._security.tls is None else RenewedContext(self._tls)

    def reload(self) -> tuple[ErrorEntry, ...]:
        """Read everything again now; return the errors.

        If there are any, the old settings stay in use.
        """
        return self.take_over(self.read_again())

    def read_again(self) -> LoadedSecurity:
        """Read everything again, without using it yet."""
        return read(self._path)

    def errors_of(self, reading: LoadedSecurity) -> tuple[ErrorEntry, ...]:
        """The errors of a reading, for this running exporter."""
        security = reading.security
        if security is None:
            return reading.errors
        if (security.tls is None) is not (self._security.tls is None):
            return (
                ErrorEntry(
                    "tls_server_config",
                    "was added or taken out, which a listening socket cannot follow",
                    "Restart the exporter.",
                ),
            )
        return ()

    def take_over(self, reading: LoadedSecurity) -> tuple[ErrorEntry, ...]:
        """Use a reading, unless there are errors, which are returned and logged.

        If a newer reading is already in use, the next check finds that the files have changed.
        """
        with self._reading:
            self._files.note_read(reading.stamps)
            errors = self.errors_of(reading)
            if reading.security is not None and not errors:
                self._use(reading.security)
            self.last_reload_successful = not errors
        for entry in errors:
            log.error(
                "error in the web configuration",
                extra={"file": str(self._path), "error": str(entry)},
            )
        if errors:
            log.error("keeping the previous web configuration", extra={"file": str(self._path)})
        return errors

    def check(self) -> None:
        """Reload if a file has changed, and has not changed again since the last check."""
        if self._files.has_changed():
            self.reload()

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watcher.stop()
        # Do not wait longer: the thread may wait for a disk that does not answer. It ends with the
        # process.
        self._watcher.join(LEAVE_SECONDS)

    def _use(self, security: Security) -> None:
        self._security = security
        log.info(
            "web configuration reloaded",
            extra={"file": str(self._path), "security": str(security)},
        )
        for warning in security.warnings:
            log.warning(
                "configuration warning", extra={"key": warning.key, "warning": warning.reason}
            )

    def _tls(self) -> Tls:
        tls = self._security.tls
        assert tls is not None  # noqa: S101 - no reload takes it away
        return tls
