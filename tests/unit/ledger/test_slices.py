"""Totals by slices: decided once, kept in the row, and never lost when slices change."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.comfycontrol import Cause
from exporter.config.slices import compiled
from exporter.interfaces.observations import Status, Traits
from exporter.ledger.forms import COUNTERS
from exporter.ledger.holding import PATIENCE_SECONDS
from exporter.ledger.ledger import Ledger
from exporter.ledger.slicing import OTHER, SliceRule
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.metrics.slicing import added_up, counters_together
from tests.unit.ledger.ledgers import (
    BUCKETS,
    CAPS,
    TERMS,
    Clocks,
    counter,
    ended,
    finished,
    ledger_on_disk,
    make_ledger,
    pushed,
    seen,
    uuid,
)

TEAM = SliceRule("team", "tag", compiled("^team[:=](.+)$"), 2, "none")
TEMPLATE = SliceRule("template", "name", compiled("^([a-z0-9-]+)"), 50, OTHER)
VIDEO = Traits("sdxl-portrait v12", ("gpu", "team:video"))
ART = Traits("upscale", ("team=art",))


@pytest.fixture
def now() -> Clocks:
    clocks = Clocks()
    clocks.pass_(100)
    return clocks


def by_slices(snapshot: LedgerSnapshot) -> Mapping[tuple[str, ...], float]:
    """How many outcomes were counted, by the slices that are configured; zeros left out."""
    totals = added_up(
        snapshot.totals.counters_named("finished"),
        COUNTERS["finished"],
        snapshot.slices,
        counters_together,
    )
    found: dict[tuple[str, ...], float] = {}
    for labels, total in totals:
        if total.value:
            key = tuple(v for name, v in labels.items() if name not in {"account", "status"})
            found[key] = found.get(key, 0.0) + total.value
    return found


def slices_of(ledger: Ledger, number: int) -> tuple[tuple[str, str | None], ...]:
    (workflow,) = [w for w in ledger.snapshot().open_workflows if w.workflow_id == uuid(number)]
    return workflow.slices


class TestDecided:
    def test_an_outcome_is_counted_under_the_tags_of_its_workflow(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM, TEMPLATE])
        ledger.observe(ended(1, now(), traits=VIDEO))
        ledger.observe(ended(2, now(), traits=ART))
        ledger.observe(ended(3, now(), traits=Traits("Ünnamed", ("gpu",))))
        assert by_slices(ledger.snapshot()) == {
            ("video", "sdxl-portrait"): 1, ("art", "upscale"): 1, ("none", "other"): 1
        }  # fmt: skip

    def test_tags_that_are_edited_afterwards_move_nothing(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        ledger.observe(seen(1, "queued", now(), traits=VIDEO))
        ledger.observe(ended(1, now(), traits=ART))
        assert by_slices(ledger.snapshot()) == {("video",): 1}

    def test_a_new_run_has_the_slices_of_the_first(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        ledger.observe(ended(1, now(), traits=VIDEO))
        now.pass_(100)
        ledger.observe(ended(1, now(), completed=150, traits=ART))
        assert by_slices(ledger.snapshot()) == {("video",): 2}

    def test_the_cause_goes_with_the_outcome(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        ledger.observe(ended(1, now(), status="failed", traits=VIDEO))
        cause = Cause("KSampler", "ValueError")
        ledger.observe(ended(1, now(), status="failed", via="stream", cause=cause))
        assert counter(ledger.snapshot(), "failures", "KSampler", "ValueError", "team=video") == 1

    def test_what_is_too_many_counts_as_other(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        for number, team in enumerate(("a", "b", "c", "a", "d", "none", OTHER)):
            ledger.observe(ended(number, now(), traits=Traits(tags=(f"team:{team}",))))
        snapshot = ledger.snapshot()
        assert by_slices(snapshot) == {("a",): 2, ("b",): 1, (OTHER,): 3, ("none",): 1}
        assert counter(snapshot, "slice_overflow", "team") == 2

    def test_accounts_have_values_of_their_own(self, now: Clocks) -> None:
        terms = {**TERMS, "agency": TERMS["studio"]}
        ledger = make_ledger(now, terms=terms, slices=[TEAM])
        for account in terms:
            for number in range(2):
                traits = Traits(tags=(f"team={account}-{number}",))
                ledger.observe(seen(number, "queued", now(), account=account, traits=traits))
        assert counter(ledger.snapshot(), "slice_overflow") == 0


class TestUndecided:
    """Only a stream has reported it: it knows neither name nor tags."""

    def stream_tells_the_end(self, ledger: Ledger, now: Clocks) -> None:
        ledger.track(pushed(1, now()))
        ledger.observe(seen(1, "queued", now(), via="stream", created=None, position=3))
        ledger.observe(ended(1, now(), via="stream", created=None, completed=90))

    def test_its_outcome_waits_for_its_name(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        self.stream_tells_the_end(ledger, now)
        assert finished(ledger.snapshot()) == 0
        assert ledger.needed_traits("studio") == [uuid(1)]
        ledger.observe(ended(1, now(), via="detail", completed=90, traits=VIDEO))
        snapshot = ledger.snapshot()
        assert by_slices(snapshot) == {("video",): 1}
        assert snapshot.totals.histograms["entry_queue_position", ("studio", "team=video")].count
        assert ledger.needed_traits("studio") == []

    def test_reconciling_counts_it_meanwhile(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        self.stream_tells_the_end(ledger, now)
        assert ledger.finished("studio")[Status.COMPLETED] == 1
        ledger.observe(ended(1, now(), via="detail", completed=90, traits=VIDEO))
        assert ledger.finished("studio")[Status.COMPLETED] == 1

    def test_it_waits_no_longer_than_a_minute(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        self.stream_tells_the_end(ledger, now)
        now.pass_(PATIENCE_SECONDS - 1)
        ledger.persist()
        assert finished(ledger.snapshot()) == 0
        now.pass_(1)
        ledger.persist()
        assert by_slices(ledger.snapshot()) == {("none",): 1}
        ledger.observe(ended(1, now(), via="detail", completed=90, traits=VIDEO))
        assert by_slices(ledger.snapshot()) == {("none",): 1}

    def test_it_waits_over_a_restart(self, now: Clocks, tmp_path: Path) -> None:
        ledger = ledger_on_disk(tmp_path, now, [TEAM])
        self.stream_tells_the_end(ledger, now)
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now, [TEAM])
        assert finished(ledger.snapshot()) == 0
        assert ledger.needed_traits("studio") == [uuid(1)]
        ledger.observe(ended(1, now(), completed=90, traits=VIDEO))
        assert by_slices(ledger.snapshot()) == {("video",): 1}
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now, [TEAM])
        assert by_slices(ledger.snapshot()) == {("video",): 1}
        ledger.close()

    def test_without_slices_nothing_waits(self, now: Clocks) -> None:
        ledger = make_ledger(now)
        self.stream_tells_the_end(ledger, now)
        assert finished(ledger.snapshot()) == 1
        assert ledger.needed_traits("studio") == []

    def test_a_push_can_tell_it(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        taken = pushed(1, now())
        ledger.track(type(taken)(taken.account, taken.workflow_id, "pushed", now(), True, VIDEO))
        ledger.observe(ended(1, now(), via="stream", created=None, completed=90))
        assert by_slices(ledger.snapshot()) == {("video",): 1}


class TestChanged:
    def changed(self, ledger: Ledger, slices: Sequence[SliceRule]) -> None:
        ledger.change(TERMS, BUCKETS, CAPS, slices)

    def test_no_total_is_lost(self, now: Clocks) -> None:
        ledger = make_ledger(now)
        ledger.observe(ended(1, now(), traits=VIDEO))
        self.changed(ledger, [TEAM])
        ledger.observe(ended(2, now(), traits=VIDEO))
        ledger.observe(ended(3, now(), traits=ART))
        assert by_slices(ledger.snapshot()) == {("none",): 1, ("video",): 1, ("art",): 1}
        self.changed(ledger, [TEMPLATE, TEAM])
        ledger.observe(ended(4, now(), traits=VIDEO))
        assert by_slices(ledger.snapshot()) == {
            (OTHER, "none"): 1, (OTHER, "video"): 1, (OTHER, "art"): 1,
            ("sdxl-portrait", "video"): 1,
        }  # fmt: skip
        self.changed(ledger, [TEMPLATE])
        assert by_slices(ledger.snapshot()) == {(OTHER,): 3, ("sdxl-portrait",): 1}
        self.changed(ledger, [])
        assert by_slices(ledger.snapshot()) == {(): 4}

    def test_one_that_is_open_is_decided_where_it_was_not(self, now: Clocks) -> None:
        ledger = make_ledger(now, slices=[TEAM])
        ledger.observe(seen(1, "queued", now(), traits=VIDEO))
        self.changed(ledger, [TEAM, TEMPLATE])
        ledger.observe(seen(1, "queued", now(), traits=Traits("upscale", ("team=art",))))
        assert slices_of(ledger, 1) == (("team", "video"), ("template", "upscale"))

    def test_what_was_counted_stays_where_it_was(self, now: Clocks) -> None:
        ledger = make_ledger(now)
        ledger.observe(ended(1, now(), status="failed", traits=VIDEO))
        self.changed(ledger, [TEAM])
        cause = Cause("KSampler", "ValueError")
        ledger.observe(ended(1, now(), status="failed", via="detail", cause=cause, traits=VIDEO))
        assert by_slices(ledger.snapshot()) == {("none",): 1}
        assert counter(ledger.snapshot(), "failures", "KSampler", "ValueError", "team=video") == 0

    def test_values_are_remembered_over_a_restart(self, now: Clocks, tmp_path: Path) -> None:
        ledger = ledger_on_disk(tmp_path, now, [TEAM])
        ledger.observe(ended(1, now(), traits=Traits(tags=("team:a",))))
        ledger.observe(seen(2, "queued", now(), traits=Traits(tags=("team:b",))))
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now, [TEAM])
        for number, team in enumerate("cab", start=3):
            ledger.observe(ended(number, now(), traits=Traits(tags=(f"team:{team}",))))
        ledger.observe(ended(2, now()))
        assert by_slices(ledger.snapshot()) == {("a",): 2, ("b",): 2, (OTHER,): 1}
        ledger.close()

    def test_the_log_says_what_has_changed(
        self, now: Clocks, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        caplog.set_level(logging.INFO)
        ledger = ledger_on_disk(tmp_path, now, [TEAM])
        ledger.observe(ended(1, now(), traits=VIDEO))
        wider = SliceRule("team", "tag", TEAM.pattern, 9, "none")
        self.changed(ledger, [wider, TEMPLATE])
        self.changed(ledger, [wider, TEMPLATE])
        ledger.close()
        ledger_on_disk(tmp_path, now, [TEMPLATE]).close()
        told = [r.__dict__ for r in caplog.records if r.msg.startswith("slices changed")]
        marks = [
            {m: line[m] for m in ("added", "removed", "changed") if m in line} for line in told
        ]
        assert marks == [
            {"added": "team"},
            {"added": "template", "changed": "team"},
            {"added": "template", "removed": "team"},
        ]
