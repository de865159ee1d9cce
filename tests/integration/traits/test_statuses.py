"""Statuses in another case, and statuses that no document names."""

import pytest

from tests.integration.traits.comparing import Cases


@pytest.mark.slow
@pytest.mark.parametrize("case_", ["upper", "title", "mixed"])
def test_statuses_are_compared_without_case(cases: Cases, case_: str) -> None:
    simulator = cases.service(f"traits: {{statuses: {{case: {case_}}}}}")
    case = cases.follow(simulator)
    case.ready()
    for outcome in ("completed", "failed", "cancelled", "invalid") * 2:
        simulator.create(outcome=outcome, duration="20s")
    case.agrees(8)


@pytest.mark.slow
@pytest.mark.parametrize("closes", ["true", "false"])
def test_an_unknown_status_with_an_end_is_an_end_and_one_without_is_none(
    cases: Cases, closes: str
) -> None:
    simulator = cases.service(
        f"""
        start: {{finished: 350, finished_age: {{min: 1h, max: 6h}}}}
        traits:
          statuses:
            words:
              - {{word: timed_out, instead_of: failed, closes: {closes}}}
              - {{word: Skipped, instead_of: cancelled, closes: {closes}}}
              - {{word: preparing, instead_of: uploaded}}
        stages: {{accepted: 100ms, uploaded: 20s, pickup: 100ms}}
        runners: [{{name: gpu, count: 9}}]
        """,
        base="",
    )
    case = cases.follow(simulator)
    case.ready()
    for outcome in ("completed", "failed", "cancelled") * 3:
        simulator.create(outcome=outcome, duration="20s")
    case.exporter.until(lambda m: m("workflows", account="studio", status="running") == 9)
    case.agrees(9)
    assert case.exporter.scrape().total("workflows") == 0
    before = simulator.truth()
    simulator.wait_until(lambda truth: truth.requests["list"] >= before.requests["list"] + 4, 30)
    after = simulator.truth()
    # Nothing is open: the top of the list, and a look at a filter now and then.
    assert after.taken_ms - before.taken_ms > 2_000
    assert after.requests.get("get", 0) == before.requests.get("get", 0)
