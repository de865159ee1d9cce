"""The life of the process: start, serve until a stop is requested, stop."""

import contextlib
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter import __version__, logs
from exporter.app.app import App
from exporter.app.descriptors import raise_limit, shares
from exporter.app.garbage import short_collections
from exporter.app.reloading import Reloadable, Reloading
from exporter.config import Config
from exporter.metrics.announcements import HOLD_SECONDS
from exporter.metrics.exposition import ALL_COLLECTORS
from exporter.signals import EndSignals, ReloadSignal
from exporter.web.listening import MOST_CLIENTS, ListenAddress
from exporter.web.routes import WebParts, make_app
from exporter.web.security import UNSECURED, Security
from exporter.web.server import serve

if TYPE_CHECKING:
    from exporter.web.security.watching import WatchedSecurity

log = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 0.25
"""Seconds at the end for other threads, such as those that render or check passwords."""


@dataclass(frozen=True, slots=True)
class WebSide:
    """The settings of the web server."""

    listening: tuple[socket.socket, ...]
    telemetry_path: str
    security: "WatchedSecurity | None" = None
    """None: plain HTTP without passwords."""
    lifecycle: bool = False
    """Whether `POST /-/reload` is allowed."""
    most_clients: int = MOST_CLIENTS
    external_url: str | None = None
    """The base URL of the links in pages; None: they are relative."""

    @property
    def address(self) -> str:
        """The address of each socket as text."""
        names = (sock.getsockname()[:2] for sock in self.listening)
        return ",".join(str(ListenAddress(host, port)) for host, port in names)

    def secured(self) -> Security:
        """The present security settings."""
        return UNSECURED if self.security is None else self.security.current()

    def context(self) -> ssl.SSLContext | None:
        """The TLS context; None: plain HTTP."""
        return None if self.security is None else self.security.context()

    def watch(self) -> AbstractContextManager[object]:
        """Watch its file for changes, if there is one."""
        return nullcontext() if self.security is None else self.security


def run(  # noqa: PLR0913 - what a process is made of
    config: Config,
    web: WebSide,
    storage: Path | None,
    signals: EndSignals,
    *,
    meanwhile: Callable[[App], AbstractContextManager[object]] = lambda _: nullcontext(),
    reloads: tuple[Reloadable, ReloadSignal] | None = None,
    hold: float = HOLD_SECONDS,
    fresh_services: bool = False,
    collectors: Collection[str] = ALL_COLLECTORS,
) -> None:
    """Run the exporter until a signal ends the process.

    `storage` is the folder of the ledger, None for one in memory. `meanwhile` is entered once
    everything runs and left before it stops. `reloads` is the source of reloads; None: there are
    none. `hold` is for how many seconds a new series shows 0.
    `fresh_services` and `collectors`: see `App`.

    Raises:
        LedgerInUseError: another exporter has the ledger open.
        OpenLedgerError: the storage folder cannot be used.
        CannotBind: the local address for requests cannot be used.
        TokenUnreadable: a token file has disappeared since the configuration was read.
    """
    others = set(threading.enumerate())
    limit = raise_limit()
    descriptors = shares(limit.now)
    app = App(
        config,
        storage=storage,
        hold=hold,
        fresh_services=fresh_services,
        stream_descriptors=descriptors.streams,
        collectors=collectors,
    )
    limit.log()
    if (security := web.security) is not None:
        app.web_config_reading = lambda: security.last_reload_successful
    reloading = None if reloads is None else Reloading(app, reloads[0], security, reloads[1])
    parts = WebParts(
        app.page,
        app.pushed,
        app.is_ready,
        web.telemetry_path,
        config=lambda: app.config,
        views=app.views,
        external_url=web.external_url,
        reload=reloading.reload if reloading is not None and web.lifecycle else None,
    )
    served = make_app(parts, web.secured)
    app.start()
    log.info(
        "started",
        extra={
            "version": __version__,
            "listening": web.address,
            "accounts": ",".join(account.name for account in config.accounts),
            "security": str(web.secured()),
        },
    )
    for warning in (*config.warnings(), *web.secured().warnings):
        log.warning("configuration warning", extra={"key": warning.key, "warning": warning.reason})
    with (
        short_collections(time.monotonic),
        web.watch(),
        reloading or nullcontext(),
        meanwhile(app),
    ):
        serve(
            served,
            list(web.listening),
            signals,
            web.context(),
            counts=app.process_counts,
            most_clients=min(web.most_clients, descriptors.clients),
        )
    log.info("stopping")
    have_stopped = app.stop()
    logs.log_suppressed(everything=True)
    if not have_stopped or _would_wait(others):
        # A thread that cannot be woken (name resolution, a disk without an answer) must not delay
        # the end of the process, nor write to streams that the interpreter has closed.
        log.info("stopped", extra={"left": "threads that would not end in time"})
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        # Flush the log's last lines, because the interpreter will not.
        logging.shutdown()
        os._exit(0)
    log.info("stopped")


def _would_wait(others: Collection[threading.Thread]) -> bool:
    """Whether the interpreter would wait for threads that are still running.

    `others` existed before the exporter, so they are not its threads.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    ours = [t for t in threading.enumerate() if not t.daemon and t not in others]
    for thread in ours:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in ours)
