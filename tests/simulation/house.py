"""Imports the exporter so that its threads, clocks and sockets are virtual.

This is the one seam. The exporter's modules are imported once as they are, so that all they lean
on is there; then once more while `threading`, `time`, `socket`, `selectors` and `asyncio` are the
virtual ones. What they lean on keeps the real ones. A process in which this was done serves for
nothing else.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import selectors
import socket
import sqlite3
import sys
import threading
import time
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import urllib3.connection

from tests.simulation import disk, network, quiet, scheduler, virtual_threading
from tests.simulation.loops import VirtualLoop, VirtualSelector
from tests.simulation.quick import make_quick
from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_NEEDED: Final = (
    "exporter.ledger.postgres",
    "exporter.web",
    "exporter.commands.demo",
    "exporter.commands.terminal",
    "exporter.commands.status",
    "exporter.cli",
    "exporter.__main__",
    "exporter.app.running",
    "exporter.commands.online",
    "exporter.app.reloading",
)


class _Like(ModuleType):
    """A module like another, but for some names."""

    def __init__(self, real: ModuleType, **other: Any) -> None:
        super().__init__(real.__name__)
        # Copied once: asking the real one for each name costs more than many a simulated second.
        self.__dict__.update(real.__dict__)
        self._real = real
        self.__dict__.update(other)

    def __getattr__(self, name: str) -> Any:
        # What the real one makes only when it is asked for.
        return getattr(self._real, name)


def _virtual() -> dict[str, ModuleType]:
    clock: dict[str, Callable[..., Any]] = {
        "time": scheduler.wall,
        "time_ns": lambda: int(scheduler.wall() * 1e9),
        "monotonic": scheduler.monotonic,
        "monotonic_ns": lambda: int(scheduler.monotonic() * 1e9),
        "perf_counter": scheduler.monotonic,
        "sleep": lambda seconds: world().sleep(seconds),
    }
    return {
        "threading": virtual_threading,
        "time": _Like(time, **clock),
        "socket": _Like(socket, socket=network.VirtualSocket, getaddrinfo=network.getaddrinfo),
        "selectors": _Like(selectors, DefaultSelector=VirtualSelector),
        "asyncio": _Like(asyncio, SelectorEventLoop=VirtualLoop),
    }


def _import_all() -> None:
    package = importlib.import_module("exporter")
    for module in pkgutil.walk_packages(package.__path__, "exporter."):
        if not module.name.startswith(_NOT_NEEDED):
            importlib.import_module(module.name)


def make_virtual() -> None:
    """Import the exporter into virtual time."""
    _import_all()
    for name in [n for n in sys.modules if n == "exporter" or n.startswith("exporter.")]:
        del sys.modules[name]
    virtual = _virtual()
    real = {name: sys.modules[name] for name in virtual}
    assert real["threading"] is threading
    sys.modules.update(virtual)
    try:
        _import_all()
    finally:
        sys.modules.update(real)
    for name, module in list(sys.modules.items()):
        if name.startswith("exporter."):
            for found in list(vars(module).values()):
                if isinstance(found, type) and found.__module__ == name:
                    make_quick(found)
    connections = importlib.import_module("exporter.comfycontrol.connections")
    connections.wait_for_write = network.wait_for_write  # type: ignore[attr-defined]
    # What makes a TLS context costs more than many simulated seconds, and nothing here uses it.
    client = importlib.import_module("exporter.comfycontrol.client")
    client.make_tls_context = cache(client.make_tls_context)  # type: ignore[attr-defined]
    connection: Any = urllib3.connection
    connection.wait_for_read = network.wait_for_read
    _give_disk()
    quiet.let_rest()


def _give_disk() -> None:
    """The ledger's SQLite and files work on the disk of the run."""
    modules = {
        name: importlib.import_module(f"exporter.{name}")
        for name in (
            "ledger.opening",
            "ledger.file",
            "ledger.witness",
            "budget.journal",
            "files.storage",
        )
    }
    opening: Any = modules["ledger.opening"]
    opening.sqlite3 = _Like(sqlite3, connect=disk.connect)
    for module in modules.values():
        if hasattr(module, "os"):
            module.os = _Like(os, fsync=disk.fsync, pwrite=disk.pwrite, open=disk.open_)  # type: ignore[attr-defined]
