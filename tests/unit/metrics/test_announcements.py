"""Who is shown a new series at 0."""

from exporter.metrics.announcements import SCRAPERS_REMEMBERED, Announcements


def test_a_scraper_sees_each_new_series_at_zero_once() -> None:
    announcements = Announcements()
    assert announcements.announce("prometheus", 0) == 0
    assert announcements.announce("prometheus", 2) == 0  # 1 and 2 are new to it
    assert announcements.announce("prometheus", 2) == 2
    assert announcements.announce("prometheus", 3) == 2


def test_what_appeared_before_the_first_scrape_is_new_too() -> None:
    assert Announcements().announce("prometheus", 5) == 0


def test_one_scraper_does_not_use_up_the_zero_of_another() -> None:
    announcements = Announcements()
    announcements.announce("one", 0)
    announcements.announce("two", 0)
    assert announcements.announce("one", 1) == 0
    assert announcements.announce("curl", 1) == 1
    assert announcements.announce("two", 1) == 0


def test_an_unknown_scraper_is_taken_to_know_what_anyone_has_seen() -> None:
    announcements = Announcements()
    announcements.announce("prometheus at its old address", 4)
    assert announcements.announce("prometheus at its new address", 5) == 4


def test_scrapers_are_forgotten_one_by_one() -> None:
    announcements = Announcements()
    announcements.announce("kept", 0)
    for number in range(SCRAPERS_REMEMBERED * 2):
        announcements.announce(f"passing {number}", 1)
        announcements.announce("kept", 1)
    assert len(announcements._seen) == SCRAPERS_REMEMBERED
    assert announcements.announce("kept", 2) == 1
