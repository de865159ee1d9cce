"""A temporary PostgreSQL server for tests: on a free port, run by an unprivileged user."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from tests.ports import free_port

UNPRIVILEGED: Final = "nobody"
"""The user that runs the server, because PostgreSQL refuses to run as root."""

FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}
"""Fast settings for most tests: with these, commits do not survive a crash of the server."""

DURABLE: Final = {"fsync": "off", "max_connections": "60", "shared_buffers": "32MB"}
"""With these, commits survive a crash of the server's processes, but not of the machine."""


def binaries() -> Path | None:
    """The folder of the newest server's programs; None: it is not installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: float(path.parent.parent.name),
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).parent


class Server:
    """A server with a separate folder. It accepts all connections from this machine."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        settings: dict[str, str],
        primary_port: int | None = None,
    ) -> None:
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
        if primary_port is not None:
            self._run("pg_basebackup", "-D", str(self.data), "-h", "127.0.0.1", "-p",
                      str(primary_port), "-U", "exporter", "-X", "stream", "-c", "fast",
                      "-R")  # fmt: skip
            return
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
        """Start it, and wait until it answers."""
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

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as a superuser; return its rows."""
        with psycopg.connect(self.dsn(), autocommit=True, connect_timeout=3) as connection:
            cursor = connection.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def crash(self) -> None:
        """End it immediately, like a crash: without a checkpoint, and without notice to clients."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it, even if clients are connected."""
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
        """A connection string for a new, empty schema."""
        name = f"test_{os.getpid()}_{next(self._schemas)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return self.dsn(options=f"-csearch_path={name}")


@contextmanager
def serving(settings: dict[str, str], primary_port: int | None = None) -> Iterator[Server]:
    """A server with these settings, within this context.

    With `primary_port` it is a standby of the server at that port.
    """
    programs = binaries()
    assert programs is not None
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=memory if memory.is_dir() else None))
    server: Server | None = None
    try:
        server = Server(folder, programs, settings, primary_port)
        server.start()
        yield server
    finally:
        if server is not None:
            with suppress(OSError):
                server.crash()
        shutil.rmtree(folder, ignore_errors=True)


class Proxy:
    """A proxy between clients and a port, which can stop forwarding without notice."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._passes = threading.Event()
        self._passes.set()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Stop forwarding, without closing connections."""
        self._passes.clear()

    def mend(self) -> None:
        """Forward new connections; break the old ones."""
        self._close_all()
        self._passes.set()

    def close(self) -> None:
        """Stop accepting connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._close_all()
        self._passes.set()

    def _close_all(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
            except OSError:
                return

    def _serve(self, client: socket.socket) -> None:
        self._passes.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._open.append(server)
        for source, to in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, to), daemon=True).start()

    def _pump(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passes.wait()
                to.sendall(data)
        for each in (source, to):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
