"""A consistent copy of the ledger, while another process writes it.

That process holds SQLite's lock as long as it runs, so no other one can open the file. But what it
has written is complete at any time, as after a `kill -9`: the file together with its log, if both
are from the same round (the time between two resets of the log). These two are copied, and SQLite
combines the copies into one file.
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from exporter.files.storage import NotOursError, check_ours, open_ours
from exporter.ledger.damage import DamagedError, reading
from exporter.ledger.file import FILE_NAME
from exporter.ledger.opening import look_at_header
from exporter.ledger.schema import read_seal

TRIES: Final = 100
"""How often copying is tried. A round of the log takes seconds, and copying takes less."""

_ROUND_BYTES: Final = 32
"""Size of the log's header in bytes. Each round begins with a different header."""


class BackupError(Exception):
    """No copy was made.

    The text is one line for a person; a file that existed at the target is unchanged.
    """


def back_up(storage: Path, target: Path) -> int:
    """Copy the ledger of a storage folder, whether an exporter runs on it or not.

    Args:
        storage: The folder.
        target: The file for the copy. An earlier copy is replaced once the new one is whole and on
            the disk.

    Returns:
        How many workflows are in it.

    Raises:
        BackupError: There is no ledger, it is damaged, or the copy cannot be written.
    """
    source = storage / FILE_NAME
    try:
        if not check_ours(source):
            raise BackupError(f"no ledger is in {storage.absolute()}")
        if check_ours(target) and target.samefile(source):
            raise BackupError(f"{target} is the ledger itself")
        # The folder is next to the target, so that the copy can be renamed into place. Other users
        # cannot read it.
        with tempfile.TemporaryDirectory(prefix=".ledger-copy-", dir=target.parent) as folder:
            made = Path(folder) / "copy"
            count = _copied(source, Path(folder) / FILE_NAME, made)
            _sync(made)
            made.replace(target)
            _sync(target.parent)
    except NotOursError as error:
        raise BackupError(error.reason) from error
    except DamagedError as error:
        raise BackupError(f"{source} is damaged: {error}") from error
    except OSError as error:
        where = error.filename or target
        raise BackupError(f"cannot copy {source}: {where}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BackupError(f"cannot copy {source}: {error}") from error
    return count


def _copied(source: Path, raw: Path, made: Path) -> int:
    for _ in range(TRIES):
        if _copy_round(source, raw):
            break
    else:
        raise BackupError(f"{source} changes too fast to be copied; stop the exporter for it")
    look_at_header(raw)
    with (
        closing(sqlite3.connect(raw)) as database,
        closing(sqlite3.connect(made)) as copy,
        reading(),
    ):
        database.backup(copy)
        # The copy is a single file, without a log.
        copy.execute("PRAGMA journal_mode = DELETE")
        said = str(copy.execute("PRAGMA integrity_check").fetchone()[0])
        if said != "ok":
            raise DamagedError(said)
        read_seal(copy)
        count = int(copy.execute("SELECT count(*) FROM workflows").fetchone()[0])
    made.chmod(0o640)
    return count


def _copy_round(source: Path, raw: Path) -> bool:
    """Copy the file and its log; return whether both are from the same round."""
    log = source.with_name(source.name + "-wal")
    if check_ours(source.with_name(source.name + "-journal")):
        # If the file system does not allow a log, the file may be incomplete during a transaction.
        raise BackupError(f"{source} has no log, and can only be copied with the exporter stopped")
    before = _round_of(source, log)
    _copy(source, raw)
    raw_log = raw.with_name(raw.name + "-wal")
    raw_log.unlink(missing_ok=True)
    if check_ours(log):
        try:
            _copy(log, raw_log)
        except FileNotFoundError:
            return False
    return before == _round_of(source, log)


def _round_of(source: Path, log: Path) -> tuple[object, ...]:
    """Values that do not change during a round, because the log only grows."""
    status = source.lstat()
    try:
        handle = open_ours(log, os.O_RDONLY)
    except FileNotFoundError:
        # If there is no log, nobody writes, or everything is in the file.
        return status.st_ino, status.st_mtime_ns, status.st_size
    try:
        return status.st_ino, os.fstat(handle).st_ino, os.read(handle, _ROUND_BYTES)
    finally:
        os.close(handle)


def _copy(source: Path, to: Path) -> None:
    with (
        open(open_ours(source, os.O_RDONLY), "rb") as file,  # noqa: PTH123 - a descriptor
        to.open("wb") as copy,
    ):
        shutil.copyfileobj(file, copy, 1 << 20)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
