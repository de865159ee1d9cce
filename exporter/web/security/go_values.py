"""Values as a Go program reads them from YAML: the meaning of a plain scalar depends on its key."""

import re
from typing import Final

MOST: Final = 2**63 - 1
"""The largest 64-bit integer of Go; durations are such integers, in nanoseconds."""

_TRUE: Final = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE: Final = frozenset(
    ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
)

_LONGEST: Final = 400
"""The largest length of a number in characters: longer numbers do not fit, and Python needs long to
parse them."""

_WHOLE: Final = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)"
    r"|(?P<d>0|[1-9][0-9]*))",
    re.ASCII,
)
_BASES: Final = {"x": 16, "b": 2, "o": 8, "d": 10}
_DECIMAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "\N{MICRO SIGN}s": 1_000,
    "\N{GREEK SMALL LETTER MU}s": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART: Final = re.compile(
    r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^0-9.]+)", re.ASCII
)


def boolean(text: str) -> bool | None:
    """The boolean for a YAML 1.1 word for true or false; None for anything else."""
    return True if text in _TRUE else False if text in _FALSE else None


def whole_number(text: str) -> int | None:
    """A whole number, also `0x1f`, `0o17`, `017`, `0b101`, `1_000` and `1e3`; 2.9 is cut to 2.

    None if it is not a number, or is greater than `MOST`.
    """
    if not text or text[0] not in "+-.0123456789":
        return None
    digits = text if text.startswith(".") else text.replace("_", "")
    if len(digits) > _LONGEST:
        return None
    number: int | None = None
    if found := _WHOLE.fullmatch(digits):
        base = next(base for name, base in _BASES.items() if found[name] is not None)
        written = next(found[name] for name in _BASES if found[name] is not None)
        number = int(written, base) * (-1 if found["sign"] == "-" else 1)
    elif _DECIMAL.fullmatch(digits):
        decimal = float(digits)
        number = int(decimal) if abs(decimal) <= MOST else None
    return number if number is not None and abs(number) <= MOST else None


def nanoseconds(text: str) -> int | None:
    """A duration such as `1.5s`, `100us`, `1h30m` or `-5s`; None if it is not one.

    Units may occur in any order and several times. Without a unit, only `0` is a duration.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or len(part[0]) > _LONGEST:
            return None
        whole, fraction = part["whole"], part["fraction"] or ""
        unit = _NANOSECONDS.get(part["unit"])
        if unit is None or not whole + fraction:
            return None
        total += int(whole or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = part.end()
    return sign * total if rest and total <= MOST else None
