"""From where the service is asked, as its limit sees it."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from exporter.config.faults import fault
from exporter.config.section import Section, absent_by_default

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise fault(
            "is no name",
            "Write up to 63 letters, digits, `.`, `_`, `:` and `-`, such as `nat-a` or `10.0.0.5`.",
        )
    return name


class Egress(Section):
    """From where the service is asked. Only replicas that share a PostgreSQL need it."""

    address: Annotated[str, AfterValidator(_named)] | None = Field(
        default=None,
        description="Name of the address that the service sees, such as that of a NAT. Replicas "
        "with the same share one request budget. Absent: so do all replicas that name none.",
        examples=["nat-a"],
        json_schema_extra=absent_by_default,
    )
