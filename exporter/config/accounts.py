"""The `accounts` of the file: which service to ask, how often, and for which workflows."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from exporter.config.addresses import DEFAULT_BASE_URL, BaseUrl, address_of
from exporter.config.bounds import Number, WholeNumber
from exporter.config.durations import Duration
from exporter.config.errors import invalid
from exporter.config.files import Glob, TokenFile
from exporter.config.section import Broken, Section, absent_by_default
from exporter.config.tokens import TokenSource
from exporter.config.workflow_ids import WorkflowId

MOST_STREAMS: Final = 10_000
"""The largest number of streams for which one process was tested."""

DEFAULT_MOST_OPEN: Final = 20_000
"""The default limit of open workflows of an account."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NOT_GIVEN: Final = TokenSource()


def _tag(tag: str) -> str:
    if not tag.strip():
        raise invalid("is empty", "Write a tag, or take the entry out.")
    return tag.strip()


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise invalid(
            "is not a valid name",
            "Use 1 to 63 letters (A-Z), digits, `_`, `.` and `-`, a letter or a digit first.",
        )
    return name


class RateLimit(Section):
    """The service's request limit, which holds for an address, and the share of it that we take.

    The service documents 40 requests per 10 s and address, and a cooldown of 10 s past it.
    """

    requests: Annotated[int, WholeNumber(1, 100_000)] = Field(
        default=40,
        description="Requests that the service allows within `per`, to everything that shares the "
        "address.",
        examples=[40],
    )
    per: Annotated[float, Duration("1s", "1h")] = Field(
        default=10.0,
        description="Length of the sliding window in which `requests` are counted.",
        examples=["10s"],
        json_schema_extra={"default": "10s"},
    )
    cooldown: Annotated[float, Duration("0s", "1h")] = Field(
        default=10.0,
        description="How long nothing is asked after the service refused with 429, where it does "
        "not say itself how long.",
        examples=["10s"],
        json_schema_extra={"default": "10s"},
    )
    reserve: Annotated[float, Number(below=1)] = Field(
        default=0.25,
        description="Share of `requests`, from 0 to below 1, that is left to other programs on the "
        "same address, such as your own application.",
        examples=[0.25],
        validate_default=True,
    )

    @field_validator("reserve")
    @classmethod
    def _leaves_a_request(cls, reserve: float, info: ValidationInfo) -> float:
        requests = info.data.get("requests")
        # 10 x (1 - 0.9) is 0.9999999999999998 in floating point, but 1 is meant.
        if requests is not None and requests * (1 - reserve) + 1e-9 < 1:
            raise invalid(
                "leaves less than one request",
                "Lower `reserve`, or raise `requests` if the service allows more.",
            )
        return reserve


class Listing(Section):
    """How an account's list of workflows is read, by which the exporter finds them itself."""

    interval: Annotated[float, Duration("1s", "1h")] = Field(
        default=5.0,
        description="Time from one reading of the list to the next. Each costs a request or more.",
        examples=["5s"],
        json_schema_extra={"default": "5s"},
    )
    lookback: Annotated[float, Duration("1m", "31d")] = Field(
        default=86_400.0,
        description="How far back in the list, by creation, workflows are looked for. It is also "
        "the longest time that the exporter may be down without missing an outcome.",
        examples=["24h"],
        json_schema_extra={"default": "24h"},
    )
    tags: tuple[Annotated[str, AfterValidator(_tag)], ...] = Field(
        default=(),
        description="Only workflows with all of these tags are followed. Empty: every workflow.",
        examples=[["production"]],
    )
    reconcile: bool = Field(
        default=True,
        description="Whether the service's own totals by status are compared with what was "
        "counted, every two minutes and in what the rate limit has to spare, and what was missed "
        "is looked for. Not done where `tags` leave workflows out.",
        examples=[False],
    )

    @field_validator("lookback")
    @classmethod
    def _reaches_past_interval(cls, lookback: float, info: ValidationInfo) -> float:
        interval = info.data.get("interval")
        if interval is not None and lookback <= interval:
            raise invalid(
                "is not longer than `interval`",
                "Raise `lookback`, or lower `interval`: workflows would slip through between.",
            )
        return lookback


class Push(Section):
    """Who may send ids of workflows to the exporter, with `POST /api/v1/workflows`."""

    token_file: TokenFile = Field(
        description="File with the token that a sender must give as `Authorization: Bearer`. It is "
        "not the service's token. It is read again when it changes.",
        examples=["/run/secrets/push"],
    )

    @property
    def token(self) -> TokenSource:
        """The source of the token that senders must use."""
        return TokenSource.file(self.token_file)


class Runners(Section):
    """How the account's runners are counted, by which "nothing starts" finds its reason."""

    interval: Annotated[float, Duration("10s", "1h")] = Field(
        default=60.0,
        description="Time from one reading of the runners to the next. Each costs a request or "
        "more, taken after all that follows workflows; where that uses all of the rate limit, one "
        "every 10 s at most is theirs.",
        examples=["1m"],
        json_schema_extra={"default": "1m"},
    )
    by_tag: bool = Field(
        default=False,
        description="Whether runners are also counted for each of their tags.",
        examples=[True],
    )
    tags: Annotated[int, WholeNumber(1, 1000)] = Field(
        default=50,
        description="Distinct tags shown with `by_tag`; others are `other`.",
        examples=[50],
    )


WAYS_IN: Final = ("listing", "workflows", "workflow_files", "push")
"""The keys that say which workflows are followed: an account must have at least one of them."""


def alternatives(words: Iterable[str]) -> str:
    """Join words: `a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}"


WAYS_IN_HINT: Final = (
    "Add `listing: {}` to follow the whole account, or "
    f"{alternatives(f'`{way}`' for way in WAYS_IN if way != 'listing')}."
)
"""What an account without any of them lacks, for the exporter and for the chart."""


class Account(Section):
    """One account at the service: where its workflows are asked for, and which are followed.

    It takes exactly one of `token_file` and `token`, and at least one of `listing`, `workflows`,
    `workflow_files` and `push`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["token"]}, {"required": ["token_file"]}],
            "anyOf": [{"required": [way]} for way in WAYS_IN],
        }
    )
    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(Runners.model_fields, "runners"),
        **dict.fromkeys(RateLimit.model_fields, "rate_limit"),
        **dict.fromkeys(Listing.model_fields, "listing"),
    }

    name: Annotated[str, AfterValidator(_name)] = Field(
        description="Name of the account in the `account` label, of your choosing. Changing it "
        "starts new series.",
        examples=["studio"],
        json_schema_extra={"pattern": f"^{_NAME.pattern}$"},
    )
    base_url: BaseUrl = Field(
        default=DEFAULT_BASE_URL,
        description="Address of the service, without user, password or query. Plain HTTP is meant "
        "for this machine.",
        examples=[DEFAULT_BASE_URL],
    )
    token_file: TokenFile | None = Field(
        default=None,
        description="File with the API token from the service's dashboard. It is read again when "
        "it changes, and when the service refuses the token.",
        examples=["/run/secrets/comfycontrol"],
        json_schema_extra=absent_by_default,
    )
    token: TokenSource = Field(
        default=_NOT_GIVEN,
        description="The API token itself, best by way of a variable. White space around it is "
        "taken off.",
        examples=["${COMFYCONTROL_TOKEN}"],
        validate_default=True,
        json_schema_extra=absent_by_default,
    )
    rate_limit: RateLimit = Field(
        default_factory=RateLimit,
        description="The service's request limit. Accounts at the same address share one limit.",
        examples=[{"requests": 40, "per": "10s", "cooldown": "10s", "reserve": 0.25}],
    )
    max_streams: Annotated[
        int,
        WholeNumber(
            1,
            MOST_STREAMS,
            "One process holds no more in time. The list watches the others, and none is lost.",
        ),
    ] = Field(
        default=500,
        description="Most streams that are open at once for this account, of several egress "
        "addresses at each, and each about 25 KiB of memory, 55 over TLS, and a file descriptor. "
        "Workflows beyond are watched by listing.",
        examples=[500],
    )
    max_open_workflows: Annotated[
        int,
        WholeNumber(
            1,
            200_000,
            "Each takes about 2 KiB of memory. Those beyond are followed once there is room.",
        ),
    ] = Field(
        default=DEFAULT_MOST_OPEN,
        description="Most workflows of this account that are open at once in the exporter, each "
        "about 2 KiB of memory. Those beyond are followed once there is room; their "
        "outcomes count all the same.",
        examples=[20_000],
    )
    listing: Listing | None = Field(
        default=None,
        description="Reads the account's list of workflows. Absent: the account is not listed; "
        "`{}`: listed with the defaults.",
        examples=[{"interval": "5s", "lookback": "24h"}],
        json_schema_extra=absent_by_default,
    )
    workflows: tuple[WorkflowId, ...] = Field(
        default=(),
        description="Ids of workflows to follow. One that is there twice counts once.",
        examples=[["a1b2c3d4-e5f6-7890-abcd-ef1234567890"]],
    )
    workflow_files: tuple[Glob, ...] = Field(
        default=(),
        description="YAML files that are lists of ids, watched for change. `*`, `?` and `**` match "
        "as in a shell; relative paths start from the folder of this file.",
        examples=[["/etc/comfycontrol/*.yml"]],
    )
    push: Push | None = Field(
        default=None,
        description="Lets other programs send ids to `/api/v1/workflows`. Absent: nobody can.",
        examples=[{"token_file": "/run/secrets/push"}],
        json_schema_extra=absent_by_default,
    )
    runners: Runners | None = Field(
        default=None,
        description="Counts the account's runners. Absent: they are not asked for; `{}`: counted "
        "with the defaults.",
        examples=[{"interval": "1m"}],
        json_schema_extra=absent_by_default,
    )

    @property
    def address(self) -> str:
        """The address to which the request budget belongs: see `address_of`."""
        return address_of(self.base_url)

    @field_validator("token")
    @classmethod
    def _exactly_one(cls, token: TokenSource, info: ValidationInfo) -> TokenSource:
        if "token_file" not in info.data:
            # The key is present, and its own error is reported.
            return token
        path = info.data["token_file"]
        if path is None:
            if token is _NOT_GIVEN:
                raise invalid(
                    "is missing, and so is `token_file`",
                    "Add `token: ${COMFYCONTROL_TOKEN}` or "
                    "`token_file: /run/secrets/comfycontrol`.",
                )
            return token
        # A model that is validated again has both, and they are equal.
        if token is not _NOT_GIVEN and token != TokenSource.file(path):
            raise invalid("is given along with `token_file`", "Keep one of the two.")
        return TokenSource.file(path)

    @field_validator("workflows")
    @classmethod
    def _each_once(cls, workflows: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(workflows))

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """An account must say in at least one way which workflows are followed."""
        if all(given.get(way) in (None, [], ()) for way in WAYS_IN):
            yield Broken((), invalid("has no workflows to follow", WAYS_IN_HINT))
