"""Series whose labels could not be known in advance: at 0 until the store has them announced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.comfycontrol import Cause
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.facts import Started
from exporter.ledger.ledger import Ledger
from exporter.ledger.new_series import NewSeries
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import StoreError, StoreLostError
from exporter.ledger.totals import Buckets, CounterTotal, Exemplar, HistogramTotal, Totals
from tests.unit.ledger.ledgers import (
    BUCKETS,
    CAPS,
    LOOKBACK,
    TERMS,
    Clocks,
    FailingStore,
    ended,
    make_ledger,
    uuid,
)

BOTH = {name: AccountTerms(LOOKBACK, listed=True) for name in ("studio", "agency")}


@pytest.fixture
def now() -> Clocks:
    return Clocks()


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.fixture
def ledger(now: Clocks, store: FailingStore) -> Ledger:
    return make_ledger(now, store, terms=BOTH)


def fail(ledger: Ledger, number: int, node: str, account: str = "studio") -> None:
    """A workflow fails in a node of this type."""
    failed = ended(number, ledger._now(), status="failed", via="stream")
    cause = Cause(node, "ValueError")
    ledger.observe(replace(failed, account=account, cause=cause))


def shown(snapshot: LedgerSnapshot, account: str = "studio") -> dict[str, float]:
    """What a scrape shows of an account's failures, by node."""
    return {
        labels[1]: total.value if total.appeared <= snapshot.announced else 0.0
        for labels, total in snapshot.totals.counters_named("failures")
        if labels[0] == account
    }


def announce(ledger: Ledger) -> None:
    """All that waits has waited for long enough."""
    ledger.announce(ledger.newest_series())


def follow(ledger: Ledger, *accounts: str) -> None:
    ledger.change({name: BOTH[name] for name in accounts}, BUCKETS, CAPS)


class TestAnnouncing:
    def test_a_series_shows_its_value_once_it_is_announced_and_kept(self, ledger: Ledger) -> None:
        fail(ledger, 1, "A")
        fail(ledger, 2, "A")
        assert shown(ledger.snapshot()) == {"A": 0}
        announce(ledger)
        assert shown(ledger.snapshot()) == {"A": 0}  # asked before it was kept
        assert shown(ledger.snapshot()) == {"A": 2}
        fail(ledger, 3, "A")
        assert shown(ledger.snapshot()) == {"A": 3}

    def test_a_series_that_appears_after_the_decision_waits(self, ledger: Ledger) -> None:
        fail(ledger, 1, "A")
        decided = ledger.newest_series()
        fail(ledger, 2, "B")
        ledger.announce(decided)
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 1, "B": 0}

    def test_what_is_announced_while_a_scrape_waits_for_the_store_is_not_shown_to_it(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail(ledger, 1, "A")
        turn = ledger._writer.store_lock

        @contextmanager
        def behind_others() -> Iterator[None]:
            monkeypatch.setattr(ledger._writer, "store_lock", turn)
            announce(ledger)
            ledger.persist()
            fail(ledger, 2, "B")
            with turn:
                yield

        monkeypatch.setattr(ledger._writer, "store_lock", behind_others())
        assert shown(ledger.snapshot()) == {"A": 0, "B": 0}
        assert shown(ledger.snapshot()) == {"A": 1, "B": 0}

    def test_what_is_known_in_advance_never_waits(self, ledger: Ledger) -> None:
        ledger.observe(ended(1, ledger._now()))
        assert ledger.newest_series() == 0
        finished = ledger.snapshot().totals.counters["finished", ("studio", "completed")]
        assert (finished.value, finished.appeared) == (1, 0)

    def test_nothing_is_kept_where_nothing_waits(self, ledger: Ledger, store: FailingStore) -> None:
        ledger.persist()
        tries = store.tries
        for series in (0, 7):
            ledger.announce(series)
            ledger.persist()
        assert store.tries == tries


class TestAStoreThatFails:
    def test_series_wait_until_it_is_kept_that_they_are_announced(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        fail(ledger, 1, "A")
        store.keeps_with = StoreError("disk full")
        for _ in range(3):
            announce(ledger)
            ledger.persist()
            assert shown(ledger.snapshot()) == {"A": 0}
        store.keeps_with = None
        now.pass_(60)
        fail(ledger, 2, "B")
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 1, "B": 0}
        assert [b.announced for b in store.batches if b.announced is not None] == [1]

    def test_what_was_announced_before_goes_on(self, ledger: Ledger, store: FailingStore) -> None:
        fail(ledger, 1, "A")
        announce(ledger)
        ledger.persist()
        store.keeps_with = StoreError("disk full")
        fail(ledger, 2, "A")
        fail(ledger, 3, "B")
        announce(ledger)
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 2, "B": 0}

    @pytest.mark.parametrize("kept", [True, False])
    def test_a_loss_takes_no_value_back(
        self, ledger: Ledger, store: FailingStore, now: Clocks, kept: bool
    ) -> None:
        fail(ledger, 1, "A")
        announce(ledger)
        if kept:
            ledger.persist()
        store.keeps_with = StoreLostError("damaged")
        ledger.observe(ended(9, now()))
        ledger.persist()
        store.keeps_with = None
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 1}
        last = store.batches[-1]
        assert last.announced == last.counters["failures", ("studio", "A", "ValueError")].appeared


class TestAnAccountThatGoes:
    def test_one_that_comes_back_waits_a_whole_hold_again(self, ledger: Ledger) -> None:
        fail(ledger, 1, "A")
        fail(ledger, 2, "A", "agency")
        before = ledger.newest_series()
        follow(ledger, "agency")
        assert ledger.newest_series() == before
        announce(ledger)
        ledger.persist()
        follow(ledger, "agency", "studio")
        snapshot = ledger.snapshot()
        assert (shown(snapshot), shown(snapshot, "agency")) == ({"A": 0}, {"A": 1})
        assert ledger.newest_series() > before
        announce(ledger)
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 1}

    def test_its_last_word_is_not_announced_while_it_is_away(self, ledger: Ledger) -> None:
        follow(ledger, "agency")
        fail(ledger, 1, "A")
        assert ledger.newest_series() == 0
        fail(ledger, 2, "B", "agency")
        announce(ledger)
        ledger.persist()
        follow(ledger, "agency", "studio")
        assert shown(ledger.snapshot()) == {"A": 0}

    def test_a_short_absence_is_one_as_well(self, ledger: Ledger) -> None:
        fail(ledger, 1, "A")
        seen_for_long = ledger.newest_series()
        follow(ledger, "agency")
        follow(ledger, "agency", "studio")
        ledger.announce(seen_for_long)
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 0}

    def test_what_was_announced_is_shown_as_it_is(self, ledger: Ledger) -> None:
        fail(ledger, 1, "A")
        announce(ledger)
        ledger.persist()
        follow(ledger, "agency")
        fail(ledger, 2, "A")
        follow(ledger, "agency", "studio")
        assert shown(ledger.snapshot()) == {"A": 2}


class TestOnDisk:
    def test_announced_series_stay_so_and_others_wait_again(
        self, tmp_path: Path, now: Clocks
    ) -> None:
        ledger = make_ledger(now, SqliteStore(tmp_path, now))
        fail(ledger, 1, "A")
        announce(ledger)
        ledger.persist()
        fail(ledger, 2, "B")
        ledger.close()
        ledger = make_ledger(now, SqliteStore(tmp_path, now))
        assert shown(ledger.snapshot()) == {"A": 1, "B": 0}
        fail(ledger, 3, "C")
        announce(ledger)
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 1, "B": 1, "C": 1}
        ledger.close()

    def test_an_account_that_was_away_meanwhile_waits(self, tmp_path: Path, now: Clocks) -> None:
        ledger = make_ledger(now, SqliteStore(tmp_path, now), terms=BOTH)
        fail(ledger, 1, "A", "agency")
        fail(ledger, 2, "A")
        ledger.close()
        ledger = make_ledger(now, SqliteStore(tmp_path, now), terms=TERMS)
        announce(ledger)
        ledger.persist()
        assert shown(ledger.snapshot()) == {"A": 1}
        ledger.close()
        ledger = make_ledger(now, SqliteStore(tmp_path, now), terms=BOTH)
        assert shown(ledger.snapshot(), "agency") == {"A": 0}
        announce(ledger)
        ledger.persist()
        assert shown(ledger.snapshot(), "agency") == {"A": 1}
        ledger.close()


class TestHistograms:
    """Their labels are known in advance today; one whose are not is numbered like a counter."""

    def test_one_of_unknown_labels_waits(self) -> None:
        totals = Totals(BUCKETS, CAPS)
        totals.open_account("studio")
        assert totals.newest_series({"studio"}) == 0
        totals.add("agency", uuid(1), Started(2.5), 1.0)
        totals.add("agency", uuid(2), Started(2.5), 1.0)
        assert totals.histograms["time_to_start", ("agency",)].appeared == 1
        assert totals.newest_series({"agency"}) == 1
        assert totals.announce(1, {"agency"})
        assert totals.newest_series({"agency"}) == 0

    def test_one_that_starts_anew_waits_only_if_its_labels_were_unknown(self) -> None:
        totals = Totals(BUCKETS, CAPS)
        totals.open_account("studio")
        totals.add("agency", uuid(1), Started(2.5), 1.0)
        totals.announce(1, {"agency"})
        assert totals.change(Buckets((1.0,), (7.0,), (10.0, 60.0)), CAPS)
        assert totals.histograms["time_to_start", ("studio",)].appeared == 0
        assert totals.histograms["time_to_start", ("agency",)].appeared == 2

    @pytest.mark.parametrize("appeared", [3, 6])
    def test_numbers_go_on_after_a_restart(self, appeared: int) -> None:
        waiting = HistogramTotal(BUCKETS.time_to_start, appeared=4)
        announced = CounterTotal(1.0, appeared=2)
        totals = Totals(BUCKETS, CAPS)
        totals.restore(
            {("failures", ("studio", "A", "E")): announced},
            {("time_to_start", ("studio",)): waiting},
            appeared=appeared,
            announced=2,
        )
        assert totals.newest_series({"studio"}) == 4
        totals.open_account("studio")
        assert (announced.appeared, waiting.appeared) == (2, max(appeared, 4) + 1)
        assert set(totals.take_changed()[1]) == {("time_to_start", ("studio",))}

    def test_at_zero_nothing_is_left_of_it(self) -> None:
        exemplar = Exemplar(uuid(1), 2.5, 1.0)
        total = HistogramTotal((1.0, 5.0), appeared=3)
        total.observe(2.5, exemplar)
        assert total.copied() == total
        assert total.at_zero() == HistogramTotal((1.0, 5.0), [0, 0, 0], 0.0, [None] * 3, 3)
        assert CounterTotal(2.0, exemplar, 3).at_zero() == CounterTotal(0.0, None, 3)


def test_forgotten_series_never_come_back() -> None:
    new = NewSeries()
    new.appear(("requests", ("studio", "502")), CounterTotal())
    new.appear(("requests", ("agency", "502")), CounterTotal())
    new.forget("studio")
    assert new.newest({"studio"}) == 0
    assert new.newest({"studio", "agency"}) == 2
