"""The life of the process: start, serve until told to end, stop."""

import gc
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from exporter import __version__
from exporter.app import App
from exporter.config import Config
from exporter.signals import EndSignals
from exporter.web.routes import WebParts, make_app
from exporter.web.security import UNSECURED, Security, WatchedSecurity
from exporter.web.server import serve

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebSide:
    """Where and how the exporter is served."""

    listening: socket.socket
    telemetry_path: str
    security: WatchedSecurity | None = None
    """None: plain HTTP without passwords."""

    @property
    def address(self) -> str:
        """Host and port as they are written."""
        host, port = self.listening.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def secured(self) -> Security:
        """What holds now."""
        return UNSECURED if self.security is None else self.security.current()

    def context(self) -> ssl.SSLContext | None:
        """What the socket speaks; None: no TLS."""
        return None if self.security is None else self.security.context()

    def watch(self) -> AbstractContextManager[object]:
        """Follow changes of its file, if there is one."""
        return nullcontext() if self.security is None else self.security


def run(
    config: Config,
    web: WebSide,
    storage: Path | None,
    signals: EndSignals,
    meanwhile: Callable[[App], AbstractContextManager[object]] = lambda _: nullcontext(),
) -> None:
    """Export until a signal ends the process.

    `storage` is the folder of the ledger, None for one in memory. `meanwhile` is entered once
    everything runs and left before it stops.

    Raises:
        LedgerInUse: another exporter has the ledger open.
        CannotOpenLedger: the storage folder cannot be used.
        TokenUnreadable: a token's file has gone since the configuration was read.
    """
    app = App(config, storage=storage)
    served = make_app(WebParts(app.page, app.pushed, app.is_ready, web.telemetry_path), web.secured)
    app.start()
    # Modules, models and the catalogue stay to the end: no collection need look at them again.
    gc.freeze()
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
        log.warning("configuration", extra={"key": warning.key, "warning": warning.reason})
    with web.watch(), meanwhile(app):
        serve(served, [web.listening], signals, web.context())
    log.info("stopping")
    if not app.stop():
        # A thread that waits where nothing wakes it (a name that is being resolved) must not
        # hold up the end, nor write to streams that the interpreter has closed.
        log.info("stopped", extra={"left": "threads that would not end in time"})
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    log.info("stopped")
