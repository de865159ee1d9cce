"""A PostgreSQL of the tests' own: on a free port, as a user without privileges, gone afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

UNPRIVILEGED: Final = "nobody"
"""PostgreSQL refuses to run as root."""

FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}
"""For tests that lose no power: what is committed outlives a crash of the server's processes only
without these."""

DURABLE: Final = {"fsync": "off", "max_connections": "60", "shared_buffers": "32MB"}
"""What is committed outlives a crash of the server's processes, though not one of the machine."""


def binaries() -> Path | None:
    """Where the server's programs are: the newest version; None where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: float(path.parent.parent.name),
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).parent


def free_port() -> int:
    """A port at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in a folder of its own. Trusts whoever connects from this machine."""

    def __init__(self, folder: Path, programs: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self._programs = programs
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = count(1)
        self._as: dict[str, Any] = (
            {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}
            if os.geteuid() == 0
            else {}
        )
        if self._as:
            shutil.chown(folder, UNPRIVILEGED, "nogroup")
        self.data = folder / "data"
        self._run("initdb", "-D", str(self.data), "-U", "exporter", "-A", "trust", "-N",
                  "-E", "UTF8", "--locale=C")  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            capture_output=True,
            cwd="/",
            **self._as,
        )

    def start(self) -> None:
        """Run it, and wait until it answers."""
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            **self._settings,
        }
        log = self.folder / "log"
        with log.open("ab") as to:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    "-D",
                    str(self.data),
                    *(f"-c{name}={value}" for name, value in options.items()),
                ],
                stdout=to,
                stderr=to,
                cwd="/",
                **self._as,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(log.read_text()) from None
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """End it at once, as a crash would: without a checkpoint, and without a word."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it, whoever is connected."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def dsn(self, **more: str) -> str:
        """A connection string for its one database."""
        given = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": "exporter",
            "dbname": "postgres",
        }
        return make_conninfo(**{**given, **more})

    def fresh(self) -> str:
        """A connection string for a schema of its own, which is empty."""
        name = f"test_{os.getpid()}_{next(self._schemas)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return self.dsn(options=f"-csearch_path={name}")


@contextmanager
def serving(settings: dict[str, str]) -> Iterator[Server]:
    """A server with these settings, for as long as the block lasts."""
    programs = binaries()
    assert programs is not None
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=memory if memory.is_dir() else None))
    server = Server(folder, programs, settings)
    try:
        server.start()
        yield server
    finally:
        with suppress(OSError):
            server.crash()
        shutil.rmtree(folder, ignore_errors=True)
