"""The ``Date`` header of answers."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Annotated

from pydantic import Field

from exporter.simulator.schema import StrictModel


class Dates(StrictModel):
    """Whether answers have a ``Date``, and how true it is."""

    told: bool = True
    fast_by: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Real seconds by which it is ahead; behind where negative."""

    def header(self) -> str | None:
        """The header's value now; None where answers have none."""
        return formatdate(time.time() + self.fast_by, usegmt=True) if self.told else None
