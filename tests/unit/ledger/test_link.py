"""One connection to the database, over all that can happen to it between two transactions."""

from collections.abc import Iterator

import pytest

from exporter.ledger.postgres.link import Cursor, Link, all_rows
from exporter.ledger.store import StoreError
from tests.postgres import Server


@pytest.fixture
def link(postgres: Server) -> Iterator[Link]:
    made = Link(postgres.dsn)
    yield made
    made.close()


def pid(cursor: Cursor) -> int:
    ((found,),) = all_rows(cursor, "SELECT pg_backend_pid()")
    return int(found)


def end(postgres: Server, session: int) -> None:
    """As `idle_session_timeout` does, or an administrator; once it is gone this returns."""
    postgres.query(f"SELECT pg_terminate_backend({session}, 10000)")


def test_a_connection_that_was_ended_while_it_rested_is_made_again(
    postgres: Server, link: Link
) -> None:
    with link.transaction() as cursor:
        before = pid(cursor)
    end(postgres, before)
    with link.transaction() as cursor:
        assert pid(cursor) != before
        # Its limits are those of any transaction.
        assert all_rows(cursor, "SHOW lock_timeout") == [("2s",)]


def test_what_breaks_within_a_transaction_is_told(postgres: Server, link: Link) -> None:
    def break_it() -> None:
        with link.transaction() as cursor:
            end(postgres, pid(cursor))
            cursor.execute("SELECT 1")

    with pytest.raises(StoreError):
        break_it()
    with link.transaction() as cursor:
        assert pid(cursor)


def test_a_server_that_is_away_is_told(server: Server) -> None:
    link = Link(server.dsn)
    with link.transaction() as cursor:
        assert pid(cursor)
    server.stop()
    with pytest.raises(StoreError, match="nothing listens"), link.transaction():
        pass
    server.start()
    with link.transaction() as cursor:
        assert pid(cursor)
    link.close()
