"""Errors of a configuration, with hints how to fix them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from exporter.plurals import counted

INVALID: str = "invalid"
"""The type of all pydantic errors that this package raises: their context may be shown."""

# Names of keys and variables come from the user, and a token in the wrong place is read as a name.
# So a name is shown only if it looks like one: tokens are long or have many digits.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_MOST_DIGITS = 4
MOST_SHOWN: int = 100
"""How many errors of one file are shown: a file of another kind has one in every line."""

_SERVICE_PREFIX = "cfc_"  # every token of the service begins with it


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error, and how to fix it.

    No field ever contains a value from the file or the environment, because that could be a secret
    in the wrong place. The line shows where it is.

    Attributes:
        key: Path of the key, such as `accounts[0].listing.interval`; empty for the file as a whole.
        reason: The error, as the predicate of a sentence that begins with the key.
        hint: How to fix it, in full sentences.
        line: Line in the file, from 1; `None` where there is no file or no single line.
    """

    key: str
    reason: str
    hint: str
    line: int | None = None

    def __str__(self) -> str:
        """The error as one line."""
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.key or 'the file'} {self.reason}. {self.hint}"


class ConfigError(Exception):
    """A configuration cannot be used. The text lists the errors, one per line."""

    def __init__(self, errors: Iterable[ErrorEntry], source: str = "configuration") -> None:
        """Create it from all errors.

        Args:
            errors: All errors, in the order in which they are shown.
            source: What was read, for the first line: the path of the file, or the environment.
        """
        self.errors: tuple[ErrorEntry, ...] = tuple(errors)
        # A path may contain bytes that are not text, which cannot be written to a terminal.
        self.source: str = source.encode("utf-8", "backslashreplace").decode("utf-8")
        count = counted(len(self.errors), "error")
        lines = [f"  {entry}" for entry in self.errors[:MOST_SHOWN]]
        if len(self.errors) > MOST_SHOWN:
            lines.append(f"  … and {len(self.errors) - MOST_SHOWN:,} more")
        super().__init__("\n".join([f"{self.source}: {count}", *lines]))


def invalid(reason: str, hint: str) -> PydanticCustomError:
    """An error in a form that pydantic collects with the others.

    Neither text may contain braces around a word, nor a value from the input.
    """
    return PydanticCustomError(INVALID, "{reason}. {hint}", {"reason": reason, "hint": hint})


def in_order(errors: Iterable[ErrorEntry]) -> tuple[ErrorEntry, ...]:
    """The errors in the order of the file, each once."""
    return tuple(sorted(dict.fromkeys(errors), key=lambda entry: entry.line or 0))


def shown(name: str) -> str | None:
    """The name of a key or a variable if it may be shown, or `None` if it could be a secret."""
    if not _NAME.fullmatch(name) or _SERVICE_PREFIX in name.lower():
        return None
    return name if sum(c.isdigit() for c in name) <= _MOST_DIGITS else None


def key_path(keys: Iterable[str | int]) -> str:
    """Write a path as text: `accounts[0].listing.interval`."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f"{'.' if text else ''}{shown(key) or '(not shown)'}"
    return text
