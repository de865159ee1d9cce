"""Which replica should hold which account."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.postgres.spreading import spread

names = st.sets(st.text("abcdefgh", min_size=1, max_size=4), max_size=12)


@given(accounts=names, replicas=names.filter(bool))
def test_all_are_held_and_none_holds_more_than_its_share(
    accounts: set[str], replicas: set[str]
) -> None:
    plan = spread(accounts, replicas)
    assert plan.keys() == accounts
    assert set(plan.values()) <= replicas
    most = -(-len(accounts) // len(replicas))
    assert all(count <= most for count in Counter(plan.values()).values())


@given(accounts=names, replicas=names.filter(bool), data=st.data())
def test_each_comes_to_the_same_answer(
    accounts: set[str], replicas: set[str], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sorted(replicas)))
    others = data.draw(st.permutations(sorted(accounts)))
    assert spread(others, order) == spread(accounts, replicas)


def test_without_replicas_nobody_holds_anything() -> None:
    assert spread(["studio"], []) == {}


def test_most_accounts_stay_when_a_replica_comes() -> None:
    accounts = [f"account-{number}" for number in range(60)]
    replicas = [f"replica-{number}" for number in range(5)]
    before, after = spread(accounts, replicas), spread(accounts, [*replicas, "another"])
    moved = [account for account in accounts if before[account] != after[account]]
    # A sixth must move, and not many more do.
    assert 10 <= len(moved) <= 24
