"""How long to wait before trying again."""

from exporter.following.backoff import Backoff


def test_the_ceiling_doubles_from_one_second_to_a_minute() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_jitter_is_full() -> None:
    backoff = Backoff(iter([0.0, 0.5, 0.25]).__next__)
    assert [backoff.failed() for _ in range(3)] == [0.0, 1.0, 1.0]


def test_a_minute_of_health_forgets_all_failures() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.failed()
    backoff.worked(60.0)
    assert backoff.failed() == 1.0


def test_less_than_a_minute_of_health_forgets_none() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.failed()
    backoff.worked(59.9)
    assert backoff.failed() == 32.0


def test_an_answer_to_a_single_request_counts_as_health() -> None:
    backoff = Backoff(lambda: 1.0)
    backoff.failed()
    backoff.worked()
    assert backoff.failed() == 1.0


def test_after_years_of_failures_it_is_still_a_minute() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed() for _ in range(5000)][-1] == 60.0
