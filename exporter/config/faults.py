"""Errors of a configuration, with hints how to fix them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from exporter.plurals import counted

FAULT: str = "fault"
"""The type of every pydantic error that this package raises: its context is ready to be shown."""

# Names of keys and variables come from the user, and a token pasted into the wrong place is read as
# one. A name is therefore shown only when it looks like a name: tokens are long or full of digits.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_MOST_DIGITS = 4
MOST_TOLD: int = 100
"""Faults of one file that are written out; a file of something else has one on every line."""

_SERVICE_PREFIX = "cfc_"  # every token of the service begins with it


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and what fixes it.

    No field ever carries a value from the file or the environment: a secret in the wrong place
    stays unseen. The line says where to look.

    Attributes:
        key: Path of the key, such as `accounts[0].listing.interval`; empty for the file as a whole.
        reason: What is wrong, continuing the key as a sentence does.
        remedy: One or more sentences that say what to do.
        line: Line in the file, from 1; `None` where there is no file or no single line.
    """

    key: str
    reason: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        """The fault in one line."""
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.key or 'the file'} {self.reason}. {self.remedy}"


class ConfigError(Exception):
    """A configuration that cannot be used. Its text lists the faults, one to a line."""

    def __init__(self, faults: Iterable[Fault], source: str = "configuration") -> None:
        """Collect what is wrong.

        Args:
            faults: Everything that was found, in the order in which it is to be read.
            source: What was read, for the first line: the path of the file, or the environment.
        """
        self.faults: tuple[Fault, ...] = tuple(faults)
        # A path may hold bytes that are no text, which a terminal's encoder would choke on.
        self.source: str = source.encode("utf-8", "backslashreplace").decode("utf-8")
        count = counted(len(self.faults), "fault")
        lines = [f"  {fault}" for fault in self.faults[:MOST_TOLD]]
        if len(self.faults) > MOST_TOLD:
            lines.append(f"  … and {len(self.faults) - MOST_TOLD:,} more")
        super().__init__("\n".join([f"{self.source}: {count}", *lines]))


def fault(reason: str, remedy: str) -> PydanticCustomError:
    """A fault as an error that pydantic collects along with the others.

    Neither text may contain braces around a word, nor a value from the input.
    """
    return PydanticCustomError(FAULT, "{reason}. {remedy}", {"reason": reason, "remedy": remedy})


def shown(name: str) -> str | None:
    """The name of a key or a variable if it may be shown, or `None` if it could be a secret."""
    if not _NAME.fullmatch(name) or _SERVICE_PREFIX in name.lower():
        return None
    return name if sum(c.isdigit() for c in name) <= _MOST_DIGITS else None


def key_path(keys: Iterable[str | int]) -> str:
    """Write a path the way people do: `accounts[0].listing.interval`."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f"{'.' if text else ''}{shown(key) or '(not shown)'}"
    return text
