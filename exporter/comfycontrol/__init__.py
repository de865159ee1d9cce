"""The client for the service: its calls, its event streams, and their errors.

It knows only the service, and no other part of the exporter.
"""

import warnings

from exporter.spared_imports import without

# These packages guess the encoding of text, which is not needed here; without them the process
# needs 2.5 MiB less.
with without("chardet", "charset_normalizer"), warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
    import requests as _requests  # noqa: F401 - all modules of this package find it loaded

from exporter.comfycontrol.answers import Endpoint
from exporter.comfycontrol.client import Client, RequestRecord, Timeouts
from exporter.comfycontrol.connections import Call
from exporter.comfycontrol.errors import (
    AbortedError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.comfycontrol.listing import WorkflowDetail, WorkflowPage, WorkflowSummary
from exporter.comfycontrol.live_stream import LiveStream
from exporter.comfycontrol.runners import Runner, RunnerPage
from exporter.comfycontrol.snapshot import (
    Cause,
    MalformedSnapshotError,
    ParsedSnapshot,
    Snapshot,
    parse_snapshot,
)
from exporter.comfycontrol.stream import (
    MalformedReading,
    NewSnapshot,
    RepeatedSnapshot,
    SnapshotReading,
    Stream,
    StreamEnding,
)
from exporter.uuids import normalize_workflow_id

__all__ = [
    "AbortedError",
    "BadRequestError",
    "Call",
    "Cause",
    "Client",
    "Endpoint",
    "ForbiddenError",
    "LiveStream",
    "MalformedReading",
    "MalformedSnapshotError",
    "NewSnapshot",
    "NotFoundError",
    "ParsedSnapshot",
    "RateLimitedError",
    "RedirectedError",
    "RepeatedSnapshot",
    "RequestRecord",
    "Runner",
    "RunnerPage",
    "ServerFaultError",
    "ServiceError",
    "Snapshot",
    "SnapshotReading",
    "Stream",
    "StreamEnding",
    "Timeouts",
    "TooLargeError",
    "UnauthorizedError",
    "UnreachableError",
    "UnusableError",
    "WorkflowDetail",
    "WorkflowPage",
    "WorkflowSummary",
    "normalize_workflow_id",
    "parse_snapshot",
]
