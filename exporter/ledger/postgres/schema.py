"""The tables of the ledger in PostgreSQL, and the steps of their schema.

All tables are in the first schema of the search path, with a common prefix, because other programs
may use the database too.
"""

from typing import Final
from uuid import uuid4

from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.postgres.link import OLDEST_SERVER, Cursor
from exporter.ledger.rows import WORKFLOW_COLUMNS
from exporter.ledger.words import unknown_of

MIGRATIONS: Final = (
    """
    CREATE TABLE comfycontrol_account (
        account integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        line double precision,
        frontier double precision,
        pruned_created double precision,
        pruned_ended double precision,
        commits bigint NOT NULL DEFAULT 0,   -- transactions that have changed its rows
        holder text,                         -- the replica that counts it, unless `until` is over
        epoch bigint NOT NULL DEFAULT 0,     -- rises with each other holder
        until timestamptz NOT NULL DEFAULT '-infinity'
    );
    CREATE TABLE comfycontrol_workflow (
        account integer NOT NULL REFERENCES comfycontrol_account,
        workflow bytea NOT NULL,             -- the UUID's 16 bytes
        source text NOT NULL,
        phase text NOT NULL,
        run integer NOT NULL,
        status text,
        unknown_status text,
        first_seen double precision NOT NULL,
        last_seen double precision,
        created_at double precision,
        started_at double precision,
        ended_at double precision,
        entered_queue smallint NOT NULL,
        waited smallint NOT NULL,
        start_wait double precision,
        start_observed smallint NOT NULL,
        outputs_counted smallint NOT NULL,
        cause_owed_since double precision,
        stream_ended_at double precision,
        stream_ended_run integer NOT NULL,
        listed_ended_at double precision,
        listed_ended_run integer NOT NULL,
        settled_at double precision,
        duration_owed_since double precision,
        slices text,
        held text,
        entered double precision,            -- when it came into its phase; Unix seconds
        earlier_ends text,                   -- JSON list: ends of the runs before
        PRIMARY KEY (account, workflow)
    );
    CREATE INDEX comfycontrol_workflow_unsettled ON comfycontrol_workflow (account)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL
        OR held IS NOT NULL;
    CREATE INDEX comfycontrol_workflow_created ON comfycontrol_workflow (account, created_at);
    CREATE INDEX comfycontrol_workflow_ended ON comfycontrol_workflow (account, ended_at)
        WHERE phase <> 'open';
    CREATE TABLE comfycontrol_total (
        account integer NOT NULL REFERENCES comfycontrol_account,
        series bytea NOT NULL,               -- hash of kind, name and labels, which may be long
        kind text NOT NULL,                  -- counter, histogram
        name text NOT NULL,
        labels text NOT NULL,                -- JSON list, the account first
        waiting boolean NOT NULL,            -- shown at 0 until it was visible for long enough
        value numeric NOT NULL,              -- of a histogram: the sum. Adding to it is exact
        bounds double precision[],
        counts bigint[],
        exemplars text,                      -- JSON
        PRIMARY KEY (account, series)
    );
    CREATE TABLE comfycontrol_baseline (
        account integer NOT NULL REFERENCES comfycontrol_account,
        status text NOT NULL,
        value bigint NOT NULL,
        compared_at double precision NOT NULL,
        since double precision NOT NULL,
        PRIMARY KEY (account, status)
    );
    CREATE TABLE comfycontrol_replica (
        replica text PRIMARY KEY,
        since timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen timestamptz NOT NULL
    );
    CREATE TABLE comfycontrol_budget (       -- of each service address and egress address
        address text PRIMARY KEY,
        share double precision NOT NULL,     -- at `closed_until`, before it grows again
        closed_until timestamptz NOT NULL DEFAULT 'epoch'
    );
    CREATE TABLE comfycontrol_permit (       -- requests that the service may still be counting
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        address text NOT NULL,
        per double precision NOT NULL,
        taken timestamptz NOT NULL,
        answered timestamptz
    );
    CREATE INDEX comfycontrol_permit_address ON comfycontrol_permit (address);
    CREATE TABLE comfycontrol_word (word text PRIMARY KEY);
    """,
    """
    CREATE TABLE comfycontrol_history (      -- for people; nothing that is counted depends on it
        account integer NOT NULL REFERENCES comfycontrol_account,
        kind text NOT NULL,
        number bigint NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (account, kind, number)
    );
    """,
    """
    CREATE TABLE comfycontrol_room (         -- streams that a replica can hold, of each service
        replica text NOT NULL,
        service text NOT NULL,
        egress text NOT NULL,
        most integer NOT NULL,               -- what the share of its egress address bears
        own integer NOT NULL,                -- of these, what its own accounts need
        PRIMARY KEY (replica, service)
    );
    CREATE TABLE comfycontrol_assignment (   -- workflows that another replica streams
        account integer NOT NULL REFERENCES comfycontrol_account,
        workflow bytea NOT NULL,
        service text NOT NULL,
        replica text NOT NULL,
        epoch bigint NOT NULL,               -- of the holder that lends it
        ranked_by text NOT NULL,             -- JSON: source, status, created_at
        is_open boolean NOT NULL DEFAULT false,
        PRIMARY KEY (account, workflow)
    );
    CREATE INDEX comfycontrol_assignment_replica ON comfycontrol_assignment (replica);
    CREATE TABLE comfycontrol_told (         -- by such streams, until the holder takes it
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account integer NOT NULL REFERENCES comfycontrol_account,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        said text NOT NULL
    );
    CREATE INDEX comfycontrol_told_account ON comfycontrol_told (account);
    """,
)
"""The schema, step by step. Never edit one that was released; add another."""

WRITES_FROM: Final = 1
"""The oldest schema step with which this version can write: it can ignore what later steps add. A
replica of an older version continues beside a newer one during a rolling update, as long as the
newer one's `WRITES_FROM` allows it."""

UNSETTLED: Final = (
    "(phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL "
    "OR held IS NOT NULL)"
)
"""The rows that are held in memory, as the index of the same name has them."""

COLUMNS: Final = ", ".join(WORKFLOW_COLUMNS)

# Replicas that start at the same moment apply the steps one after the other, by means of this lock.
_LOCK: Final = 0x636F6D66  # "comf"


def migrate(cursor: Cursor, place: str) -> bool:
    """Apply the missing schema steps within a transaction; return whether the database was empty.

    Args:
        cursor: of a transaction.
        place: the location of the database, for messages.

    Raises:
        OpenLedgerError: the database cannot hold a ledger, or a newer version of the exporter wrote
            it.
    """
    cursor.execute(
        "SELECT current_setting('server_version_num')::int, "
        "current_setting('server_encoding'), current_schema(), pg_is_in_recovery()"
    )
    version, encoding, schema, is_standby = cursor.fetchone() or (0, "", None, False)
    if version < OLDEST_SERVER:
        raise OpenLedgerError(f"{place} is older than PostgreSQL 14")
    if encoding != "UTF8":
        raise OpenLedgerError(
            f"{place} has the encoding {encoding}: make a database with ENCODING 'UTF8'"
        )
    if schema is None:
        raise OpenLedgerError(f"{place} has no schema in its search path")
    if is_standby:
        raise OpenLedgerError(
            f"{place} is a read-only standby: name the primary, or all servers and "
            "target_session_attrs=read-write"
        )
    cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", (_LOCK,))
    taken, oldest = _steps(cursor)
    if taken > len(MIGRATIONS) and oldest > len(MIGRATIONS):
        raise OpenLedgerError(
            f"{place} was written by a newer version of the exporter (schema {taken}; "
            f"this one knows {len(MIGRATIONS)})"
        )
    cursor.execute("SELECT to_regclass('comfycontrol_word')")
    if taken and cursor.fetchone() != (None,):
        cursor.execute("SELECT word FROM comfycontrol_word")
        unknown = unknown_of(frozenset(word for (word,) in cursor.fetchall()))
        if unknown is not None:
            raise OpenLedgerError(
                f"{place} was written by a newer version of the exporter: this one does not know "
                f"{unknown[:100]!r}"
            )
    if taken < len(MIGRATIONS):
        cursor.execute("; ".join(MIGRATIONS[taken:]))
        cursor.execute(
            "UPDATE comfycontrol_meta SET step = %s, writes_from = %s",
            (len(MIGRATIONS), WRITES_FROM),
        )
    return taken == 0


def _steps(cursor: Cursor) -> tuple[int, int]:
    """How many steps were applied, and the oldest step whose version may still write."""
    cursor.execute("SELECT to_regclass('comfycontrol_meta')")
    if cursor.fetchone() == (None,):
        cursor.execute(
            "CREATE TABLE comfycontrol_meta (one boolean PRIMARY KEY DEFAULT true CHECK (one), "
            "lineage text NOT NULL, step integer NOT NULL, writes_from integer NOT NULL)"
        )
        cursor.execute(
            "INSERT INTO comfycontrol_meta (lineage, step, writes_from) VALUES (%s, 0, 0)",
            (uuid4().hex,),
        )
    cursor.execute("SELECT step, writes_from FROM comfycontrol_meta")
    step, oldest = cursor.fetchone() or (0, 0)
    return int(step), int(oldest)
