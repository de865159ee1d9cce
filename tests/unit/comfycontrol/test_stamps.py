"""Stamps and dates by example."""

from __future__ import annotations

import pytest

from exporter.comfycontrol.stamps import parse_http_date, parse_stamp, read_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-15T14:30:05Z", 1705329005.0),
        ("2024-01-15t14:30:05z", 1705329005.0),
        ("2024-01-15 14:30:05", 1705329005.0),
        ("2024-01-15T14:30:05", 1705329005.0),
        ("2024-01-15T14:30:05.1Z", 1705329005.1),
        ("2024-01-15T14:30:05,123Z", 1705329005.123),
        ("2024-01-15T14:30:05.123456", 1705329005.123456),
        ("2024-01-15T14:30:05.123456789Z", 1705329005.123456789),
        ("2024-01-15T14:30:05." + "9" * 1000 + "Z", 1705329006.0),
        ("2024-01-15T16:30:05+02:00", 1705329005.0),
        ("2024-01-15T09:00:05-0530", 1705329005.0),
        ("2024-01-15T16:30:05.5+02", 1705329005.5),
        ("2016-12-31T23:59:60Z", 1483228800.0),
        ("2024-02-29T00:00:00Z", 1709164800.0),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert parse_stamp(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2024-01-15", "14:30:05", "1705329005", "2024-01-15T14:30Z"),
        *("2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-15T24:00:00Z"),
        *("2024-01-15T14:60:05Z", "2024-01-15T14:30:61Z", "2024-01-15T14:30:05.Z"),
        *("2024-01-15T14:30:05+24:00", "2024-01-15T14:30:05+01:60", "2024-01-15T14:30:05 Z"),
        *("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        *("\u0662\u0660\u0662\u0664-01-15T14:30:05Z", "2024-01-15T14:30:05Z\n"),
    ],
)
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_stamp(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1705329005, 1705329005.0),
        (1705329005.125, 1705329005.125),
        (1705329005123, 1705329005.123),
        (1705329005123456, 1705329005.123456),
        (1705329005123456789, 1705329005.1234567),
        (946684800, 946684800.0),
        (7258118399, 7258118399.0),
        (946684800000, 946684800.0),
    ],
)
def test_numbers_are_times_in_the_unit_in_which_they_are_of_our_days(
    value: float, expected: float
) -> None:
    assert read_number(value) == expected


@pytest.mark.parametrize("value", [0, -1705329005, 946684799, 7258118400, 10**30, 1e300])
def test_other_numbers_are_no_times(value: float) -> None:
    with pytest.raises(ValueError, match="not a time"):
        read_number(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 15 Jan 2024 14:30:05 GMT", 1705329005.0),
        ("Mon, 15 Jan 2024 16:30:05 +0200", 1705329005.0),
        ("Mon, 15 Jan 2024 14:30:05 -0000", 1705329005.0),
        *((text, None) for text in (None, "", "soon", "Mon, 99 Jan 2024 14:30:05 GMT", "0")),
    ],
)
def test_dates_of_headers(text: str | None, expected: float | None) -> None:
    assert parse_http_date(text) == expected
