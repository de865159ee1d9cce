"""The service's clock, taken from its answers: from their Date header or their stamps."""

from exporter.comfycontrol import WorkflowPage
from exporter.following.list_stamps import ODD_STAMPS, latest_believed, newest_stamps
from exporter.interfaces.observations import Moment


class ServiceClock:
    """The service's clock, which continues from the times in its answers.

    Our own clock is only used to reject absurd stamps.
    """

    def __init__(self) -> None:
        # Offsets from the monotonic clock to the time that the service gave, and to a time that has
        # certainly passed.
        self._told: float | None = None
        self._passed: float | None = None

    def note(self, shown: WorkflowPage, at: Moment) -> None:
        """Learn the time from a page."""
        if shown.service_time is not None:
            self._told = shown.service_time - at.monotonic
        newest = newest_stamps(shown.workflows, self.latest(at))[: ODD_STAMPS + 1]
        if newest:
            passed = newest[-1] - at.monotonic
            self._passed = passed if self._passed is None else max(self._passed, passed)

    def service_time(self, at: Moment) -> float | None:
        """The time now (Unix seconds), if the service gives it; to the second."""
        return None if self._told is None else self._told + at.monotonic

    def at_least(self, at: Moment) -> float | None:
        """A time (Unix seconds) that is certainly past; None if nothing shows one."""
        service_time = self.service_time(at)
        if service_time is not None:
            return service_time
        return None if self._passed is None else self._passed + at.monotonic

    def latest(self, at: Moment) -> float:
        """The latest stamp that is believed now (Unix seconds)."""
        return latest_believed(self.service_time(at), at.wall)
