"""What each part needs from the configuration, in its own terms. Pure."""

from collections.abc import Collection
from typing import Final

from exporter.budget.sliding_window import Limit
from exporter.config import Account, Config, RateLimit, TokenSource
from exporter.config.slices import compiled
from exporter.following.choosing import StreamCapacity
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.slicing import SliceRule
from exporter.ledger.totals import Buckets, LabelCaps

UNLISTED_LOOKBACK_SECONDS: Final = 86_400.0
"""Seconds that an open workflow may stay unseen if the account has no listing."""


def held_part(config: Config, held: Collection[str] | None) -> Config:
    """The configuration without the accounts that are not held; None: all are held."""
    if held is None:
        return config
    accounts = tuple(account for account in config.accounts if account.name in held)
    return config.model_copy(update={"accounts": accounts})


def terms(config: Config) -> dict[str, AccountTerms]:
    """The terms of the accounts, for the ledger."""
    return {
        account.name: AccountTerms(
            lookback=(
                UNLISTED_LOOKBACK_SECONDS if account.listing is None else account.listing.lookback
            ),
            listed=account.listing is not None,
            most_open=account.max_open_workflows,
        )
        for account in config.accounts
    }


def buckets(config: Config) -> Buckets:
    """The buckets of the histograms."""
    return Buckets(
        entry_queue_position=config.metrics.entry_queue_position_buckets,
        time_to_start=config.metrics.time_to_start_buckets,
        run_duration=config.metrics.run_duration_buckets,
    )


def caps(config: Config) -> LabelCaps:
    """The limits for labels whose values come from the service."""
    return LabelCaps(config.metrics.node_types, config.metrics.exception_types)


def slices(config: Config) -> tuple[SliceRule, ...]:
    """The slices, with compiled expressions."""
    return tuple(
        SliceRule(one.label, one.origin, compiled(one.match), one.values, one.default)
        for one in config.metrics.slices
    )


def push_tokens(config: Config) -> dict[str, TokenSource]:
    """The tokens of the accounts to which ids may be pushed."""
    return {a.name: a.push.token for a in config.accounts if a.push is not None}


def limits(config: Config) -> dict[str, Limit]:
    """The request limit of each service address."""
    return {account.address: limit(account.rate_limit) for account in config.accounts}


def limit(configured: RateLimit) -> Limit:
    """A request limit, for the budget."""
    return Limit(configured.requests, configured.per, configured.cooldown, configured.reserve)


def capacity(account: Account, config: Config) -> StreamCapacity:
    """How many streams an account may have beside the others."""
    return StreamCapacity(
        most=account.max_streams,
        limit=limit(account.rate_limit),
        listing_interval=None if account.listing is None else account.listing.interval,
        sharing=sum(other.address == account.address for other in config.accounts),
    )
