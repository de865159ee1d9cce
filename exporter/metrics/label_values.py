"""The meaning of label values that are known beforehand: for the reference page.

The values themselves come from the types that the code counts by; a test compares the two.
"""

from collections.abc import Mapping
from typing import Final

LabelValues = Mapping[str, str]
"""Meanings by value."""

FREE_LABELS: Final = frozenset(
    {
        "account", "address", "code", "exception_type", "node_type", "python_version", "revision",
        "slice", "tag", "version", "workflow_id",
    }
)  # fmt: skip
"""Labels whose values come from the configuration, the service or the machine."""

OPEN_STATUS: Final[LabelValues] = {
    "accepted": "taken by the service",
    "uploaded": "its inputs are on a runner",
    "queued": "in the queue of a runner",
    "running": "it runs",
    "other": "a status that this version does not know; only there while there is one",
}
PHASE: Final[LabelValues] = {
    "accepted": "from its creation until its inputs are on a runner: the upload",
    "uploaded": "from then until it is in the queue of that runner",
    "queued": "from then until it runs",
}
PHASE_RESULT: Final[LabelValues] = {
    "measured": "it is in `comfycontrol_workflow_phase_duration_seconds`",
    "uncertain": "its beginning or its end was not seen closely enough",
}
OUTCOME: Final[LabelValues] = {
    "completed": "it ran to its end",
    "failed": "an error ended it",
    "cancelled": "somebody did",
    "invalid": "refused by validation: it never ran",
    "other": "ended in a status that this version does not know; only there once there was one",
}
SERVICE_STATUS: Final[LabelValues] = {
    status: means
    for status, means in {**OPEN_STATUS, **OUTCOME}.items()
    if status not in {"accepted", "uploaded", "other"}
}
COMPARED_STATUS: Final[LabelValues] = {
    status: means for status, means in OUTCOME.items() if status != "other"
}
SOURCE: Final[LabelValues] = {
    "configured": "`workflows` of the account",
    "file": "one of its `workflow_files`",
    "listing": "the account's list",
    "pushed": "`POST /api/v1/workflows`",
}
DROPPED: Final[LabelValues] = {
    "not_found": "404: no such workflow, deleted, or another account's; for longer than the grace "
    "of 30 s where it was never seen, else for ten minutes in which the account was answered "
    "otherwise",
    "malformed": "400, for as long: the service takes this for no id",
    "forbidden": "403 about this one, for as long",
    "expired": "reported by nobody for as long as the listing looks back (a day "
    "without one), while the account was up",
    "withdrawn": "taken back by `DELETE`, or named no more by the configuration",
    "ended_before": "a source named it, but it had ended before counting began (or was counted "
    "long ago), so its outcome is not counted",
}
IGNORED: Final[LabelValues] = {
    "duplicate": "said nothing new: most snapshots, and every page that is read again",
    "late": "an earlier status than is known already, or anything after the end",
    "unknown_status": "a status that this version does not know: the workflow stays open, unless "
    "it comes with an end",
    "anomalous_duration": "stamps that make a time longer than 30 days, or negative by their "
    "precision or more (a time to start: by more than 2 s)",
}
DOWN: Final[LabelValues] = {
    "token_refused": "401: the token is wrong, expired or revoked, or cannot be sent at all",
    "not_listed": "403 or 404 for the account's list, by the service itself",
    "server_errors": "5xx",
    "no_answer": "nothing arrived: name, connection, proxy, certificate or time-out",
    "unusable": "none of the service's own answers: a page of an edge in front of it, "
    "a redirect that is not followed, "
    "half a document",
}
CAPPED_LABEL: Final[LabelValues] = {
    "node_type": "`metrics.node_types`",
    "exception_type": "`metrics.exception_types`",
}
CAP: Final[LabelValues] = {
    **CAPPED_LABEL,
    "workflow_id": "`metrics.per_workflow_series`",
}
ENDPOINT: Final[LabelValues] = {
    "subscribe": "a stream, or a pending cause",
    "list": "a page of the list",
    "runners": "a page of the account's runners",
    "get": "a single workflow that neither a stream nor the list shows",
}
SLICE_SOURCE: Final[LabelValues] = {
    "tag": "one of the workflow's tags",
    "name": "the workflow's name",
}
RUNNER_STATUS: Final[LabelValues] = {
    "active": "it takes workflows",
    "disabled": "it takes none",
    "other": "a status that this version does not know; only there while there is one",
}
STREAM_END: Final[LabelValues] = {
    "finished": "its workflow has",
    "limit": "the service's own, some 120 updates: another follows at once",
    "dropped": "cut off before that, or never answered",
    "silent": "no snapshot came for too long",
    "malformed": "nothing that came could be read",
    "refused": "another status than 200 in place of a stream",
    "shutdown": "ended by us: the exporter stops, or another workflow has the better claim",
}
SNAPSHOT: Final[LabelValues] = {
    "new": "differs from the one before",
    "repeated": "byte for byte the one before",
    "malformed": "could not be read, in whole or in part",
}
FILE_STATE: Final[LabelValues] = {
    "ok": "every entry is a workflow id",
    "faulty": "it cannot be read, or has entries that are none; the ids that are right count",
}

LEDGER_STATE: Final[LabelValues] = {
    "open": "not settled yet",
    "settled": "counted, or dropped; stored for twice as long as the listing looks back",
}
HELD_BACK: Final[LabelValues] = {
    "descriptors": "the limit of open files: see the line `limit of open files` of the log",
    "threads": "no further thread could be started",
    "memory": "memory ran out while one was opened",
}
CLIENT_DISCONNECTED: Final[LabelValues] = {
    "idle": "sent no request, or no further one",
    "handshake": "its TLS handshake took more than 5 s",
    "limit": "made room for another: see `--web.max-connections`",
    "slow": "sent a request, or read an answer, too slowly",
}
