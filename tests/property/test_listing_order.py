"""A list that is sorted by creation with some disorder, or by change: passes over a whole day."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.listing_pass import ListingPass, PassBefore

PAGE_SECONDS = 0.3


class Day:
    """Workflows are created and end; a list shows them, newest first by the one or the other."""

    def __init__(self, dice: random.Random, order: str, jitter: float, stamps: str) -> None:
        self._dice = dice
        self._order = order
        self._jitter = jitter
        self._stamps = stamps
        self._rows: dict[str, list[float]] = {}
        self.now = 1000.0

    def live(self, seconds: float, arrivals: int, ends: int) -> None:
        """So many are created, and so many change, at any time until then."""
        begin, self.now = self.now, self.now + seconds
        for _ in range(arrivals):
            at = self._dice.uniform(begin, self.now)
            self._rows[str(len(self._rows))] = [at, at, at + self._dice.uniform(0, self._jitter)]
        for _ in range(min(ends, len(self._rows))):
            row = self._rows[self._dice.choice(list(self._rows))]
            row[1] = max(row[1], self._dice.uniform(begin, self.now))

    def created_until(self, time: float) -> set[str]:
        return {each for each, row in self._rows.items() if row[0] <= time}

    def changed_since(self, time: float) -> set[str]:
        return {each for each, row in self._rows.items() if row[1] > time}

    def page(self, first: int, size: int) -> WorkflowPage:
        # Rows may stand some seconds from where their creation says.
        key = 2 if self._order == "created" else 1
        ids = sorted(self._rows, key=lambda each: -self._rows[each][key])[first : first + size]
        return WorkflowPage(
            workflows=tuple(self._shown(each, *self._rows[each][:2]) for each in ids),
            total=len(self._rows),
            malformed=0,
            entries=len(ids),
        )

    def _shown(self, workflow_id: str, created: float, updated: float) -> WorkflowSummary:
        return WorkflowSummary(
            workflow_id,
            "completed",
            created_at=created if "c" in self._stamps else None,
            updated_at=updated if "u" in self._stamps else None,
        )


def run(day: Day, watermark: float | None, before: PassBefore) -> tuple[set[str], ListingPass, int]:
    listing = ListingPass(
        watermark=watermark, horizon=0.0, wanted=(), before=before, rank_of=lambda _: 0
    )
    seen: set[str] = set()
    pages = 0
    while not listing.complete:
        page = listing.next_page(day.now)
        shown = day.page(page.first, page.size)
        seen |= {each.id for each in shown.workflows}
        listing.read(page, shown, day.now)
        day.live(PAGE_SECONDS, day._dice.randint(0, 3), 0)
        pages += 1
    return seen, listing, pages


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    order=st.sampled_from(["created", "updated"]),
    jitter=st.sampled_from([0.0, 1.0, 8.0]),
    stamps=st.sampled_from(["cu", "c", "u"]),
    bursts=st.lists(st.tuples(st.integers(0, 260), st.integers(0, 60)), min_size=3, max_size=8),
)
def test_every_pass_shows_what_was_created_since_the_one_before(
    seed: int, order: str, jitter: float, stamps: str, bursts: list[tuple[int, int]]
) -> None:
    if order == "updated" and stamps == "c":
        order = "created"  # nothing could tell it
    day = Day(random.Random(seed), order, jitter, stamps)
    day.live(3600.0, 400, 0)
    seen, listing, _ = run(day, 0.0, PassBefore())
    watermark = listing.newest or 0.0
    for arrivals, changes in bursts:
        day.live(60.0, arrivals, changes)
        there = day.created_until(day.now)
        changed = day.changed_since(day.now - 60.0)
        shown, listing, pages = run(day, watermark, listing.learnt)
        seen |= shown
        assert there <= seen
        if order == "updated" and stamps == "u":
            assert changed <= shown
        # What is new, what is changed, and what the overlap and the list's movement add.
        assert pages <= (arrivals + changes + 60) // 60 + 4
        watermark = max(watermark, listing.newest or 0.0)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    bursts=st.lists(st.integers(0, 500), min_size=2, max_size=6),
)
def test_without_any_stamp_what_is_new_is_told_by_what_is_known(
    seed: int, bursts: list[int]
) -> None:
    day = Day(random.Random(seed), "created", 0.0, "")
    day.live(3600.0, 3000, 0)
    _seen, listing, pages = run(day, None, PassBefore())
    assert (listing.newest, pages) == (None, 10)
    for arrivals in bursts:
        day.live(60.0, arrivals, 0)
        there = day.created_until(day.now) - day.created_until(day.now - 60.0)
        shown, listing, pages = run(day, 0.0, listing.learnt)
        assert there <= shown
        assert pages <= arrivals // 90 + 2
