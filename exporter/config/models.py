"""The configuration as models, from which the reference page and the JSON schema are generated.

This module has the model of the whole file, and the rules that concern several sections.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field, ValidationError, field_validator

from exporter.config.accounts import MOST_STREAMS, Account, Listing, Push, RateLimit, Runners
from exporter.config.addresses import DEFAULT_BASE_URL, BaseUrl, address_of, sends_in_clear
from exporter.config.egress import Egress
from exporter.config.errors import ErrorEntry, invalid
from exporter.config.metrics import Metrics
from exporter.config.section import Broken, Section, example_of
from exporter.config.storage import Postgres, Storage
from exporter.config.token_shapes import shape_of
from exporter.config.tokens import TokenUnreadableError


class Config(Section):
    """The content of a configuration file."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(Account.model_fields, "accounts"),
        **dict.fromkeys(Metrics.model_fields, "metrics"),
        **dict.fromkeys(Storage.model_fields, "storage"),
    }

    accounts: tuple[Account, ...] = Field(
        description="The accounts to follow, at least one.",
        json_schema_extra={"minItems": 1},
        examples=[[{"name": "studio", "token": "${COMFYCONTROL_TOKEN}", "listing": {}}]],
    )
    metrics: Metrics = Field(
        default_factory=Metrics,
        description="How fine the metrics are.",
        examples=[{"per_workflow_series": 500}],
    )

    storage: Storage = Field(
        default_factory=Storage,
        description="Where the ledger is kept.",
        examples=[{"postgres": {"dsn_file": "/run/secrets/dsn"}}],
    )

    egress: Egress = Field(
        default_factory=Egress,
        description="The address from which the service is asked.",
        examples=[{"address": "nat-a"}],
    )

    @field_validator("accounts")
    @classmethod
    def _at_least_one(cls, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        if not accounts:
            example = example_of("accounts", cls.model_fields["accounts"])
            raise invalid("is empty", f"Write at least one, as in `{example}`.")
        return accounts

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """Names of accounts are unique, and accounts with one address have the same limit."""
        names: dict[str, int] = {}
        limits: dict[str, tuple[int, RateLimit]] = {}
        for index, account in enumerate(_entries(given.get("accounts"))):
            name = _peek(account, "name")
            if isinstance(name, str) and name:
                first = names.setdefault(name, index)
                if first != index:
                    yield Broken(
                        ("accounts", index, "name"),
                        invalid(
                            f"is also the name of accounts[{first}]",
                            "Give each account a name of its own.",
                        ),
                    )
            address, limit = _limit_of(account)
            if address is not None and limit is not None:
                other, known = limits.setdefault(address, (index, limit))
                if known != limit:
                    yield Broken(
                        ("accounts", index, "rate_limit"),
                        invalid(
                            f"differs from that of accounts[{other}], which has the same address",
                            "Write the same limit for both: the service counts by address, so they "
                            "share one budget.",
                        ),
                    )

    def warnings(self) -> tuple[ErrorEntry, ...]:
        """Settings that are allowed but rarely intended: for the log and for `check-config`."""
        found = [
            ErrorEntry(
                f"accounts[{index}].base_url",
                "sends the token over the network in clear",
                "Use https://.",
            )
            for index, account in enumerate(self.accounts)
            if sends_in_clear(account.base_url)
        ]
        found += [
            ErrorEntry(
                f"accounts[{index}].rate_limit",
                "allows more than the 40 requests in 10 s that the service documents",
                "Keep the defaults unless the service told you otherwise: past its limit it "
                "refuses everything for a while.",
            )
            for index, account in enumerate(self.accounts)
            if account.address == address_of(DEFAULT_BASE_URL)
            and account.rate_limit.requests / account.rate_limit.per > 40 / 10
        ]
        found += self._token_warnings()
        streams = sum(account.max_streams for account in self.accounts)
        if streams > MOST_STREAMS:
            found.append(
                ErrorEntry(
                    "accounts",
                    f"together allow {streams:,} streams in one process",
                    f"One process holds {MOST_STREAMS:,} in time: lower `max_streams`, or have "
                    "some of the accounts followed by another exporter.",
                )
            )
        return tuple(found)

    def _token_warnings(self) -> Iterator[ErrorEntry]:
        """Warn of texts that do not look like tokens, and of tokens that several accounts use."""
        first: dict[tuple[str, str], list[Account]] = {}
        for index, account in enumerate(self.accounts):
            try:
                token = account.token.read()
            except TokenUnreadableError:
                # It existed a moment ago. If it is gone, the code that needs it reports that.
                continue
            key = "token" if account.token_file is None else "token_file"
            shape = shape_of(token)
            if shape is not None:
                yield ErrorEntry(
                    f"accounts[{index}].{key}",
                    f"holds a token that {shape}",
                    "Give the token alone, as the service's dashboard shows it.",
                )
            others = first.setdefault((account.address, token), [])
            twice = next((other for other in others if _overlap(other, account)), None)
            if twice is not None:
                yield ErrorEntry(
                    f"accounts[{index}].{key}",
                    f"holds the same token for {account.name!r} as for {twice.name!r}: what both "
                    "see is counted twice",
                    "Keep one of the two, or give each the token of an account of its own.",
                )
            others.append(account)


def _overlap(one: Account, other: Account) -> bool:
    """Whether two accounts with one token see the same workflows."""
    if one.listing is None or other.listing is None:
        return True
    tags, others = set(one.listing.tags), set(other.listing.tags)
    return tags <= others or others <= tags


def _peek(entry: object, key: str) -> object:
    """A key of a section that may be raw data or already a model."""
    return entry.get(key) if isinstance(entry, Mapping) else getattr(entry, key, None)


def _entries(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _limit_of(account: object) -> tuple[str | None, RateLimit | None]:
    """The address and limit of an account that is still raw data, if both are valid."""
    if isinstance(account, Account):
        return account.address, account.rate_limit
    if not isinstance(account, Mapping):
        return None, None
    try:
        url = _Place(base_url=account.get("base_url", DEFAULT_BASE_URL)).base_url
        limit = RateLimit.model_validate(account.get("rate_limit", {}))
    except ValidationError:
        return None, None
    return address_of(url), limit


class _Place(Section):
    """A base URL, to check it without the rest of an account."""

    base_url: BaseUrl


__all__ = [
    "MOST_STREAMS",
    "Account",
    "Config",
    "Egress",
    "Listing",
    "Metrics",
    "Postgres",
    "Push",
    "RateLimit",
    "Runners",
    "Storage",
]
