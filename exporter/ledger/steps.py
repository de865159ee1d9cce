"""The steps of the ledger's schema on disk: the SQL of each, and the words that it added.

A word is anything from a closed set that is stored: a source, a status, a reason, a total with its
labels. See `exporter.ledger.words`, which says why each belongs to a step. A step may add words and
no SQL.

Never edit a step that was released; add another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    sql: str = ""
    """Its statements, separated by semicolons."""
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By kind: the words that it added. They are listed here a second time: a test compares them
    with what the code stores."""


STEPS: Final = (
    Step(
        """
    CREATE TABLE accounts (
        account INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        line REAL,
        frontier REAL
    );
    CREATE TABLE workflows (
        account INTEGER NOT NULL REFERENCES accounts,
        workflow BLOB NOT NULL,          -- the UUID's 16 bytes
        source TEXT NOT NULL,
        phase TEXT NOT NULL,
        run INTEGER NOT NULL,
        status TEXT,
        unknown_status TEXT,
        first_seen REAL NOT NULL,
        last_seen REAL,
        created_at REAL,
        started_at REAL,
        ended_at REAL,
        entered_queue INTEGER NOT NULL,
        waited INTEGER NOT NULL,         -- whether it was seen waiting
        start_wait REAL,
        start_observed INTEGER NOT NULL,
        outputs_counted INTEGER NOT NULL,
        cause_owed_since REAL,
        PRIMARY KEY (account, workflow)
    ) WITHOUT ROWID;
    CREATE INDEX unsettled ON workflows (account)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL;
    CREATE INDEX created ON workflows (account, created_at);
    CREATE INDEX ended ON workflows (account, ended_at) WHERE phase != 'open';
    CREATE TABLE counters (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,            -- JSON list, the account first
        value REAL NOT NULL,
        appeared INTEGER NOT NULL,
        exemplar TEXT,                   -- JSON: workflow id, value, Unix seconds
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
    CREATE TABLE histograms (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,
        bounds TEXT NOT NULL,            -- JSON list
        counts TEXT NOT NULL,            -- JSON list, one more than bounds
        sum REAL NOT NULL,
        exemplars TEXT NOT NULL,
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
    CREATE TABLE marks (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
        {
            "source": ["configured", "file", "listing", "pushed"],
            "phase": ["open", "settled", "dropped"],
            "status": [
                "accepted",
                "uploaded",
                "queued",
                "running",
                "completed",
                "failed",
                "cancelled",
                "invalid",
            ],
            "drop reason": ["not_found", "malformed", "forbidden", "expired", "withdrawn"],
            "ignore reason": ["duplicate", "late", "unknown_status", "anomalous_duration"],
            "capped label": ["node_type", "exception_type"],
            "counter": [
                "discovered(source)",
                "finished(status)",
                "failures(node_type, exception_type)",
                "outputs()",
                "dropped(drop reason)",
                "ignored(ignore reason)",
                "label_overflow(capped label)",
            ],
            "histogram": ["entry_queue_position()", "time_to_start()", "run_duration(status)"],
            "mark": ["announced"],
        },
    ),
    Step(
        """
    ALTER TABLE accounts ADD COLUMN pruned_created REAL;
    ALTER TABLE accounts ADD COLUMN pruned_ended REAL;
    ALTER TABLE workflows ADD COLUMN stream_ended_at REAL;
    ALTER TABLE workflows ADD COLUMN stream_ended_run INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE workflows ADD COLUMN listed_ended_at REAL;
    ALTER TABLE workflows ADD COLUMN listed_ended_run INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE workflows ADD COLUMN settled_at REAL;
    ALTER TABLE workflows ADD COLUMN duration_owed_since REAL;
    ALTER TABLE accounts ADD COLUMN checksum INTEGER;
    ALTER TABLE workflows ADD COLUMN checksum INTEGER;
    ALTER TABLE counters ADD COLUMN checksum INTEGER;
    ALTER TABLE histograms ADD COLUMN checksum INTEGER;
    ALTER TABLE marks ADD COLUMN checksum INTEGER;
    ALTER TABLE histograms ADD COLUMN appeared INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE baselines (             -- for comparing with the service's own totals
        account INTEGER NOT NULL REFERENCES accounts,
        status TEXT NOT NULL,
        value INTEGER NOT NULL,
        compared_at REAL NOT NULL,
        since REAL NOT NULL,
        checksum INTEGER,
        PRIMARY KEY (account, status)
    ) WITHOUT ROWID;
    CREATE TABLE history (               -- for people; nothing that is counted depends on it
        kind TEXT NOT NULL,
        number INTEGER NOT NULL,         -- grows, so that what is new lies together
        content BLOB NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (kind, number)
    ) WITHOUT ROWID;
    CREATE TABLE seal (
        part INTEGER PRIMARY KEY,        -- 1: what changes with each transaction; 2: the words
        content TEXT NOT NULL,           -- JSON, see exporter/ledger/seal.py
        checksum INTEGER NOT NULL
    );
    DROP INDEX unsettled;
    -- With the checksum: what it holds and what the table holds must agree.
    CREATE INDEX unsettled ON workflows (account, checksum)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL;
    """,
        {
            "status": ["other"],
            "counter": ["recovered()", "failed_in_a_row()"],
        },
    ),
    Step(
        """
    ALTER TABLE workflows ADD COLUMN slices TEXT;  -- JSON: by label what was decided
    ALTER TABLE workflows ADD COLUMN held TEXT;    -- JSON: facts that wait for that
    DROP INDEX unsettled;
    CREATE INDEX unsettled ON workflows (account, checksum)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL
        OR held IS NOT NULL;
    """,
        {
            "counter": ["slice_overflow(slice)"],
            "label": ["slice"],
            "held fact": ["EnteredQueue", "Started", "Finished", "Ran", "Failed", "OutputsMade"],
        },
    ),
    Step(
        """
    ALTER TABLE workflows ADD COLUMN entered REAL;  -- when it came into its phase; Unix seconds
    """,
        {
            "counter": ["phases(phase result)"],
            "histogram": ["phase_duration(status)"],
            "held fact": ["PhasePassed"],
            "phase result": ["measured", "uncertain"],
        },
    ),
    Step(
        """
    ALTER TABLE workflows ADD COLUMN earlier_ends TEXT;  -- JSON list: ends of the runs before
    """,
    ),
    Step(words={"drop reason": ["ended_before"]}),
)
"""`PRAGMA user_version` says how many of them were applied to a file."""
