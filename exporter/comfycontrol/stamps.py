"""Time stamps of the service: ISO 8601 text in, seconds since the epoch out."""

from __future__ import annotations

import calendar
import datetime as dt
import email.utils
import re

_STAMP = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"[Tt ]"
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<offset_hour>\d\d):?(?P<offset_minute>\d\d)?)?",
    re.ASCII,
)

# Outside of these years a stamp is a zero value or a slip, never the time of a workflow.
_YEARS = range(2000, 2200)

_NANOSECONDS = 1_000_000_000


def parse_stamp(text: str) -> float:
    """Read an ISO 8601 stamp as seconds since the epoch.

    Takes ``Z``, offsets, and fractions of any length (those beyond nanoseconds are cut). A stamp
    without a zone is UTC, as the service's documents say all its times are. The result is the
    float nearest to the stamp, so that milliseconds are never lost.

    Raises:
        ValueError: it is no time, or one in an absurd year. The text is not in the message.
    """
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError("not an ISO 8601 time")
    year, month, day, hour, minute, second = (
        int(match[name]) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    if year not in _YEARS:
        raise ValueError("a time in an absurd year")
    # A leap second is a legal stamp that `datetime` does not know: it is checked as the second
    # before it, and counted as one more.
    leap = 1 if second == 60 else 0
    try:
        moment = dt.datetime(  # noqa: DTZ001 - only checks the calendar; the zone comes below
            year, month, day, hour, minute, second - leap
        )
    except ValueError:
        raise ValueError("not a time of the calendar") from None
    seconds = calendar.timegm(moment.timetuple()) + leap
    if match["sign"]:
        offset_hour, offset_minute = int(match["offset_hour"]), int(match["offset_minute"] or 0)
        if offset_hour > 23 or offset_minute > 59:
            raise ValueError("not an offset from UTC")
        offset = offset_hour * 3600 + offset_minute * 60
        seconds -= offset if match["sign"] == "+" else -offset
    nanoseconds = int((match["fraction"] or "0")[:9].ljust(9, "0"))
    # One division of whole numbers rounds once; adding a fraction to the seconds would round twice.
    return (seconds * _NANOSECONDS + nanoseconds) / _NANOSECONDS


def parse_http_date(text: str | None) -> float | None:
    """Read the value of a ``Date`` or ``Retry-After`` header as seconds since the epoch.

    Returns None where there is none, or none that can be read.
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
