"""Numbers with bounds, checked more strictly than pydantic does.

Pydantic accepts `true` for 1, and its messages repeat the input. These do neither. A text of digits
is accepted as a number, because `${VAR}` produces one.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exporter.config.errors import invalid

_WHOLE = re.compile(r"[0-9]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A pydantic annotation: an integer between two bounds, both included.

    Attributes:
        least: The smallest accepted value.
        most: The largest accepted value.
        past_most: Why larger values are refused and what to do instead, in full sentences.
    """

    least: int
    most: int
    past_most: str = ""

    @property
    def accepted(self) -> str:
        """What is accepted, for the reference page."""
        return f"whole number, {self.least:,} to {self.most:,}"

    def _check(self, value: object) -> int:
        number = value
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise invalid("is not a whole number", f"Write a {self.accepted}.")
        if number < self.least:
            raise invalid(f"must be at least {self.least:,}", f"Write a {self.accepted}.")
        if number > self.most:
            raise invalid(
                f"must be at most {self.most:,}", self.past_most or f"Write a {self.accepted}."
            )
        return number

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by our own rules alone."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """An integer with its bounds."""
        del schema, handler
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Number:
    """A pydantic annotation: a finite float of at least 0.

    Attributes:
        below: It must be less than this, if it is set.
    """

    below: float | None = None

    @property
    def accepted(self) -> str:
        """What is accepted, for the reference page."""
        return "number, at least 0" + ("" if self.below is None else f", below {self.below:g}")

    def _check(self, value: object) -> float:
        number = value
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            number = float(value)
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise invalid("is not a number", f"Write a {self.accepted}.")
        try:
            number = float(number)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise invalid("is not a finite number", f"Write a {self.accepted}.")
        if number < 0 or (self.below is not None and number >= self.below):
            bound = "at least 0" if self.below is None else f"at least 0 and below {self.below:g}"
            raise invalid(f"must be {bound}", f"Write a {self.accepted}.")
        return number

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by our own rules alone."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A number with its bounds."""
        del schema, handler
        bounds: JsonSchemaValue = {"type": "number", "minimum": 0}
        return bounds if self.below is None else {**bounds, "exclusiveMaximum": self.below}
