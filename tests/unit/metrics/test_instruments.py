"""What the process counts of itself, where its labels could not be known in advance."""

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry

from exporter.metrics.instruments import EXPECTED_CODES, Instruments
from exporter.metrics.reading import RequestsKey


@pytest.fixture
def instruments() -> Instruments:
    made = Instruments(CollectorRegistry())
    made.open_accounts(["studio", "agency"])
    return made


def shown(instruments: Instruments, account: str = "studio") -> Mapping[str, float]:
    """By code, what a scrape shows of requests for the list, where it is there."""
    reading = instruments.requests()
    return {
        code: total.value if total.appeared <= reading.announced else 0.0
        for (of, endpoint, code), total in reading.totals.items()
        if (of, endpoint) == (account, "list")
    }


def ask(instruments: Instruments, code: str, account: str = "studio") -> None:
    instruments.request_made(account, "list", code, 0.1)


def test_codes_that_are_expected_are_never_held_back(instruments: Instruments) -> None:
    assert shown(instruments) == dict.fromkeys(EXPECTED_CODES, 0.0)
    for code in EXPECTED_CODES:
        ask(instruments, code)
    assert shown(instruments) == dict.fromkeys(EXPECTED_CODES, 1.0)
    assert instruments.newest_series() == 0


def test_another_code_stands_at_zero_until_it_is_announced(instruments: Instruments) -> None:
    ask(instruments, "502")
    ask(instruments, "502")
    ask(instruments, "504")
    first = instruments.newest_series()
    ask(instruments, "418")
    assert shown(instruments)["502"] == 0
    instruments.announce(first)
    ask(instruments, "504")
    now = shown(instruments)
    assert (now["502"], now["504"], now["418"]) == (2, 2, 0)
    assert instruments.newest_series() > first


def test_a_reading_is_left_alone_by_what_follows(instruments: Instruments) -> None:
    ask(instruments, "502")
    before = instruments.requests()
    instruments.announce(instruments.newest_series())
    ask(instruments, "502")
    ask(instruments, "504")
    assert before.announced == 0
    assert before.totals[RequestsKey("studio", "list", "502")].value == 1
    assert ("studio", "list", "504") not in before.totals


def test_an_account_that_comes_back_begins_at_zero_and_waits_again(
    instruments: Instruments,
) -> None:
    ask(instruments, "502")
    instruments.announce(instruments.newest_series())
    ask(instruments, "504")
    instruments.close_account("studio")
    ask(instruments, "502")  # a last word
    assert shown(instruments) == {}
    assert instruments.newest_series() == 0
    ask(instruments, "502", "agency")
    instruments.announce(instruments.newest_series())
    instruments.open_accounts(["studio"])
    assert shown(instruments) == dict.fromkeys(EXPECTED_CODES, 0.0)
    assert instruments.newest_series() == 0
    ask(instruments, "502")
    ask(instruments, "504")
    assert (shown(instruments)["502"], shown(instruments)["504"]) == (0, 0)
    instruments.announce(instruments.newest_series())
    assert (shown(instruments)["502"], shown(instruments)["504"]) == (1, 1)
    assert shown(instruments, "agency")["502"] == 1
