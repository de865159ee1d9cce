"""When it is reported that the list's total contradicts its pages."""

from exporter.following.page_totals import Contradictions


def test_one_pass_is_not_reported_and_the_second_is_once() -> None:
    passes = Contradictions()

    def is_news(*, contradicted: bool, is_over: bool = False) -> bool:
        return passes.is_news(contradicted=contradicted, is_over=is_over, is_of_no_use=False)

    assert not is_news(contradicted=True)
    assert not is_news(contradicted=False, is_over=True)
    assert not is_news(contradicted=True)
    assert is_news(contradicted=True)
    assert not is_news(contradicted=True)
    # A pass that does not reach the end of the list shows nothing.
    assert not is_news(contradicted=False)
    assert not is_news(contradicted=True)
    assert not is_news(contradicted=True)
    assert not is_news(contradicted=False, is_over=True)
    assert not is_news(contradicted=True)
    assert is_news(contradicted=True)


def test_a_total_that_is_of_no_use_is_reported_at_once() -> None:
    passes = Contradictions()
    assert passes.is_news(contradicted=False, is_over=True, is_of_no_use=True)
    assert not passes.is_news(contradicted=False, is_over=True, is_of_no_use=True)
    assert not passes.is_news(contradicted=False, is_over=True, is_of_no_use=False)
    assert passes.is_news(contradicted=False, is_over=True, is_of_no_use=True)
