"""How runners are counted."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol import Runner
from exporter.following.runner_census import TagBound, take_census

RUNNERS = st.lists(
    st.builds(
        Runner,
        st.none() | st.sampled_from("abcdef"),
        st.sampled_from(["active", "disabled", "draining"]),
        st.lists(st.sampled_from(["sdxl", "a100", "flux", "other"]), unique=True).map(tuple),
    )
)


def test_both_documented_statuses_are_there_without_any_runner() -> None:
    assert take_census([], at=1, wall=2, tags=None).by_status == {"active": 0, "disabled": 0}


def test_an_unknown_status_counts_as_other() -> None:
    census = take_census([Runner("a", "draining")], at=1, wall=2, tags=None)
    assert census.by_status == {"active": 0, "disabled": 0, "other": 1}


def test_a_runner_that_two_pages_show_counts_once_as_the_later_says() -> None:
    runners = [Runner("a", "active"), Runner("b", "active"), Runner("a", "disabled")]
    census = take_census(runners, at=1, wall=2, tags=None)
    assert census.by_status == {"active": 1, "disabled": 1}


def test_a_tag_whose_runners_are_gone_stands_at_0() -> None:
    tags = TagBound(5)
    take_census([Runner("a", "active", ("sdxl",))], at=1, wall=2, tags=tags)
    census = take_census([], at=3, wall=4, tags=tags)
    assert census.by_tag == {("sdxl", "active"): 0, ("sdxl", "disabled"): 0}


def test_tags_beyond_the_bound_count_as_other_once_for_each_runner() -> None:
    tags = TagBound(2)
    runner = Runner("a", "active", ("a", "b", "c", "d"))
    census = take_census([runner], at=1, wall=2, tags=tags)
    shown = {("a", "active"): 1, ("b", "active"): 1, ("other", "active"): 1}
    assert +Counter(census.by_tag) == shown
    assert census.tags_beyond == 2


@given(RUNNERS, st.integers(1, 4))
def test_sums_and_bounds_hold_for_all_runners(runners: list[Runner], most: int) -> None:
    census = take_census(runners, at=1, wall=2, tags=TagBound(most))
    distinct = len({r.id for r in runners} - {None}) + sum(r.id is None for r in runners)
    assert sum(census.by_status.values()) == distinct
    assert len({tag for tag, _ in census.by_tag} - {"other"}) <= most
    assert all(count <= distinct for count in census.by_tag.values())
