"""Durations in the form `500ms`, `5s`, `2m`, `1h30m`, `24h`."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exporter.config.errors import invalid

# It also matches an empty text, so check the shortest length. Nine digits are 31 years in seconds:
# more than anybody needs, and within the limits of integer parsers.
# The pattern uses only what Go's regular expressions support, because Helm checks values with them.
PATTERN: str = r"^([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$"
_SHORTEST = 2
_PATTERN = re.compile(PATTERN)
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def parse_duration(text: str) -> float:
    """Parse a duration; return seconds.

    Units are `d`, `h`, `m`, `s` and `ms`, the larger first, each once, with whole numbers.

    Raises:
        ValueError: The text is not a duration. The message does not contain it.
    """
    match = _PATTERN.match(text)
    # `$` also matches before a final newline, so the lengths are compared.
    if len(text) < _SHORTEST or match is None or match.end() != len(text):
        raise ValueError("not a duration")
    parts = zip(match.groups(), _MILLISECONDS.items(), strict=True)
    return sum(int(part[: -len(unit)]) * size for part, (unit, size) in parts if part) / 1000


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration; below a millisecond it is rounded."""
    rest = round(seconds * 1000)
    text = ""
    for unit, size in _MILLISECONDS.items():
        count, remainder = divmod(rest, size)
        # 24h is easier to read than 1d, and 25h than 1d1h; days are used from two whole days on.
        if count and not (unit == "d" and (count == 1 or remainder)):
            text += f"{count}{unit}"
            rest = remainder
    return text or "0s"


@dataclass(frozen=True, slots=True)
class Duration:
    """A pydantic annotation: a float of seconds that a file writes as a duration.

    Attributes:
        least: The shortest accepted duration, as text.
        most: The longest accepted duration, as text.

    In Python a plain number of seconds is accepted too.
    """

    least: str
    most: str

    @property
    def accepted(self) -> str:
        """What is accepted, for the reference page."""
        return f"duration, {self.least} to {self.most}"

    def _seconds(self, value: object, info: ValidationInfo) -> float:
        if isinstance(value, str):
            try:
                seconds = parse_duration(value.strip())
            except ValueError:
                seconds = None
        elif info.context is None and isinstance(value, int | float):
            seconds = float(value)
        else:
            seconds = None
        if seconds is None:
            raise invalid(
                "is not a duration",
                "Write whole numbers with units, the larger first, as in `500ms`, `5s` or `1h30m`.",
            )
        # Written so that a NaN from Python is refused.
        if not parse_duration(self.least) <= seconds <= parse_duration(self.most):
            raise invalid(
                f"must lie between {self.least} and {self.most}",
                f"Write a duration from `{self.least}` to `{self.most}`.",
            )
        return seconds

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by our own rules; serialise to JSON in the form of the file."""
        del source, handler
        return core_schema.with_info_plain_validator_function(
            self._seconds,
            serialization=core_schema.plain_serializer_function_ser_schema(
                format_duration, when_used="json", return_schema=core_schema.str_schema()
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A string with the pattern of a duration; a schema cannot express the bounds."""
        del schema, handler
        return {"type": "string", "minLength": _SHORTEST, "pattern": PATTERN}
