"""Disks that tests fill, and file systems of their own."""

import contextlib
import ctypes
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.ledger.ledger import Ledger
from exporter.ledger.sqlite import SqliteStore

_LIBC = ctypes.CDLL(None, use_errno=True)
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096


def _mount(target: Path, flags: int, options: bytes) -> bool:
    failed: int = _LIBC.mount(b"ledger", os.fsencode(target), b"tmpfs", flags, options)
    return not failed


def database_of(ledger: Ledger) -> sqlite3.Connection:
    """The connection that a ledger has open."""
    store = ledger._writer._store
    assert isinstance(store, SqliteStore)
    assert store._file._database is not None
    return store._file._database


@contextmanager
def full(ledger: Ledger) -> Iterator[None]:
    """No page more fits on the disk."""
    database = database_of(ledger)
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    yield
    database.execute("PRAGMA max_page_count = 1073741823")


def fill(disk: Path) -> Path:
    """Leave no room on it; the file that takes it all."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def remount_read_only(target: Path) -> None:
    """Let nothing be written any more."""
    assert _mount(target, _MS_REMOUNT | _MS_RDONLY, b"")


@contextmanager
def read_only(target: Path, database: sqlite3.Connection) -> Iterator[None]:
    """As after an error of the disk: what is open stays open, and nothing can be written.

    The kernel lets nobody ask for that while a file is open for writing, so a mount over the
    folder's place for the one who opens anything, and SQLite's own word for what is open.
    """
    database.execute("PRAGMA query_only = ON")
    flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY
    assert not _LIBC.mount(os.fsencode(target), os.fsencode(target), None, _MS_BIND, None)
    assert not _LIBC.mount(None, os.fsencode(target), None, flags, None)
    try:
        yield
    finally:
        assert _LIBC.umount2(os.fsencode(target), 2) == 0


@contextmanager
def mounted(target: Path, size: str) -> Iterator[Path]:
    """A disk of this size; the test is skipped where nobody may mount one."""
    target.mkdir()
    if sys.platform != "linux" or not _mount(target, 0, f"size={size}".encode()):
        pytest.skip("only root may mount a small disk")
    try:
        yield target
    finally:
        assert _LIBC.umount2(os.fsencode(target), 2) == 0
