"""What all accounts use together, and one account's way to the service."""

from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.budget.budget import RequestBudget
from exporter.comfycontrol import Client, RequestRecord, Timeouts
from exporter.config import Account
from exporter.config.models import MOST_STREAMS
from exporter.config.token_shapes import shape_of
from exporter.following.access import AccountAccess
from exporter.following.credentials import Credentials
from exporter.following.loop import ServiceLoop
from exporter.following.reconciling import Pace
from exporter.following.stream_pool import StreamPool
from exporter.following.tempo import Tempo
from exporter.following.threads import REQUESTS_AT_ONCE, CallThreads
from exporter.interfaces.observations import Moment
from exporter.ledger.ledger import Ledger
from exporter.metrics.instruments import Instruments
from exporter.retrying import Backoff


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What all accounts use together."""

    ledger: Ledger
    instruments: Instruments
    now: Callable[[], Moment]
    jitter: Callable[[], float]
    """Returns random numbers from 0 to 1, for backoffs."""
    timeouts: Timeouts | None
    loop: ServiceLoop
    reconciling: Pace | None
    """How often the service's totals are compared with the ledger's; None: never."""
    bind: str | None = None
    """The local IP address for requests; None: the system chooses one."""
    pool: StreamPool = field(default_factory=lambda: StreamPool(None))
    """The streams for which there are descriptors."""
    tempo: Tempo = field(default_factory=Tempo)

    def backoff(self) -> Backoff:
        """Create a backoff for one more part."""
        return Backoff(self.jitter)


def way_to_service(
    config: Account, budget: RequestBudget, around: Dependencies
) -> tuple[Credentials, Client, AccountAccess]:
    """Create an account's token, client and access to the service.

    Raises:
        TokenUnreadable: its token cannot be read.
    """
    credentials = Credentials(config.name, config.token)

    def on_request(record: RequestRecord) -> None:
        around.instruments.request_made(config.name, record.endpoint, record.code, record.seconds)

    client = Client(
        config.base_url,
        credentials.token,
        # Not the configured number, because a reload may raise it.
        max_streams=MOST_STREAMS,
        on_request=on_request,
        timeouts=around.timeouts,
        bind=around.bind,
    )
    access = AccountAccess(
        config.name,
        client,
        budget,
        CallThreads(REQUESTS_AT_ONCE, f"requests {config.name}"),
        reload_token=credentials.reload,
        monotonic=lambda: around.now().monotonic,
        backoff=around.backoff(),
        token_shape=lambda: shape_of(credentials.token()),
    )
    return credentials, client, access
