"""What a scrape and the pages show of all parts, at one moment."""

import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from exporter import __version__
from exporter.app import from_config
from exporter.app.accounts import FollowedAccounts
from exporter.app.budgets import Budgets
from exporter.app.dependencies import Dependencies
from exporter.app.lending import Lending
from exporter.following.stream_pool import shared_out
from exporter.history.history import History
from exporter.history.live import AccountNow, LiveViews, Sources
from exporter.ledger.shared import Shared
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.metrics.exposition import AsAsked
from exporter.metrics.reading import BuildReading, ConfigReading, Reading
from exporter.revision import revision


class Readings:
    """Reads the parts; changes nothing.

    Args:
        accounts: the accounts that are followed.
        budgets: the request budgets.
        around: what all accounts use together.
        shared: the ledger that replicas share; None: there are no replicas.
        lending: has the streams of other replicas' accounts; None: there are no replicas.
        config: returns how the last reload ended.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it reads
        self,
        accounts: FollowedAccounts,
        budgets: Budgets,
        around: Dependencies,
        shared: Shared | None,
        lending: Lending | None,
        config: Callable[[], ConfigReading],
    ) -> None:
        self._accounts = accounts
        self._budgets = budgets
        self._around = around
        self._shared = shared
        self._lending = lending
        self._config = config
        self._build: Final = BuildReading(
            version=__version__, revision=revision(), python_version=platform.python_version()
        )

    def read(self) -> Reading:
        """Everything that a scrape shows."""
        config, followed = self._accounts.config, self._accounts.followed
        addresses = {account.address for account in config.accounts}
        # Read before the ledger, which may wait for its disk: series that are announced during that
        # wait are not shown to scrapes that came before.
        requests = self._around.instruments.requests()
        ledger = self._around.ledger.snapshot()
        # An account whose lease has expired is not shown: another replica may show it.
        shown = {
            name: account
            for name, account in followed.items()
            if self._shared is None or name in ledger.accounts
        }
        borrowed = {} if self._lending is None else self._lending.streams()
        return Reading(
            at=self._around.now(),
            ledger=ledger,
            requests=requests,
            streams=borrowed | {name: account.streams for name, account in shown.items()},
            accounts={name: account.reading() for name, account in shown.items()},
            replicas=None if self._shared is None else self._shared.reading(),
            budgets=tuple(
                reading
                for address, reading in self._budgets.readings().items()
                if address in addresses
            ),
            config=self._config(),
            build=self._build,
            per_workflow_series=config.metrics.per_workflow_series,
            label_caps=from_config.caps(config),
            streams_held_back={
                "descriptors": self._held_back(ledger),
                "threads": sum(account.without_thread for account in followed.values()),
            },
        )

    def _held_back(self, ledger: LedgerSnapshot) -> int:
        """How many more streams the accounts would have with more descriptors."""
        most, config = self._around.pool.most, self._accounts.config
        if most is None:
            return 0
        open_now = Counter(workflow.account for workflow in ledger.open_workflows)
        wanted = {
            account.name: min(open_now[account.name], from_config.capacity(account, config).full)
            for account in config.accounts
        }
        return sum(wanted.values()) - sum(shared_out(most, wanted).values())

    def asked(self) -> AsAsked:
        """Return a function that limits a later reading to the series that are announced now.

        So a scrape that has to wait still shows only what it would have shown at once.
        """
        requests = self._around.instruments.announced()
        ledger = self._around.ledger.announced()

        def as_asked(reading: Reading) -> Reading:
            counted, kept = reading.requests, reading.ledger
            return replace(
                reading,
                requests=replace(counted, announced=min(counted.announced, requests)),
                ledger=replace(kept, announced=min(kept.announced, ledger)),
            )

        return as_asked

    def views(self, history: History) -> LiveViews:
        """What the pages, the JSON interface and `status` read."""
        sources = Sources(
            now=self._around.now,
            accounts=self._accounts_now,
            elsewhere=self._accounts.elsewhere,
            budgets=lambda: self._budgets.readings().values(),
            config=self._config,
            version=self._build.version,
            revision=self._build.revision,
        )
        return LiveViews(self._around.ledger, history, sources)

    def _accounts_now(self) -> dict[str, AccountNow]:
        config, followed = self._accounts.config, self._accounts.followed
        elsewhere = self._accounts.elsewhere()
        configured = {account.name: account for account in config.accounts}
        return {
            name: AccountNow(
                reading=account.reading(),
                plan=account.plan(),
                last_error=account.last_error(),
                address=configured[name].address,
                limit=configured[name].rate_limit.requests,
                share=from_config.limit(configured[name].rate_limit).share,
                period=configured[name].rate_limit.per,
            )
            for name, account in followed.items()
            if name in configured and name not in elsewhere  # otherwise a reload is removing it
        }
