"""All stores, held to the same contract; and what those that last keep over a restart."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from exporter.interfaces.observations import Moment, Source, Status
from exporter.ledger import sqlite
from exporter.ledger.postgres import store as postgres_store
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import (
    AccountMarks,
    Batch,
    MemoryStore,
    Pruned,
    RestoredState,
    Store,
    WorkflowKey,
)
from exporter.ledger.totals import CounterTotal, Exemplar, HistogramTotal
from exporter.ledger.workflow import Phase, Workflow
from tests.unit.ledger.keepers import Keeper, PostgresKeeper, SqliteKeeper
from tests.unit.ledger.ledgers import T0, Clocks, uuid

if TYPE_CHECKING:
    from exporter.ledger.forms import CounterName, HistogramName, Labels

MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = SqliteStore(tmp_path, Clocks())
    if request.param == "postgres":
        made, _ = PostgresKeeper(request.getfixturevalue("postgres").fresh(), Clocks()).begin()
    yield made
    made.close()


@pytest.fixture
def now() -> Clocks:
    return Clocks()


@pytest.fixture(params=["sqlite", "postgres"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path, now: Clocks) -> Keeper:
    if request.param == "sqlite":
        return SqliteKeeper(tmp_path, now)
    return PostgresKeeper(request.getfixturevalue("postgres").fresh(), now)


def workflow(
    number: int,
    phase: Phase = "settled",
    *,
    account: str = "studio",
    created: float | None = 1.0,
    ended: float | None = 20.0,
    pending: bool = False,
) -> Workflow:
    at = Moment(T0 + 30, 1000.0)
    return Workflow(
        account=account,
        workflow_id=uuid(number),
        source="listing",
        first_seen=at,
        last_seen=at,
        phase=phase,
        status=Status.COMPLETED if phase == "settled" else None,
        created_at=None if created is None else T0 + created,
        ended_at=None if phase == "open" or ended is None else T0 + ended,
        cause_pending_since=at if pending else None,
    )


def key_of(kept: Workflow) -> WorkflowKey:
    return kept.account, kept.workflow_id


def keep(store: Store, *workflows: Workflow) -> None:
    accounts = {w.account: AccountMarks(cutoff=T0) for w in workflows}
    store.persist(Batch(workflows={key_of(w): w for w in workflows}, accounts=accounts))


class TestAll:
    def test_a_first_life_finds_nothing(self, store: Store) -> None:
        kept = store.load()
        assert (list(kept.unsettled), kept.accounts, kept.closed, kept.lost) == ([], {}, 0, False)
        assert store.find_closed(("studio", uuid(1))) is None
        assert store.created_after("studio", T0) == 0
        assert store.prune_ended_before("studio", T0) == Pruned()

    @pytest.mark.parametrize("phase", ["settled", "dropped"])
    def test_a_closed_workflow_is_found(self, store: Store, phase: Phase) -> None:
        keep(store, workflow(1, phase))
        found = store.find_closed(("studio", uuid(1)))
        assert found is not None
        assert (found.phase, found.ended_at) == (phase, T0 + 20)

    def test_an_open_one_is_never_told_as_closed(self, store: Store) -> None:
        keep(store, workflow(1, "open"))
        found = store.find_closed(("studio", uuid(1)))
        assert found is None or found.phase == "open"

    def test_nor_is_one_that_was_opened_again(self, store: Store) -> None:
        keep(store, workflow(1, "dropped"))
        keep(store, workflow(1, "open"))
        found = store.find_closed(("studio", uuid(1)))
        assert found is None or found.phase == "open"

    def test_accounts_are_kept_apart(self, store: Store) -> None:
        keep(store, workflow(1), workflow(2, account="agency"))
        assert store.find_closed(("agency", uuid(1))) is None
        assert store.created_after("agency", T0) == 1

    def test_who_is_younger(self, store: Store) -> None:
        keep(
            store,
            workflow(1, created=1),
            workflow(2, "open", created=2),
            workflow(3, "dropped", created=3),
            workflow(4, created=None),
        )
        keep(store, workflow(2, created=2))
        younger = [store.created_after("studio", T0 + second) for second in (0, 1, 2, 3)]
        assert younger == [3, 2, 1, 0]

    def test_old_rows_are_dropped_and_the_rest_stays(self, store: Store) -> None:
        keep(
            store,
            workflow(1, ended=10),
            workflow(2, ended=20),
            workflow(3, ended=5, pending=True),
            workflow(4, "open"),
            workflow(5, ended=5, account="agency"),
        )
        assert store.prune_ended_before("studio", T0 + 20) == Pruned(1, T0 + 1, T0 + 10)
        assert store.find_closed(("studio", uuid(1))) is None
        assert store.find_closed(("studio", uuid(2))) is not None
        assert store.find_closed(("studio", uuid(3))) is not None
        assert store.find_closed(("agency", uuid(5))) is not None
        assert store.created_after("studio", T0) == 3
        assert store.prune_ended_before("studio", T0 + 20) == Pruned()

    def test_a_dropped_workflow_does_not_move_the_line(self, store: Store) -> None:
        # Its end was never counted: should it show up after all, it must be.
        keep(store, workflow(1, "dropped", ended=10))
        assert store.prune_ended_before("studio", T0 + 20) == Pruned(1, None)

    def test_syncing_and_closing(self, store: Store) -> None:
        keep(store, workflow(1))
        store.sync()
        store.sync()
        store.close()
        store.close()


def announced(kept: RestoredState) -> tuple[object, ...]:
    """Totals, and which of them wait: their numbers mean nothing to another process."""
    return (
        {k: (t.value, t.exemplar, t.appeared > kept.announced) for k, t in kept.counters.items()},
        {
            k: (t.bounds, t.counts, t.sum, t.exemplars, t.appeared > kept.announced)
            for k, t in kept.histograms.items()
        },
    )


class TestThatLast:
    """What another life of the process finds."""

    def test_the_history(self, keeper: Keeper) -> None:
        store, kept = keeper.begin()
        assert list(kept.history) == []
        keep(store, workflow(1))
        rows = {("studio", "story", number): b"%d" % number for number in range(1, 6)}
        others = {("agency", "story", 6): b"6", ("studio", "minute", 7): b"\x007"}
        store.persist(Batch(history={**rows, **others}))
        changed = {("studio", "story", 2): None, ("studio", "story", 3): b"another"}
        store.persist(Batch(history=changed))
        store.close()
        store, kept = keeper.begin()
        store.close()
        # Which account it is of may stand in the row alone.
        found = [(kind, number, row) for (_, kind, number), row in kept.history]
        assert sorted(found) == [
            ("minute", 7, b"\x007"),
            ("story", 1, b"1"),
            ("story", 3, b"another"),
            ("story", 4, b"4"),
            ("story", 5, b"5"),
            ("story", 6, b"6"),
        ]
        of_one = [number for _, kind, number in (key for key, _ in kept.history) if kind == "story"]
        assert [number for number in of_one if number != 6] == [1, 3, 4, 5]

    def test_everything_of_a_workflow(self, keeper: Keeper, now: Clocks) -> None:
        store, _ = keeper.begin()
        whole = Workflow(
            account="studio",
            workflow_id=uuid(7),
            source="pushed",
            first_seen=Moment(T0 + 1, 1001.0),
            phase="open",
            run=3,
            status=Status.QUEUED,
            unknown_status="dreaming",
            last_seen=Moment(T0 + 2, 1002.0),
            created_at=T0 + 0.125,
            started_at=T0 + 0.25,
            ended_at=T0 + 0.5,
            queue_position=4,
            position_at=1002.0,
            entered_queue=True,
            waiting_from=1001.0,
            waiting_until=1002.0,
            start_wait=0.75,
            start_observed=True,
            outputs_counted=True,
            cause_pending_since=Moment(T0 + 3, 1003.0),
        )
        keep(store, whole)
        store.close()
        now.pass_(500)
        store, kept = keeper.begin()
        (found,) = kept.unsettled
        store.close()
        # The earlier process' monotonic times mean nothing; being unseen or owed starts over.
        assert found == Workflow(
            account="studio",
            workflow_id=uuid(7),
            source="pushed",
            first_seen=Moment(T0 + 1, 1500.0),
            phase="open",
            run=3,
            status=Status.QUEUED,
            unknown_status="dreaming",
            last_seen=Moment(T0 + 2, 1500.0),
            created_at=T0 + 0.125,
            started_at=T0 + 0.25,
            ended_at=T0 + 0.5,
            entered_queue=True,
            waiting_lost=True,
            start_wait=0.75,
            start_observed=True,
            outputs_counted=True,
            cause_pending_since=Moment(T0 + 3, 1500.0),
        )
        assert found.is_stored_like(found)

    @pytest.mark.parametrize("source", get_args(Source))
    def test_every_source(self, keeper: Keeper, source: Source) -> None:
        store, _ = keeper.begin()
        named = Workflow("studio", uuid(1), source, Moment(T0, 0.0))
        store.persist(Batch(workflows={key_of(named): named}))
        store.close()
        store, kept = keeper.begin()
        assert [w.source for w in kept.unsettled] == [source]
        store.close()

    def test_only_what_is_unsettled_is_loaded_and_the_rest_is_counted(self, keeper: Keeper) -> None:
        store, _ = keeper.begin()
        keep(
            store,
            workflow(1, "open"),
            workflow(2),
            workflow(3, pending=True, ended=25),
            workflow(4, "dropped", ended=99),
            workflow(5, account="agency", ended=7),
        )
        store.close()
        store, kept = keeper.begin()
        store.close()
        assert {w.workflow_id for w in kept.unsettled} == {uuid(1), uuid(3)}
        assert kept.closed == 4
        assert kept.latest_ends == {"studio": T0 + 25, "agency": T0 + 7}

    def test_marks_and_totals(self, keeper: Keeper) -> None:
        store, _ = keeper.begin()
        exemplar = Exemplar(uuid(1), 1.0, T0 + 5)
        failures = CounterTotal(3.0, exemplar, appeared=2)
        # As they are configured: 1 is no 1.0 to everybody.
        histogram = HistogramTotal((1, 5.5), [1, 0, 2], 11.5, [exemplar, None, exemplar])
        batch = Batch(
            accounts={"studio": AccountMarks(T0, T0 + 5), "agency": AccountMarks(T0 + 1)},
            counters={
                ("failures", ("studio", "Knoten 日本", "unknown")): failures,
                ("outputs", ("studio",)): CounterTotal(7.0),
            },
            histograms={("time_to_start", ("studio",)): histogram},
            announced=2,
        )
        store.persist(batch)
        store.close()
        store, kept = keeper.begin()
        store.close()
        assert kept.accounts == batch.accounts
        assert announced(kept) == announced(
            RestoredState(counters=batch.counters, histograms=batch.histograms, announced=2)
        )

    def test_totals_go_on_from_life_to_life(self, keeper: Keeper) -> None:
        waits: tuple[HistogramName, Labels] = ("time_to_start", ("studio",))
        outputs: tuple[CounterName, Labels] = ("outputs", ("studio",))
        # None of these can be told exactly in halves, and their sum has to be the same all the
        # same: a counter that steps back by the least is taken for a new one.
        for value in (0.1, 0.1 + 0.2, 0.1 + 0.2 + 1e9 / 3):
            store, _ = keeper.begin()
            counts = [int(value * 10), 1, 2]
            store.persist(
                Batch(
                    counters={outputs: CounterTotal(value)},
                    histograms={waits: HistogramTotal((1.0, 5.0), counts, value)},
                )
            )
            store.persist(Batch(counters={outputs: CounterTotal(value)}))
            store.close()
            store, kept = keeper.begin()
            store.close()
            assert kept.counters[outputs].value == value
            assert (kept.histograms[waits].sum, kept.histograms[waits].counts) == (value, counts)

    def test_a_histogram_with_other_buckets_begins_anew(self, keeper: Keeper) -> None:
        key: tuple[HistogramName, Labels] = ("time_to_start", ("studio",))
        store, _ = keeper.begin()
        store.persist(Batch(histograms={key: HistogramTotal((1.0, 5.0), [1, 2, 3], 4.0)}))
        store.persist(Batch(histograms={key: HistogramTotal((9.0,), [0, 1], 10.0)}))
        store.persist(Batch(histograms={key: HistogramTotal((9.0,), [1, 1], 11.0)}))
        store.close()
        store, kept = keeper.begin()
        store.close()
        assert kept.histograms[key].bounds == (9.0,)
        assert (kept.histograms[key].counts, kept.histograms[key].sum) == ([1, 1], 11.0)

    def test_a_total_that_falls(self, keeper: Keeper) -> None:
        key: tuple[CounterName, Labels] = ("failed_in_a_row", ("studio",))
        for value in (3.0, 1.0, 0.0, 2.0):
            store, _ = keeper.begin()
            store.persist(Batch(counters={key: CounterTotal(value)}))
            store.close()
            store, kept = keeper.begin()
            store.close()
            assert kept.counters[key].value == value

    def test_a_series_waits_until_it_is_announced(self, keeper: Keeper) -> None:
        key: tuple[CounterName, Labels] = ("failures", ("studio", "KSampler", "ValueError"))
        store, _ = keeper.begin()
        store.persist(Batch(counters={key: CounterTotal(1.0, appeared=1)}))
        store.close()
        store, kept = keeper.begin()
        assert kept.counters[key].appeared > kept.announced
        number = kept.counters[key].appeared
        store.persist(Batch(counters={key: CounterTotal(1.0, appeared=number)}))
        store.persist(Batch(announced=number))
        store.close()
        store, kept = keeper.begin()
        store.close()
        assert kept.counters[key].appeared <= kept.announced
        assert kept.counters[key].value == 1.0

    def test_marks_only_move_forward(self, keeper: Keeper) -> None:
        store, _ = keeper.begin()
        keep(store, workflow(1, ended=10))
        store.prune_ended_before("studio", T0 + 20)
        # A batch that was made before the row was dropped.
        store.persist(Batch(accounts={"studio": AccountMarks(T0, T0 + 3)}))
        store.close()
        store, kept = keeper.begin()
        assert kept.accounts["studio"] == AccountMarks(
            T0, T0 + 3, pruned_created=T0 + 1, pruned_ended=T0 + 10
        )
        store.persist(Batch(accounts={"studio": AccountMarks(T0 - 5, None, T0, T0 + 11)}))
        store.close()
        store, kept = keeper.begin()
        assert kept.accounts["studio"] == AccountMarks(
            T0, None, pruned_created=T0 + 1, pruned_ended=T0 + 11
        )
        store.close()

    def test_a_batch_that_cannot_be_written_leaves_nothing(self, keeper: Keeper) -> None:
        store, _ = keeper.begin()
        bad = Workflow("studio", "no-uuid", "pushed", Moment(T0, 0.0))
        with pytest.raises(ValueError, match="hex"):
            store.persist(Batch(workflows={("studio", uuid(1)): workflow(1), key_of(bad): bad}))
        assert store.find_closed(("studio", uuid(1))) is None
        keep(store, workflow(2))
        assert store.find_closed(("studio", uuid(2))) is not None
        store.close()
        _, kept = keeper.begin()
        assert kept.closed == 1

    def test_many_old_rows_are_dropped_in_several_goes(
        self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "PRUNE_AT_ONCE", 2)
        monkeypatch.setattr(postgres_store, "PRUNE_AT_ONCE", 2)
        store, _ = keeper.begin()
        keep(store, *(workflow(number, ended=number) for number in range(5)))
        goes = [store.prune_ended_before("studio", T0 + 99) for _ in range(4)]
        store.close()
        assert goes == [
            Pruned(2, T0 + 1, T0 + 1),
            Pruned(2, T0 + 1, T0 + 3),
            Pruned(1, T0 + 1, T0 + 4),
            Pruned(),
        ]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(tmp_path, Clocks())
        keep(store, workflow(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert len(modes) >= 2
    assert not [name for name, mode in modes.items() if mode & stat.S_IRWXO]
