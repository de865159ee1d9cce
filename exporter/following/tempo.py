"""How long the parts that follow an account wait: their defaults, which a test shortens."""

from dataclasses import dataclass

from exporter.following.collecting import CAUSE_SECONDS
from exporter.following.list_checks import LEAST_CHECK_SECONDS, SWEEP_SECONDS
from exporter.following.list_pages import LEAST_WAIT_SECONDS
from exporter.following.listing_pass import OVERLAP_SECONDS
from exporter.following.poller import ROUND_SECONDS
from exporter.following.supervisor import SETTLED_SECONDS, WITHOUT_THREADS_SECONDS


@dataclass(frozen=True, slots=True)
class Tempo:
    """Waiting times in seconds; each field is explained at its default."""

    poll: float = ROUND_SECONDS
    cause: float = CAUSE_SECONDS
    settled_stream: float = SETTLED_SECONDS
    without_threads: float = WITHOUT_THREADS_SECONDS
    open_check: float = LEAST_CHECK_SECONDS
    sweep: float = SWEEP_SECONDS
    list_retry: float = LEAST_WAIT_SECONDS
    list_overlap: float = OVERLAP_SECONDS
