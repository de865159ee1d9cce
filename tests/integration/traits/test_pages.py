"""Pages that are not as they were asked for: every row on them counts, and every row below."""

from pathlib import Path

import pytest

from tests.integration.traits.comparing import Case, Cases

ONLY_LISTED = "faults: [{kind: status, endpoints: [subscribe], code: 503}]"
"""Nothing but the list tells of workflows."""


def after_a_night(cases: Cases, traits: str, count: int, folder: Path) -> Case:
    """An exporter that was down while so many came and ended."""
    simulator = cases.service(f"{ONLY_LISTED}\ntraits: {traits}")
    more = {"storage": folder}
    before = cases.follow(simulator, more=more)
    before.ready()
    assert before.exporter.app.stop()
    for number in range(count):
        workflow = simulator.workflow(simulator.create(scripted=True))
        workflow.advance("completed" if number % 3 else "cancelled")
    return cases.follow(simulator, more=more)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lone_surrogate", "invalid_utf8", "nan", "infinity", "too_deep"])
def test_a_field_that_cannot_be_read_costs_that_field(cases: Cases, how: str) -> None:
    simulator = cases.service(
        f"{ONLY_LISTED}\ntraits: {{broken: [{{how: [{how}], share: 0.4, places: [list]}}]}}"
    )
    case = cases.follow(simulator)
    case.ready()
    for _ in range(12):
        simulator.create(duration="5s")
    case.agrees(12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "paging",
    [
        "{most: 50}",
        "{always: 20}",
        "{most: 50, total: {form: absent}}",
        "{most: 50, total: {form: stale, lag: 1m}}",
        "{most: 50, total: {form: wrong}}",
        "{total: {form: page}}",
        "{most: 50, total: {form: so_far}}",
    ],
)
def test_what_comes_back_says_where_the_next_page_begins(
    cases: Cases, paging: str, tmp_path: Path
) -> None:
    after_a_night(cases, f"{{paging: {paging}}}", 305, tmp_path).agrees(305, 60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "paging",
    [
        "{most: 10, total: {form: page}}",
        "{most: 10, total: {form: page}, first: 0, beyond: last}",
    ],
)
def test_a_total_that_counts_the_page_does_not_end_the_list(
    cases: Cases, paging: str, tmp_path: Path
) -> None:
    after_a_night(cases, f"{{paging: {paging}}}", 80, tmp_path).agrees(80, 60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", ["{list: 200000}", "{list: 200000, filler: tags}", "{list: 1000000, share: 0.3}"]
)
def test_rows_too_large_for_one_page_are_read_in_smaller_ones(
    cases: Cases, sizes: str, tmp_path: Path
) -> None:
    after_a_night(cases, f"{{sizes: {sizes}}}", 60, tmp_path).agrees(60, 60)
