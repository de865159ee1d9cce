"""The life of the process: start, serve until told to end, stop."""

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from exporter import __version__
from exporter.app import App
from exporter.config import Config
from exporter.web.routes import WebParts, make_app
from exporter.web.server import serve

log = logging.getLogger(__name__)


def run(
    config: Config,
    listening: socket.socket,
    telemetry_path: str,
    storage: Path | None,
    meanwhile: Callable[[App], AbstractContextManager[object]] = lambda _: nullcontext(),
) -> None:
    """Export until SIGTERM or SIGINT.

    `storage` is the folder of the ledger, None for one in memory. `meanwhile` is entered once
    everything runs and left before it stops.

    Raises:
        LedgerInUse: another exporter has the ledger open.
        CannotOpenLedger: the storage folder cannot be used.
        TokenUnreadable: a token's file has gone since the configuration was read.
    """
    app = App(config, storage=storage)
    web = make_app(WebParts(app.page, app.pushed, app.is_ready, telemetry_path))
    host, port = listening.getsockname()[:2]
    app.start()
    # Modules, models and the catalogue stay to the end: no collection need look at them again.
    gc.freeze()
    log.info(
        "started",
        extra={
            "version": __version__,
            "listening": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "accounts": ",".join(account.name for account in config.accounts),
        },
    )
    for warning in config.warnings():
        log.warning("configuration", extra={"key": warning.key, "warning": warning.reason})
    with meanwhile(app):
        serve(web, [listening])
    log.info("stopping")
    if not app.stop():
        # A thread that waits where nothing wakes it (a name that is being resolved) must not
        # hold up the end, nor write to streams that the interpreter has closed.
        log.info("stopped", extra={"left": "threads that would not end in time"})
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    log.info("stopped")
