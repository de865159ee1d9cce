"""The address from which requests are sent, as the service's limit sees it."""

import re
from ipaddress import ip_address
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from exporter.config.errors import invalid
from exporter.config.section import Section, absent_by_default

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise invalid(
            "is no name",
            "Write up to 63 letters, digits, `.`, `_`, `:` and `-`, such as `nat-a` or `10.0.0.5`.",
        )
    return name


def _of_a_machine(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        raise invalid(
            "is no IP address",
            "Write one that this machine has, such as `10.0.0.5`; a name of the address that the "
            "service sees belongs to `address`.",
        ) from None
    if address.is_unspecified or address.is_multicast:
        raise invalid(
            "is no address to ask from",
            "Write one that this machine has, such as `10.0.0.5`, or leave it out for the one that "
            "the system chooses.",
        )
    return str(address)


class Egress(Section):
    """From where the service is asked."""

    address: Annotated[str, AfterValidator(_named)] | None = Field(
        default=None,
        description="Name of the address that the service sees, such as that of a NAT. Replicas "
        "with the same share one request budget. Absent: so do all replicas that name none.",
        examples=["nat-a"],
        json_schema_extra=absent_by_default,
    )
    bind: Annotated[str, AfterValidator(_of_a_machine)] | None = Field(
        default=None,
        description="Local IP address to ask from, on a machine that has several. Absent: the one "
        "that the system chooses. Replicas that the service sees at different addresses also need "
        "an `address` each.",
        examples=["10.0.0.5"],
        json_schema_extra=absent_by_default,
    )
