"""What replicas do to a shared ledger and a shared window, in every order that there is.

Small models (`tests/model/`) are explored whole, with a crash anywhere. That they would find a
fault is shown by leaving out one rule at a time.
"""

from dataclasses import fields
from pathlib import Path

import pytest

from tests.model import shared_ledger as ledger
from tests.model import shared_lending as lending
from tests.model import shared_window as window
from tests.model.exploring import Explored, explore

PAGE = Path(__file__).parents[2] / "docs" / "replicas.md"

# The ledger -----------------------------------------------------------------------------------


def look(rules: ledger.Rules = ledger.AS_THEY_ARE, losses: int = 0) -> Explored[ledger.State]:
    return explore(
        ledger.State(losses=losses),
        lambda state: ledger.moves(state, rules),
        ledger.wrong,
        ledger.is_done,
    )


def without(*rules: str) -> ledger.Rules:
    assert set(rules) <= {field.name for field in fields(ledger.Rules)}
    return ledger.Rules(**dict.fromkeys(rules, False))


def test_each_outcome_is_counted_once_whatever_happens_in_between() -> None:
    found = look()
    assert (found.wrong, found.trace) == ("", ())
    assert f" {found.states:,};" in PAGE.read_text("utf-8")


@pytest.mark.slow
def test_each_outcome_is_counted_once_where_the_database_loses_a_commit() -> None:
    found = look(losses=1)
    assert (found.wrong, found.trace) == ("", ())
    assert f" {found.states:,} with a lost commit" in PAGE.read_text("utf-8")


@pytest.mark.parametrize(
    ("rules", "losses", "wrong"),
    [
        (["looks_for_holder", "looks_for_epoch"], 0, "an outcome is counted twice"),
        (["looks_for_epoch"], 0, "an outcome is counted twice"),
        (["looks_for_epoch", "looks_for_commits"], 0, "an outcome is counted twice"),
        (["looks_for_commits"], 1, "an outcome is counted twice"),
        (["settles_doubt", "looks_for_commits"], 0, "an outcome is counted twice"),
        (["settles_in_one"], 0, "an outcome is settled, and never counted"),
        (["clock_from_before"], 0, "two replicas show the account"),
        (["releases_first"], 0, "two replicas show the account"),
        (["waits_for_the_lease"], 0, "two replicas show the account"),
        (["rises_above_its_own"], 1, "an outcome is counted twice"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_a_rule_that_is_left_out_is_missed(rules: list[str], losses: int, wrong: str) -> None:
    found = look(without(*rules), losses)
    assert found.wrong == wrong
    assert found.trace


@pytest.mark.parametrize("rule", ["looks_for_holder", "looks_for_commits", "settles_doubt"])
def test_one_fence_stands_where_another_is_left_out(rule: str) -> None:
    """As long as the database loses nothing."""
    assert not look(without(rule)).wrong


# The window -----------------------------------------------------------------------------------


def ask(
    rules: window.Rules = window.AS_THEY_ARE, losses: int = 0, most: int = window.SHARE
) -> Explored[window.State]:
    # What the database loses, it loses of one as of two.
    replicas = window.REPLICAS[:1] if losses else window.REPLICAS
    return explore(
        window.State(losses=losses),
        lambda state: window.moves(state, rules, replicas),
        lambda state: "more than the share" if window.counted(state) > most else "",
    )


def test_the_service_never_counts_more_than_the_share() -> None:
    found = ask()
    assert (found.wrong, found.trace) == ("", ())
    assert f" {found.states:,} |" in PAGE.read_text("utf-8")
    # And it is not so because hardly anything is asked.
    assert ask(most=window.SHARE - 1).wrong


@pytest.mark.parametrize("rule", [field.name for field in fields(window.Rules)])
def test_a_rule_of_the_window_that_is_left_out_is_missed(rule: str) -> None:
    found = ask(window.Rules(**{rule: False}))
    assert found.wrong == "more than the share"
    assert found.trace


def test_a_grant_that_the_database_has_lost_is_one_request_more_and_no_further_one() -> None:
    """So the share leaves a reserve. Only a standby that lacks commits can lose one."""
    assert ask(losses=1).wrong == "more than the share"
    assert not ask(losses=1, most=window.SHARE + 1).wrong


# Lending --------------------------------------------------------------------------------------


def lent(faults: int = 1, **rules: bool) -> Explored[lending.State]:
    return explore(
        lending.State(faults=faults),
        lambda state: lending.moves(state, lending.Rules(**rules)),
        lending.wrong,
        lending.is_done,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_lent_is_counted_whatever_happens_twice_on_the_way() -> None:
    found = lent(faults=2)
    assert (found.wrong, found.trace) == ("", ())
    assert f" {found.states:,} with two faults" in PAGE.read_text("utf-8")


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("clock_from_before", "one that is taken for dead streams it"),
        ("takes_back_of_the_dead", "it never ends well"),
        ("asks_again", "it never ends well"),
    ],
)
def test_a_rule_of_lending_that_is_left_out_is_missed(rule: str, wrong: str) -> None:
    found = lent(**{rule: False})
    assert found.wrong == wrong
    assert found.trace


@pytest.mark.parametrize("rule", ["takes_under_its_lease", "puts_back", "asks_for_another_holder"])
def test_what_is_lost_on_its_way_is_asked_for_again(rule: str) -> None:
    """These make it sooner. Who asks again after a while stands for all of them."""
    assert not lent(**{rule: False}).wrong
