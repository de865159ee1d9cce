"""One connection to the database: opened when needed, with time limits, no secrets in errors.

libpq's messages may contain parts of the connection string, so none of them is passed on: failures
are described in our own words, by SQLSTATE.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from exporter.ledger.store import StoreError

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

CONNECT_SECONDS: Final = 2
"""Seconds for connecting to each address of the server, unless the connection string says
otherwise. A longer time would be useless, because a lease would expire meanwhile."""

CALL_SECONDS: Final = 4.0
"""Seconds that one transaction may take, from its first statement to the answer to its last. A
scrape may wait for one transaction, and for a connection before that."""

STALE_SECONDS: Final = 1.0
"""Seconds. A connection that was closed by the other side while idle fails at once. If it fails
later than this, it is not opened again within the same transaction, because its caller is
waiting."""

OLDEST_SERVER: Final = 140_000
"""PostgreSQL 14, as `server_version_num` has it."""

_DEFAULTS: Final = {
    "application_name": "comfycontrol-exporter",
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "4000",
}


def _limits(seconds: float) -> str:
    # A pooler in transaction mode accepts these settings in the transaction, but none at connection
    # time.
    milliseconds = int(seconds * 1000)
    return (
        f"SET LOCAL statement_timeout = {milliseconds}; "
        "SET LOCAL lock_timeout = 2000; "
        f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}"
    )


_STATES: Final = {
    "28P01": "the server refuses the password",
    "28000": "the server refuses this user, or this way to connect (see its pg_hba.conf)",
    "3D000": "there is no such database",
    "42501": "the user lacks a permission",
    "53100": "the server's disk is full",
    "53300": "the server has no connection left",
    "53200": "the server is out of memory",
    "55P03": "another session holds a lock",
    "57014": "the server took too long",
    "57P01": "the server is shutting down",
    "57P02": "the server has crashed",
    "57P03": "the server is starting up, or does not accept connections",
    "25P03": "the server has ended a transaction that waited for us",
    "57P05": "the server has ended a connection that rested",
    "25006": "the server is a read-only standby",
    "42P01": "a table is missing",
}

# Messages of libpq without a SQLSTATE: a part of the message, and our text for it.
_SAYINGS: Final = (
    ("password authentication failed", "the server refuses the password"),
    ("no password supplied", "the server wants a password, and none is given"),
    ("could not translate host name", "the server's host name is not known"),
    ("failed to resolve host", "the server's host name is not known"),
    ("Connection refused", "nothing listens at the server's address"),
    ("No such file or directory", "there is no such socket"),
    ("timeout expired", "the server does not answer in time"),
    ("no pg_hba.conf entry", "the server refuses this user or address (see its pg_hba.conf)"),
    ("does not support SSL", "the server has no TLS, and `sslmode` wants it"),
    ("does not match host name", "the server's certificate is for another host name"),
    ("certificate verify failed", "the server's certificate is not trusted"),
    ("root certificate file", "`sslrootcert` names no certificate that can be read"),
    ("does not exist", "there is no such database or user"),
    ("too many", "the server has no connection left"),
    ("starting up", "the server is starting up"),
    ("shutting down", "the server is shutting down"),
)


class ConnectionStringError(ValueError):
    """The given text is not a connection string. The message never quotes it."""


class CommitUnknownError(StoreError):
    """The connection broke during a commit: the transaction may or may not be committed."""


def all_rows(cursor: Cursor, statement: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as SQL takes them
    """All rows that a statement returns."""
    return cursor.execute(statement, values).fetchall()


def reason_of(error: psycopg.Error) -> str:
    """A description of a failure that cannot contain parts of the connection string."""
    state = error.sqlstate
    if state is not None:
        return f"{_STATES.get(state, 'the server refuses a statement')} (SQLSTATE {state})"
    if not isinstance(error, psycopg.OperationalError):
        # This is an error of the driver itself, for example a value that it cannot send.
        return f"the driver refuses a statement ({type(error).__name__})"
    said = str(error)
    for part, text in _SAYINGS:
        if part in said:
            return text
    return "no connection to the server"


def parameters(dsn: str) -> dict[str, Any]:
    """The parameters for libpq: our defaults, overridden by the connection string.

    Raises:
        ConnectionStringError: it is not a connection string.
    """
    try:
        given = conninfo_to_dict(dsn.strip())
    except psycopg.Error:
        given = None
    # This is raised outside the handler, because the original exception quotes the string.
    if given is None:
        raise ConnectionStringError(
            "it is no connection string, such as postgresql://user@host/database "
            "or host=… dbname=… user=…"
        )
    return {**_DEFAULTS, **given}


def place_of(dsn: str) -> str:
    """The location of the database for messages: only host, port and database name."""
    given = parameters(dsn)
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    return f"{host}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or ''}"


class Link:
    """A connection that is opened again after a failure. For one thread at a time.

    Args:
        dsn: returns the connection string; called each time, because the password may be rotated.
        call_seconds: how long one transaction may take.
    """

    def __init__(self, dsn: Callable[[], str], call_seconds: float = CALL_SECONDS) -> None:
        self._dsn = dsn
        self._call_seconds = call_seconds
        self._connection: Connection | None = None
        self._is_closed = False
        self._until: float | None = None
        self._watching = threading.Condition()
        self._watch: threading.Thread | None = None

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """Run a transaction: everything done in it is committed, or nothing.

        Raises:
            CommitUnknownError: the connection broke during the commit.
            StoreError: anything else went wrong, and nothing was committed.
        """
        if self._is_closed:
            raise StoreError("the ledger is closed")
        was_open = self._connection is not None
        connection = self._ready()
        self._set_deadline(self._call_seconds)
        is_committing = False
        try:
            connection = self._begin(connection, may_be_stale=was_open)
            with connection.cursor() as cursor:
                yield cursor
                is_committing = True
                self._commit(connection)
        except BaseException as error:
            self._disconnect(
                keep=not is_committing and not isinstance(error, psycopg.OperationalError)
            )
            if isinstance(error, psycopg.Error):
                failure = CommitUnknownError if is_committing else StoreError
                raise failure(reason_of(error)) from None
            raise
        finally:
            self._set_deadline(None)

    def _begin(self, connection: Connection, *, may_be_stale: bool) -> Connection:
        """Begin a transaction; open a new connection if the old one was closed while idle.

        The reason may be `idle_session_timeout`, a restart, or a proxy in between. No statement was
        sent over it yet, so nothing is lost.
        """
        limits, began = _limits(self._call_seconds).encode(), time.monotonic()
        try:
            connection.execute(limits)
        except psycopg.OperationalError:
            is_late = time.monotonic() > began + STALE_SECONDS
            if not may_be_stale or not connection.closed or is_late:
                raise
            self._disconnect(keep=False)
            connection = self._ready()
            self._set_deadline(self._call_seconds)
            connection.execute(limits)
        return connection

    def _commit(self, connection: Connection) -> None:
        connection.commit()

    def close(self) -> None:
        """Close the connection. Calling it again does nothing."""
        self._is_closed = True
        self._disconnect(keep=False)
        with self._watching:
            self._watching.notify_all()

    def _ready(self) -> Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        try:
            self._connection = connect(self._dsn())
        except psycopg.Error as error:
            raise StoreError(reason_of(error)) from None
        except ConnectionStringError as error:
            raise StoreError(str(error)) from None
        except OSError as error:
            raise StoreError(f"the connection string cannot be read: {error.strerror}") from None
        return self._connection

    def _disconnect(self, *, keep: bool) -> None:
        connection = self._connection
        if connection is None:
            return
        if keep:
            with suppress(psycopg.Error):
                connection.rollback()
                return
        self._connection = None
        with suppress(psycopg.Error):
            connection.close()

    # Without a timeout, a server that accepts a statement and never answers would block the caller
    # for ever.

    def _set_deadline(self, seconds: float | None) -> None:
        with self._watching:
            self._until = None if seconds is None else time.monotonic() + seconds
            if self._watch is None and seconds is not None:
                self._watch = threading.Thread(
                    target=self._watch_deadline, name="database watch", daemon=True
                )
                self._watch.start()

    def _watch_deadline(self) -> None:
        while not self._is_closed:
            with self._watching:
                self._watching.wait(0.5)
                is_late = self._until is not None and time.monotonic() > self._until
                connection = self._connection
                if is_late:
                    self._until = None
            if is_late and connection is not None:
                with suppress(OSError, psycopg.Error), _socket_of(connection) as wire:
                    wire.shutdown(socket.SHUT_RDWR)


def _socket_of(connection: Connection) -> socket.socket:
    return socket.socket(fileno=os.dup(connection.fileno()))


def connect(dsn: str) -> Connection:
    """Open a connection that keeps no state in the session.

    A pooler may use another session for each transaction.

    Raises:
        ConnectionStringError: it is not a connection string.
        psycopg.Error: connecting failed.
    """
    return psycopg.connect(**parameters(dsn), prepare_threshold=None)
