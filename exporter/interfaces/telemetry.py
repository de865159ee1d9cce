"""What the parts that send requests report about themselves, without knowing who counts it."""

from typing import Literal, Protocol

StreamEnd = Literal["finished", "limit", "dropped", "silent", "malformed", "refused", "shutdown"]
"""Why a stream ended, as users see it."""

SnapshotResult = Literal["new", "repeated", "malformed"]


class Telemetry(Protocol):
    """Counts events; called from many threads."""

    def stream_ended(
        self, account: str, reason: StreamEnd, workflow_id: str, seconds: float | None = None
    ) -> None:
        """A stream has ended after this time; None: it could not be opened."""

    def snapshot_read(self, account: str, result: SnapshotResult) -> None:
        """A stream has delivered an event."""

    def page_read(self, account: str) -> None:
        """A page of the list was read."""

    def rows_malformed(self, account: str, count: int) -> None:
        """This many rows of a page could not be read completely."""

    def list_completed(self, account: str, wall: float) -> None:
        """A pass over the list that began at this Unix time is complete."""
