"""Time stamps of the service: ISO 8601 text, or a number, in; seconds since the epoch out.

A number may be written as text.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from functools import lru_cache

# In the extended format, and in the basic one, which has no dashes and no colons.
_STAMP = re.compile(
    r"(?P<year>\d{4})(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)[Tt ]"
    r"(?P<hour>\d\d)(?P<colon>:?)(?P<minute>\d\d)(?P=colon)(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<offset_hour>\d\d):?(?P<offset_minute>\d\d)?)?",
    re.ASCII,
)

_PARTS = (
    *("year", "month", "day", "hour", "minute", "second", "fraction"),
    *("sign", "offset_hour", "offset_minute"),
)

# At most nanoseconds. A day and a time without a T between them are a number of our days in no
# unit, so they stay malformed.
_NUMBER = re.compile(r"[1-9]\d{0,18}(?:\.\d{1,18})?", re.ASCII)

# A stamp outside these years is a zero value or an error, never the time of a workflow.
_YEARS = range(2000, 2200)

_LONGEST_KEPT = 40
"""In characters: with nanoseconds and an offset a stamp has 35."""

_NANOSECONDS = 1_000_000_000
_EPOCH = dt.date(1970, 1, 1).toordinal()
_FIRST, _LAST = (
    (dt.date(year, 1, 1).toordinal() - _EPOCH) * 86400 for year in (_YEARS.start, _YEARS.stop)
)


def parse_stamp(text: str) -> float:
    """Read an ISO 8601 stamp, or a number that is written as text, as seconds since the epoch.

    Accepts the extended and the basic format, ``Z``, offsets, and fractions of any length (digits
    beyond nanoseconds are cut). A stamp without a zone is UTC, because the service's documents say
    that all its times are. The result is the float nearest to the stamp, so that milliseconds are
    never lost.

    Raises:
        ValueError: it is not a time, or its year is absurd. The message does not quote the text.
    """
    # The list shows mostly the same stamps each time that it is read.
    return _parse_kept(text) if len(text) <= _LONGEST_KEPT else _parse(text)


def _parse(text: str) -> float:
    match = _STAMP.fullmatch(text)
    if match is None:
        if _NUMBER.fullmatch(text) is None:
            raise ValueError("not an ISO 8601 time")
        return read_number(float(text) if "." in text else int(text))
    year, month, day, hour, minute, second, fraction, sign, offset_hour, offset_minute = (
        match.group(*_PARTS)
    )
    if int(year) not in _YEARS:
        raise ValueError("not a time of our days")
    try:
        days = dt.date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        raise ValueError("not a day of the calendar") from None
    seconds = _seconds(hour, minute, second) + days * 86400
    if sign is not None:
        offset = _seconds(offset_hour, offset_minute or "0", "0")
        seconds += offset if sign == "-" else -offset
    nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction else 0
    # One division of integers rounds once; adding a fraction to the seconds would round twice.
    return (seconds * _NANOSECONDS + nanoseconds) / _NANOSECONDS


_parse_kept = lru_cache(maxsize=2048)(_parse)
"""Remembers the stamps of some pages of the list, at most some 400 kB."""


def read_number(value: float) -> float:
    """Read a number as seconds since the epoch.

    Its size shows its unit: seconds, milliseconds, microseconds or nanoseconds.

    Raises:
        ValueError: it is a time of our days in none of them.
    """
    for units in (1, 1_000, 1_000_000, _NANOSECONDS):
        if _FIRST * units <= value < _LAST * units:
            return value / units
    raise ValueError("not a time of our days")


def _seconds(hour: str, minute: str, second: str) -> int:
    hours, minutes, seconds = int(hour), int(minute), int(second)
    # A minute can have a 61st second, the leap second.
    if hours > 23 or minutes > 59 or seconds > 60:
        raise ValueError("not a time of day")
    return hours * 3600 + minutes * 60 + seconds


@lru_cache(maxsize=4)  # each answer's date is read twice, and that of the next is mostly the same
def parse_http_date(text: str | None) -> float | None:
    """Read the value of a ``Date`` or ``Retry-After`` header as seconds since the epoch.

    Returns None if the header is missing or unreadable.
    """
    if not text:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
