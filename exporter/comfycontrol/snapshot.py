"""One event of a stream as a typed snapshot: everything that is counted, nothing private."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.comfycontrol.documents import Fields, MalformedDocumentError, load_object

MAX_SNAPSHOT_SIZE = 1024 * 1024
"""The largest size of a snapshot in bytes, the same as for an event."""


class MalformedSnapshotError(MalformedDocumentError):
    """The data of an event is not a snapshot. The message says why, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a workflow failed.

    The message is left out: it can contain the user's prompts and paths.
    """

    node_type: str | None
    exception_type: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The complete state of a workflow, as one event of its stream shows it.

    Attributes:
        status: the service's word, cleaned; it may be an unknown status.
        queue_number: the position in the queue. Means nothing unless the status is ``queued``.
        outputs: how many outputs there are; None if the snapshot does not say. Their content is
            left out, because their URLs are signed.
        cause: why it failed, if the service says so.
        started_at: seconds since the epoch.
        completed_at: seconds since the epoch.
    """

    status: str
    queue_number: int | None = None
    outputs: int | None = None
    cause: Cause | None = None
    started_at: float | None = None
    completed_at: float | None = None


@dataclass(frozen=True, slots=True)
class ParsedSnapshot:
    """A snapshot, and the names of the fields that could not be used and were left out of it."""

    snapshot: Snapshot
    malformed_fields: tuple[str, ...]


def parse_snapshot(data: str | bytes) -> ParsedSnapshot:
    """Read the data of one event. Unknown fields are ignored.

    Raises:
        MalformedSnapshotError: it is not a JSON object, it has no usable status, or it is too long.
            An error in another field affects only that field.
    """
    try:
        document = load_object(data, MAX_SNAPSHOT_SIZE)
    except MalformedDocumentError as error:
        raise MalformedSnapshotError(str(error)) from None
    fields = Fields(document)
    status = fields.text("status")
    if status is None:
        raise MalformedSnapshotError("the snapshot has no usable status")
    snapshot = Snapshot(
        status=status,
        queue_number=fields.queue_number(),
        outputs=fields.objects("outputs"),
        cause=_parse_cause(fields),
        started_at=fields.stamp("started_at"),
        completed_at=fields.stamp("completed_at"),
    )
    return ParsedSnapshot(snapshot, fields.malformed)


def _parse_cause(fields: Fields) -> Cause | None:
    child = fields.child("cause")
    if child is None:
        return None
    cause_fields = Fields(child)
    cause = Cause(
        node_type=_text_of_cause(cause_fields, "node_type"),
        exception_type=_text_of_cause(cause_fields, "exception_type"),
    )
    for name in cause_fields.malformed:
        fields.reject(f"cause.{name}")
    return cause


def _text_of_cause(fields: Fields, name: str) -> str | None:
    """Read a part of a cause; None if it was damaged on the way.

    Then `GET /v1/workflow/{id}` is asked for it, and believed.
    """
    if fields.has_control_characters(name):
        fields.reject(name)
        return None
    return fields.text(name)
