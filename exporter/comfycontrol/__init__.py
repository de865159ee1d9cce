"""The service: its calls, its event streams, and what they can come to.

Knows the service alone, and no other part of the exporter.
"""

from exporter.comfycontrol.answers import Endpoint
from exporter.comfycontrol.client import Client, RequestRecord, Timeouts
from exporter.comfycontrol.connections import Call
from exporter.comfycontrol.errors import (
    Aborted,
    BadRequest,
    Forbidden,
    NotFound,
    RateLimited,
    Redirected,
    ServerFault,
    ServiceError,
    TooLarge,
    Unauthorized,
    Unreachable,
    Unusable,
)
from exporter.comfycontrol.listing import WorkflowDetail, WorkflowPage, WorkflowSummary
from exporter.comfycontrol.live_stream import LiveStream
from exporter.comfycontrol.runners import Runner, RunnerPage
from exporter.comfycontrol.snapshot import (
    Cause,
    MalformedSnapshot,
    ParsedSnapshot,
    Snapshot,
    parse_snapshot,
)
from exporter.comfycontrol.stream import (
    MalformedReading,
    NewSnapshot,
    Reading,
    RepeatedSnapshot,
    Stream,
    StreamEnding,
)
from exporter.uuids import normalize_workflow_id

__all__ = [
    "Aborted",
    "BadRequest",
    "Call",
    "Cause",
    "Client",
    "Endpoint",
    "Forbidden",
    "LiveStream",
    "MalformedReading",
    "MalformedSnapshot",
    "NewSnapshot",
    "NotFound",
    "ParsedSnapshot",
    "RateLimited",
    "Reading",
    "Redirected",
    "RepeatedSnapshot",
    "RequestRecord",
    "Runner",
    "RunnerPage",
    "ServerFault",
    "ServiceError",
    "Snapshot",
    "Stream",
    "StreamEnding",
    "Timeouts",
    "TooLarge",
    "Unauthorized",
    "Unreachable",
    "Unusable",
    "WorkflowDetail",
    "WorkflowPage",
    "WorkflowSummary",
    "normalize_workflow_id",
    "parse_snapshot",
]
