"""Formats numbers, time spans, stamps and untrusted strings for a page."""

import unicodedata
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

LONGEST: Final = 120
"""How many characters of an untrusted string a page shows."""

_MOST_MARKS: Final = 3
"""How many combining marks a character may have: more would cover the lines above and below."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_HIDDEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})

_UNSENT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})

_LAST_STAMP: Final = 253_402_300_799.0
"""The end of the year 9999 in Unix seconds."""


def span(seconds: float | None) -> str:
    """A duration in at most two units: `45 s`, `3 min 20 s`, `2 h 5 min`; a dash for None."""
    if seconds is None or seconds != seconds:  # noqa: PLR0124 - not a number
        return "\N{EN DASH}"
    # A clock may have been set back meanwhile.
    rest = round(min(max(0.0, seconds), _LAST_STAMP))
    parts: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}" if count or unit == "s" else "")
        if len(parts) == 2:
            break
    if len(parts) == 2 and parts[1] == "0 s":
        del parts[1]
    # A number and its unit stay on one line.
    return " ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts if part)


def stamp(wall: float) -> str:
    """A time in machine-readable form, in UTC."""
    return _moment(wall).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(wall: float, now: float) -> str:
    """A time as readable text: the time of day, with the date if it is not today; in UTC."""
    moment, today = _moment(wall), _moment(now)
    same_day = moment.date() == today.date()
    return moment.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")


def share(part: float) -> str:
    """A share from 0 to 1 as a percentage; `0 %` and `100 %` only if exact."""
    percent = 100 * part
    if 0 < percent < 0.1:
        return "<\N{NO-BREAK SPACE}0.1\N{NO-BREAK SPACE}%"
    if 99.9 < percent < 100:
        return ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%"
    digits = 0 if percent >= 10 or percent == round(percent) else 1
    if digits == 0 and percent < 100 and round(percent) == 100:
        digits = 1
    return f"{percent:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """A number with its thousands separated."""
    text = f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.1f}"
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}")


def foreign(text: str, longest: int = LONGEST) -> str:
    """A string from the service or a file, made safe to display.

    Invisible characters, and those that change the writing direction, become a replacement
    character. Too many combining marks are removed, and long strings are cut. The templates escape
    and isolate the result.
    """
    shown: list[str] = []
    marks = 0
    for character in text[: longest * 8]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            continue
        if len(shown) >= longest:
            shown[-1:] = "…"
            break
        hidden = unicodedata.category(character) in _HIDDEN
        shown.append("\N{REPLACEMENT CHARACTER}" if hidden else character)
    return "".join(shown)


def path_part(text: str) -> str | None:
    """A string as one part of a relative address; None: it cannot be one.

    Browsers treat dots as parent folders, even if they are escaped. Control characters and lone
    surrogates would come back changed.
    """
    odd = any(unicodedata.category(character) in _UNSENT for character in text)
    return None if odd or text in ("", ".", "..") else quote(text, safe="")


def count(value: int, one: str, many: str = "") -> str:
    """`1 problem`, `2 problems`."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def _moment(wall: float) -> datetime:
    inside = min(max(0.0, wall), _LAST_STAMP) if wall == wall else 0.0  # noqa: PLR0124
    return datetime.fromtimestamp(inside, UTC)
