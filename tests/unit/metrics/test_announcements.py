"""For how long a new series stands at 0."""

from exporter.metrics.announcements import HOLD_SECONDS, STANDSTILL_SECONDS, Announcements, Hold


def test_the_hold_is_longer_than_a_minute_and_a_standstill_that_passes_for_none() -> None:
    assert HOLD_SECONDS >= 60 + STANDSTILL_SECONDS


def test_a_series_is_announced_after_the_hold_and_not_before() -> None:
    hold = Hold(65.0)
    assert hold.update(0, 100.0) == 0
    assert hold.update(1, 101.0) == 0
    assert hold.update(1, 165.9) == 0
    assert hold.update(1, 166.0) == 1


def test_each_series_has_a_hold_of_its_own() -> None:
    hold = Hold(65.0)
    hold.update(1, 100.0)
    hold.update(4, 130.0)
    hold.update(5, 131.0)
    assert hold.update(5, 165.0) == 1
    assert hold.update(4, 195.0) == 4  # the fifth is of an account that went: others go on
    assert hold.update(5, 196.0) == 5


def test_nobody_has_to_look_at_the_moment_itself() -> None:
    hold = Hold(65.0)
    for number in range(1, 6):
        hold.update(number, 100.0 + number)
    assert hold.update(0, 900.0) == 5


def test_what_comes_after_all_were_announced_is_held_again() -> None:
    hold = Hold(65.0)
    hold.update(1, 100.0)
    assert hold.update(1, 165.0) == 1
    assert hold.update(0, 166.0) == 1
    assert hold.update(2, 167.0) == 1
    assert hold.update(2, 231.0) == 1
    assert hold.update(2, 232.0) == 2


def test_a_standstill_begins_every_hold_again() -> None:
    hold = Hold(65.0)
    hold.update(1, 100.0)
    assert hold.update(1, 165.0) == 1
    hold.update(2, 170.0)
    assert hold.update(2, 500.0, rested=STANDSTILL_SECONDS + 0.1) == 1
    assert hold.update(2, 564.9) == 1
    assert hold.update(2, 565.0) == 2


def test_a_short_pause_is_no_standstill() -> None:
    hold = Hold(65.0)
    hold.update(1, 100.0)
    assert hold.update(1, 165.0, rested=STANDSTILL_SECONDS) == 1


def test_without_a_hold_what_is_seen_is_announced() -> None:
    assert Hold(0).update(3, 100.0, rested=60.0) == 3


class Counted:
    def __init__(self) -> None:
        self.newest = 0
        self.announced = 0

    def newest_series(self) -> int:
        return self.newest

    def announce(self, series: int) -> None:
        self.announced = series


def test_numbers_are_each_ones_own() -> None:
    one, other = Counted(), Counted()
    announcements = Announcements(65.0, one, other)
    one.newest = 7
    announcements.update(100.0, 0.25)
    other.newest = 2
    announcements.update(120.0, 0.25)
    announcements.update(165.0, 0.25)
    assert (one.announced, other.announced) == (7, 0)
    announcements.update(185.0, 0.25)
    assert (one.announced, other.announced) == (7, 2)
