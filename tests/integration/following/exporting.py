"""An exporter that follows a simulator, both within the test's process."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.app.accounts import STOP_SECONDS
from exporter.app.app import App, clocks
from exporter.app.maintenance import EXPIRY_SECONDS
from exporter.comfycontrol import Timeouts
from exporter.config import Account, Config
from exporter.config.accounts import Listing
from exporter.following.reconciling import Pace
from exporter.following.tempo import Tempo
from exporter.interfaces.observations import Moment
from exporter.simulator import Simulator, parse_scenario

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds that a busy machine may need for something that usually takes a moment."""

NO_LIMIT = {"requests": 100_000, "per": "1s", "reserve": 0.5}
"""A budget without waits, even after a start without records of earlier requests."""

LISTED: dict[str, Any] = {"listing": {"interval": "1s"}}
"""A listing that is hurried to one reading in `OFTEN` seconds."""

OFTEN = 0.1
"""Seconds between two readings of the list, instead of the shortest configurable interval, which is
too long for tests."""

LEAST_RUNNERS_INTERVAL = 10.0
"""The shortest configurable interval of runners in seconds; it is hurried to `OFTEN` too."""

QUIET = "limit: {enabled: false}"
"""A scenario in which nothing happens except what the test does."""


def never_again() -> float:
    """A jitter that makes each backoff longer than the test, so what continues did not back off."""
    return 1e6


def soon() -> float:
    """A jitter that makes every backoff short."""
    return 0.02


def hurried(factor: float) -> Callable[[], Moment]:
    """Clocks with a faster monotonic clock."""
    began = time.monotonic()

    def now() -> Moment:
        moment = clocks()
        return Moment(moment.wall, began + (moment.monotonic - began) * factor)

    return now


class Metrics:
    """The parsed result of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def __call__(self, name: str, /, **labels: str) -> float | None:
        """The value of one series, named without its prefix; None: there is none."""
        return self._samples.get((f"comfycontrol_{name}", frozenset(labels.items())))

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of all series that have these labels."""
        wanted = set(labels.items())
        return sum(
            value
            for (known, its_labels), value in self._samples.items()
            if known == f"comfycontrol_{name}" and wanted <= its_labels
        )

    def series(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Every series of a metric that is not 0."""
        return {
            labels: value
            for (known, labels), value in self._samples.items()
            if known == f"comfycontrol_{name}" and value
        }


class Exporter:
    """A running exporter and its metrics."""

    def __init__(self, app: App) -> None:
        self.app = app

    def scrape(self) -> Metrics:
        """Scrape it once."""
        return Metrics(self.app.page.render("text/plain").body.decode())

    def until(self, holds: Callable[[Metrics], object], seconds: float = PATIENCE) -> Metrics:
        """Scrape until the condition holds."""
        deadline = time.monotonic() + seconds
        while True:
            metrics = self.scrape()
            if holds(metrics):
                return metrics
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} s")
            time.sleep(0.03)

    def until_listed(self) -> Metrics:
        """Scrape until the list was read completely: outcomes from then on are counted."""
        return self.until(
            lambda m: m("listing_last_success_timestamp_seconds", account="studio") is not None
        )

    def until_finished(self, count: int, seconds: float = PATIENCE) -> Metrics:
        """Scrape until that many workflows were counted."""
        return self.until(lambda m: m.total("workflows_finished_total") >= count, seconds)

    def until_ended(self, reason: str, count: int = 1) -> Metrics:
        """Scrape until that many streams have ended for this reason."""
        return self.until(lambda m: m.total("stream_ends_total", reason=reason) >= count)

    def until_streams_ended(self, expected: Mapping[str, int]) -> None:
        """Scrape until exactly these streams have ended, which is a moment after their outcomes."""
        count = sum(expected.values())
        self.until(lambda m: m.total("stream_ends_total") >= count)
        assert self.streams_ended() == expected

    def streams_ended(self) -> dict[str, int]:
        """How many streams have ended, by reason, without zeros."""
        found = self.scrape().series("stream_ends_total")
        return {dict(labels)["reason"]: int(value) for labels, value in found.items()}

    def reload(self, *accounts: Mapping[str, Any], **metrics: Any) -> None:
        """Apply a configuration with these accounts."""
        self.app.reload(
            _listed_often(Config.model_validate({"accounts": list(accounts), "metrics": metrics}))
        )

    def watched_by(self, part: type) -> Any:
        """One part of the first account, such as its files."""
        parts = next(iter(self.app._accounts.followed.values()))._parts()
        return next(each for each in parts if isinstance(each, part))

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the exporter's loop; return what comes of it."""
        loop = self.app._loop._loop
        assert loop is not None
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)


class Bench:
    """Starts simulators and exporters, and stops them with the test."""

    def __init__(self) -> None:
        self._ends = ExitStack()

    def simulate(self, scenario: str = QUIET, *, speed: float = 100.0) -> Simulator:
        """Start a simulator; at the default speed a stream sends a snapshot every 20 ms."""
        return self._ends.enter_context(Simulator(parse_scenario(scenario), seed=1, speed=speed))

    def account(self, simulator: Simulator, name: str = "studio", **more: Any) -> dict[str, Any]:
        """The configuration of one account, without a limit and without ids."""
        return {
            "name": name,
            "token": simulator.tokens.get(name, "cfc_unknown"),
            "base_url": simulator.base_url,
            "rate_limit": NO_LIMIT,
            **more,
        }

    def export(
        self,
        *accounts: Mapping[str, Any],
        jitter: Callable[[], float] = soon,
        now: Callable[[], Moment] = clocks,
        timeouts: Timeouts | None = None,
        storage: Path | None = None,
        reconciling: Pace | None = None,
        fresh_services: bool = True,
        lookback: float | None = None,
        hold: float = 0,
        expiry: float = EXPIRY_SECONDS,
        tempo: Tempo = Tempo(),  # noqa: B008 - a constant
    ) -> Exporter:
        """Start an exporter; without storage its ledger is in memory.

        Unless a test is about these, it does not compare totals, and it assumes that the simulator
        got no requests before. `lookback` replaces the configured lookback, if the shortest
        configurable one is too long for a test.
        """
        config = _listed_often(Config.model_validate({"accounts": list(accounts)}))
        if lookback is not None:
            config = _looking_back(config, lookback)
        app = App(
            config,
            jitter=jitter,
            now=now,
            timeouts=timeouts,
            hold=hold,
            storage=storage,
            reconciling=reconciling,
            fresh_services=fresh_services,
            expiry=expiry,
            tempo=tempo,
        )
        app.start()
        # By a faster clock, even a moment is a long time.
        self._ends.callback(self._stop, app, STOP_SECONDS if now is clocks else 100 * STOP_SECONDS)
        return Exporter(app)

    def _stop(self, app: App, within: float) -> None:
        assert app.stop(within), "threads would not end in time"

    def close(self) -> None:
        """Stop everything, the last one first."""
        self._ends.close()


def _listed_often(config: Config) -> Config:
    config = _listed(config, lambda listing: {} if listing.interval > 1 else {"interval": OFTEN})
    return config.model_copy(update={"accounts": tuple(map(_runners_often, config.accounts))})


def _runners_often(account: Account) -> Account:
    if account.runners is None or account.runners.interval > LEAST_RUNNERS_INTERVAL:
        return account
    often = account.runners.model_copy(update={"interval": OFTEN})
    return account.model_copy(update={"runners": often})


def _looking_back(config: Config, lookback: float) -> Config:
    return _listed(config, lambda _: {"lookback": lookback})


def _listed(config: Config, change: Callable[[Listing], dict[str, float]]) -> Config:
    accounts = tuple(
        account
        if account.listing is None
        else account.model_copy(
            update={"listing": account.listing.model_copy(update=change(account.listing))}
        )
        for account in config.accounts
    )
    return config.model_copy(update={"accounts": accounts})
