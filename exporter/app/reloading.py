"""Reloads the configuration of a running exporter: on request, or when the file has changed."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from exporter.app.app import App
from exporter.config import Config, ConfigError, TokenUnreadableError
from exporter.files.watching import FileWatcher, WatchedState
from exporter.signals import ReloadSignal

if TYPE_CHECKING:
    from exporter.web.security.watching import WatchedSecurity

log = logging.getLogger(__name__)

RETRY_AFTER_CHECKS: Final = 5
"""After this many checks, an unusable file is tried again, because a token file that it names may
have been mounted later."""

HELD_BACK: Final = (
    "the configuration was not taken over: that of the web side, read along with it, has errors"
)


@dataclass(frozen=True, slots=True)
class Reloadable:
    """The configuration, as something that can be loaded again."""

    load: Callable[[], Config]
    """Loads and validates the configuration. Raises ConfigError."""
    source: str
    """Where it comes from, for the log."""
    watched: WatchedState | None = None
    """The state of its file before it was first read, if changes of the file are watched; None:
    reload only on request."""


class Reloading:
    """Applies a new configuration completely, or not at all.

    While its context is entered, it handles SIGHUP and watches the file.

    Args:
        app: receives the new configuration.
        reloadable: what to load.
        security: the web configuration file, which is loaded again too.
        signal: the signal that requests a reload.
    """

    def __init__(
        self,
        app: App,
        reloadable: Reloadable,
        security: "WatchedSecurity | None",
        signal: ReloadSignal,
    ) -> None:
        self._app = app
        self._reloadable = reloadable
        self._security = security
        self._signal = signal
        self._file = reloadable.watched
        self._one_at_a_time = threading.Lock()
        self._errors: tuple[str, ...] = ()
        self._is_half_done = False
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._watcher = FileWatcher("configuration", self._check)
        self._checks = 0

    def reload(self, by: str = "HTTP") -> tuple[str, ...]:
        """Reload now; return the errors, one line each, without secrets.

        `by` is what requested it, for the log.
        """
        with self._one_at_a_time:
            log.info("reloading the configuration", extra={"by": by})
            web = self._security
            reading = None if web is None else web.read_again()
            web_errors = () if web is None or reading is None else web.errors_of(reading)
            errors = self._reload_config(may_change=not web_errors)
            self._tell(errors)
            # A valid web configuration is not lost: its watcher applies it.
            if web is not None and reading is not None and (web_errors or not errors):
                web.take_over(reading)
            if not errors and not web_errors:
                return ()
            outcome = "may be half done" if self._is_half_done else "the old one stays in use"
            return (
                f"not reloaded, {outcome}:",
                *(f"  {entry}" for entry in errors),
                *(f"  web configuration: {entry}" for entry in web_errors),
            )

    def _reload_config(self, *, may_change: bool = True) -> tuple[str, ...]:
        if self._file is not None:
            self._file.note_read()
        self._is_half_done = False
        try:
            config = self._reloadable.load()
            if not may_change and config != self._app.config:
                self._app.note_reload_failed()
                return (HELD_BACK,)
            self._app.reload(config)
        except ConfigError as error:
            errors = tuple(str(entry) for entry in error.errors)
        except TokenUnreadableError as error:
            errors = (str(error),)
        except Exception as error:  # noqa: BLE001 - a bug must not end the exporter
            # Only the type, because the text could contain what was read.
            self._is_half_done = True
            errors = (f"{type(error).__name__} while it was taken over; restart the exporter",)
        else:
            for warning in config.warnings():
                log.warning(
                    "configuration warning", extra={"key": warning.key, "warning": warning.reason}
                )
            return ()
        self._app.note_reload_failed()
        return errors

    def _tell(self, errors: tuple[str, ...]) -> None:
        self._errors = errors
        source = self._reloadable.source
        for entry in errors:
            log.error("error in the configuration", extra={"file": source, "error": entry})
        if errors and not self._is_half_done:
            log.error("keeping the previous configuration", extra={"file": source})

    def __enter__(self) -> Self:
        self._thread.start()
        if self._file is not None:
            self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._signal.stop()
        self._watcher.stop()
        # It is not waited for, because it may be reading from a disk that does not answer.

    def _run(self) -> None:
        while self._signal.wait():
            self.reload("SIGHUP")

    def _check(self) -> None:
        """Reload a changed file; from time to time also retry a file that could not be used."""
        if self._file is None:
            return
        self._checks += 1
        has_changed = self._file.has_changed()
        if not has_changed and not (self._errors and self._checks % RETRY_AFTER_CHECKS == 0):
            return
        with self._one_at_a_time:
            if has_changed:
                log.info("reloading the configuration", extra={"by": "change of the file"})
            before, errors = self._errors, self._reload_config()
            # Logged once for each state of the file, not at each try.
            if has_changed or errors != before:
                self._tell(errors)
