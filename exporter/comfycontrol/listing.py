"""Pages of the account's list, and one workflow in full, as typed values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from exporter.comfycontrol.documents import (
    Fields,
    MalformedDocumentError,
    load_object,
)
from exporter.comfycontrol.envelopes import rows_in, workflow_in
from exporter.comfycontrol.nodes import failed_node
from exporter.uuids import normalize_workflow_id

MAX_BODY_SIZE = 8 * 1024 * 1024
"""The largest size of an answer's body in bytes, after decompression."""

MOST_ROWS = 1000
"""The largest number of rows that are used of one page; the service's documents allow 100. Further
rows count as malformed."""


class MalformedListingError(MalformedDocumentError):
    """A page that is not a list of workflows. The message says why, and quotes nothing."""


class MalformedDetailError(MalformedDocumentError):
    """An answer that is not a workflow. The message says why, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class WorkflowSummary:
    """A workflow as the list shows it.

    Attributes:
        id: its UUID, in lower case.
        status: the service's word, cleaned; it may be an unknown status.
        name: cleaned. Users may write anything there: it is used for slices, but neither stored nor
            shown.
        tags: cleaned.
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
        started_at: seconds since the epoch; None until it has started.
        completed_at: seconds since the epoch; None until it has ended.
    """

    id: str
    status: str
    name: str = field(default="", repr=False)
    tags: tuple[str, ...] = ()
    created_at: float | None = None
    updated_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """One page of the list, in the service's order: newest first by creation.

    Attributes:
        workflows: the rows that could be read.
        total: how many workflows the list has in all, according to the service.
        malformed: how many entries were dropped, or lost a field, because they could not be read.
        entries: how many entries the page had, including dropped ones. If there are fewer than
            requested, it is the last page, or the service returns no more at once.
        service_time: when the service answered, by its own clock (the Date header), in whole
            seconds since the epoch.
    """

    workflows: tuple[WorkflowSummary, ...]
    total: int | None
    malformed: int
    entries: int
    service_time: float | None = None


@dataclass(frozen=True, slots=True)
class WorkflowDetail:
    """One workflow, of which only what is counted is kept: no prompts, graphs or messages.

    Attributes:
        status: the service's word, cleaned; it may be an unknown status.
        queue_number: the position in the queue. Means nothing unless the status is ``queued``.
        error_node: the type of the node at which it failed; if the service gave the node's id, the
            type comes from the graph.
        exception_type: the type of the exception with which it failed.
        name: cleaned; used for slices, but neither stored nor shown.
        tags: cleaned.
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
        started_at: seconds since the epoch.
        completed_at: seconds since the epoch.
        malformed_fields: the names of fields that could not be used and were left out.
    """

    status: str
    queue_number: int | None = None
    error_node: str | None = None
    exception_type: str | None = None
    name: str = field(default="", repr=False)
    tags: tuple[str, ...] = ()
    created_at: float | None = None
    updated_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    malformed_fields: tuple[str, ...] = ()


def parse_page(body: bytes, *, service_time: float | None = None) -> WorkflowPage:
    """Read the body of one page. An entry without a usable id or status is dropped and counted.

    Raises:
        MalformedListingError: it is not a JSON object with a list of workflows, it is too long, or
            it is cut off, so that it is unknown what is missing.
    """
    try:
        document = load_object(body, MAX_BODY_SIZE, rows="workflows")
    except MalformedDocumentError as error:
        raise MalformedListingError(str(error)) from None
    entries, total = rows_in(document, "workflows")
    if entries is None:
        raise MalformedListingError("the page has no list of workflows")
    workflows: list[WorkflowSummary] = []
    malformed = max(0, len(entries) - MOST_ROWS)
    for entry in entries[:MOST_ROWS]:
        summary, is_whole = _parse_entry(entry)
        if summary is not None:
            workflows.append(summary)
        if not is_whole:
            malformed += 1
    return WorkflowPage(
        workflows=tuple(workflows),
        total=total,
        malformed=malformed,
        entries=len(entries),
        service_time=service_time,
    )


def _parse_entry(entry: object) -> tuple[WorkflowSummary | None, bool]:
    """Read one entry; also return whether all its fields could be used."""
    if not isinstance(entry, dict):
        return None, False
    fields = Fields(entry)
    workflow_id, status = entry.get("id"), fields.text("status")
    if not isinstance(workflow_id, str) or status is None:
        return None, False
    try:
        workflow_id = normalize_workflow_id(workflow_id)
    except ValueError:
        return None, False
    summary = WorkflowSummary(
        id=workflow_id,
        status=status,
        name=fields.text("name") or "",
        tags=fields.tags(),
        created_at=fields.stamp("created_at"),
        updated_at=fields.stamp("updated_at"),
        started_at=fields.stamp("started_at"),
        completed_at=fields.stamp("completed_at"),
    )
    return summary, not fields.malformed


def _names_another(workflow_id: object, about: str) -> bool:
    try:
        return isinstance(workflow_id, str) and normalize_workflow_id(workflow_id) != about
    except ValueError:
        return False


def parse_detail(body: bytes, *, about: str | None = None) -> WorkflowDetail:
    """Read one workflow in full. Unknown fields are ignored.

    Args:
        body: the body of the answer.
        about: the UUID of the workflow that was asked for; None: it does not matter.

    Raises:
        MalformedDetailError: it is not a JSON object with a usable status, it is too long, or it is
            about another workflow.
    """
    try:
        document = workflow_in(load_object(body, MAX_BODY_SIZE))
    except MalformedDocumentError as error:
        raise MalformedDetailError(str(error)) from None
    fields = Fields(document)
    status = fields.text("status")
    if status is None:
        raise MalformedDetailError("the workflow has no usable status")
    if about is not None and _names_another(document.get("id"), about):
        raise MalformedDetailError("the answer is about another workflow")
    detail = WorkflowDetail(
        status=status,
        queue_number=fields.queue_number(),
        error_node=failed_node(fields, document.get("workflow_json")),
        exception_type=fields.text("exception_type"),
        name=fields.text("name") or "",
        tags=fields.tags(),
        created_at=fields.stamp("created_at"),
        updated_at=fields.stamp("updated_at"),
        started_at=fields.stamp("started_at"),
        completed_at=fields.stamp("completed_at"),
    )
    return replace(detail, malformed_fields=fields.malformed)
