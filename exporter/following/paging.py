"""How a list is cut into pages, and how far down it has been read without a gap. Pure.

The service's documents leave much open: how many rows it returns whatever is asked, whether it
counts pages by the requested size or by the size that it returns, what it shows beyond the end,
and whether its total is true. So nothing here relies on the arithmetic of pages. A page continues
the previous one if it repeats the last row that was read. A short page is the end of the list only
if the total agrees, or nothing follows. A total agrees only if it cannot be that of the page.

Ranks count from the top: the newest workflow has rank 0.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Final

from exporter.comfycontrol import WorkflowPage
from exporter.following.page_totals import PageTotals

PER_PAGE: Final = 100
"""The most that the service gives at once, as its documents say."""

MOST_SLIPS: Final = 10
"""How often in a row a pass steps back to what it may have missed, as the list moved otherwise
than it thought."""

FIRST_STEP_BACK: Final = 8
"""Rows by which it steps back if the number of deleted rows is unknown; doubled each time."""

MOST_MARGIN: Final = 20
"""Rows of the page before that a page shows again, at the most."""

REMEMBERED: Final = 2000
"""Rows that identify the place of a page: the last ones that were read."""

TAIL_READS: Final = 3
"""Pages in a row that show nothing but the end of what was read: the list ends there, and the
service shows its last page again."""

MOST_STALLS: Final = 10
"""Pages in a row that show nothing new at all: it makes no sense to go on."""

EMPTY_READS: Final = 2
"""How often a page is read that is empty though there must be something on it."""


@dataclass(frozen=True, slots=True)
class PageToRead:
    """A page of the list, by its number and by how many workflows it holds.

    `stride` is how many each page holds where the service gives as many as it likes.
    """

    number: int
    size: int = PER_PAGE
    stride: int | None = None

    @property
    def first(self) -> int:
        """The rank of its first workflow."""
        return (self.number - 1) * (self.stride or self.size)

    @property
    def end(self) -> int:
        """The first rank below it."""
        return self.number * (self.stride or self.size)


def page_from(rank: int, most: int = PER_PAGE, floor: int = 0) -> PageToRead:
    """The page that holds this rank and the most of what follows it.

    Pages begin only at multiples of their size, and the rank lies anywhere within a full one. Of
    smaller sizes, one nearly always begins where it should. None of them begins above `floor`.
    """
    sizes = range(most, 0 if floor else most // 2, -1)
    allowed = [size for size in sizes if rank - rank % size >= floor]
    size = max(allowed or [1], key=lambda size: size - rank % size)
    return PageToRead(rank // size + 1, size)


def page_at(rank: int, most: int) -> PageToRead:
    """The largest page that begins at this rank."""
    size = next(size for size in range(most, 0, -1) if rank % size == 0)
    return PageToRead(rank // size + 1, size)


class Reach:
    """How far down a list has been read without a gap, fed page by page.

    Args:
        trusts_total: whether the list's total has been right so far.
        is_repeated: whether the same is read over and over, so that its end need not be certain
            where no total tells it.
        totals: what is known of this list's totals, and others'. It is told what this one shows.
        ended_with: the last row of the list, when its end was last seen.
    """

    def __init__(
        self,
        *,
        trusts_total: bool = True,
        is_repeated: bool = False,
        totals: PageTotals | None = None,
        ended_with: str | None = None,
    ) -> None:
        self._trusts_total = trusts_total
        self._is_repeated = is_repeated
        self._totals = PageTotals() if totals is None else totals
        self._ended_with = ended_with
        # The total is known to be the list's: from others, not long ago; or it told of more rows
        # than had been read.
        self._is_the_lists = self._told_more = False
        self.end = 0
        """The first rank below what was read, as the list was when a page was last read."""
        self.at_end = False
        """Whether the list ends there."""
        self.doubtful = False
        """Whether there may be a gap after all: the list would not hold still."""
        self.contradicted = False
        """Whether the list is longer or shorter than its total says."""
        self.agreed = False
        """Whether it ends where its total says."""
        self.pushed: int | None = None
        """How many rows were added above between the last two pages, where their rows tell."""
        # It gives no more at once; and of how many rows the last short page was, and whether that
        # was so more than once.
        self._most = PER_PAGE
        self._short: int | None = None
        self._is_firm = False
        # It has given so many when it was asked for them.
        self._proven = 0
        self._stride: int | None = None
        self._total: int | None = None
        # The last rows that were read, each with its number from the top on.
        self._rows: dict[str, int] = {}
        self._count = 0
        # The number of the first row of the page that last showed none of those before.
        self._joined = 0
        self._margin = 1
        self._slips = 0
        self._stalls = 0
        self._tails = 0
        self._empty_reads = 0
        # Nothing stands below what was read, where that has not moved since.
        self._seems_over = False
        # No page may begin above this rank: what stands there cannot be read.
        self._floor = 0
        # The next page begins just below what was read.
        self._looks_below = False
        # The page asked for is to show again what was read last.
        self._shows_again = False

    @property
    def steady(self) -> bool:
        """Whether the last page was where it was thought to be."""
        return not self._slips

    @property
    def ends_with(self) -> str | None:
        """The last row of the list, as far as its end has ever been seen."""
        if self.at_end and not self.doubtful and self._rows:
            return next(reversed(self._rows))
        return self._ended_with

    def has_read(self, workflow_id: str) -> bool:
        """Whether this one is among the last that were read."""
        return workflow_id in self._rows

    def page(self, rank: int, most: int) -> PageToRead:
        """The page that holds this rank and what follows it, of no more rows than `most`."""
        if self._stride is not None:
            return PageToRead(rank // self._stride + 1, min(self._stride, PER_PAGE), self._stride)
        return page_from(rank, min(most, self._most), self._floor if rank >= self._floor else 0)

    def next_page(self, most: int, pushed: int) -> PageToRead:
        """The page that continues what was read.

        Args:
            most: how many rows an answer may hold.
            pushed: how many rows were added above since a page was last read, as it is thought.
        """
        self._shows_again = False
        if self.end == 0:
            return PageToRead(1, most)
        if self._seems_over:
            return self.page(self.end - 1, most)
        rank = self.end + pushed
        if self._stride is None:
            if self._looks_below:
                return page_at(self.end, min(most, self._most, self._proven or PER_PAGE))
            shown_again = self.page(max(0, rank - self._margin), most)
            if shown_again.first >= self._floor:
                gain = shown_again.end - rank
                if gain >= max(1, min(most, self._most) // 2):
                    self._shows_again = True
                    return shown_again
        return self.page(rank, most)

    def placed(self, page: PageToRead, entries: int) -> PageToRead:
        """Learn from how many rows a page has; where it stands, as far as is known now."""
        if entries > page.size and entries > (self._stride or 0):
            # It gives as many as it likes, and most likely counts its pages by that.
            self._stride = entries
        elif page.stride is not None and entries == page.size < page.stride:
            # It does respect the requested size, after all.
            self._stride = None
        return PageToRead(page.number, page.size, self._stride if entries else page.stride)

    def understood(self, page: PageToRead, shown: WorkflowPage, now: float) -> WorkflowPage:
        """A page as it is to be read: without its total, where that counts what was shown alone.

        Args:
            page: which one.
            shown: what it shows.
            now: when, in monotonic seconds.
        """
        first = self.placed(page, shown.entries).first
        is_fresh = [workflow.id not in self._rows for workflow in shown.workflows]
        # The list has as many rows as the page, it says, but more have been read; or it was to end
        # where it goes on.
        is_longer = shown.total == shown.entries < self._count + sum(is_fresh)
        goes_on = self._total == self.end and is_fresh[-1:] == [True]
        if page.number > 1 and (is_longer or goes_on):
            was_known = self._totals.count_what_was_shown
            self._totals.note_more(shown, first)
            self.contradicted |= self._totals.count_what_was_shown and not was_known
        else:
            self._totals.note(shown, first, now, is_new=any(is_fresh))
        self._is_the_lists = self._totals.count_the_list(now)
        return self._totals.understood(shown)

    def read(self, page: PageToRead, shown: WorkflowPage) -> bool:
        """Take a page, as it is understood; whether it continues what was read.

        If not, there may be a gap above it.
        """
        before, self._total = self._total, shown.total
        added: int | None = None
        if before is not None and shown.total is not None and self._trusts_total:
            added = shown.total - before
        is_placed = self._is_placed(page, shown.entries)
        page = self.placed(page, shown.entries)
        if shown.entries == 0:
            return self._read_nothing(page, added)
        if not self._continues(page, shown, added, is_placed=is_placed):
            if not is_placed and shown.entries < page.size:
                # More than it gives. What came instead may be from anywhere.
                self._note_short(shown.entries)
                return False
            if added and added > 0 and page.end <= self.end + added:
                # All of it was added since, and what was read stands further down.
                self.end += added
                return False
            self._step_back(page, added or 0)
            if self._slips <= MOST_SLIPS:
                return False
            self.doubtful = True
        was_steady, self._slips = self.steady, 0
        bottom = self._add(page, shown, added)
        if not was_steady:
            self.pushed = None  # it was counted from where it stepped back to
        self._look_for_end(page, shown, bottom)
        if page.size == shown.entries == shown.malformed == 1:
            self._floor = self.end
        return True

    def _is_placed(self, page: PageToRead, entries: int) -> bool:
        """Whether a page stands where its number says.

        Of one that is shorter than any before, nobody knows by which size it was counted.
        """
        if entries == page.size:
            self._proven = max(self._proven, entries)
        return page.number == 1 or page.size <= self._proven or page.stride is not None

    def _read_nothing(self, page: PageToRead, added: int | None) -> bool:
        total = self._total
        if self.end == 0:
            # Not believed at once where there must be something.
            self._empty_reads += 1
            if total and self._empty_reads < EMPTY_READS:
                return False
            self._seems_over = False
            self.contradicted, self.agreed = bool(total), total == 0
        elif page.first != self.end:
            self._step_back(page, added or 0)
            if self._slips <= MOST_SLIPS:
                return False
            self.doubtful = True
        elif total is None or not self._trusts_total:
            self._seems_over = not (self._looks_below or self._is_repeated)
        else:
            self.agreed = total == self.end and (added or 0) >= 0
            self._seems_over = not (self._looks_below or self.agreed)
        self.at_end = not self._seems_over
        self.contradicted |= self.at_end and total not in (None, self.end)
        return self.at_end

    def _continues(
        self, page: PageToRead, shown: WorkflowPage, added: int | None, *, is_placed: bool
    ) -> bool:
        if not self._rows or any(each.id in self._rows for each in shown.workflows):
            return True
        if not is_placed:
            return False
        if page.first == self.end or not shown.workflows:
            # Just below, and shows no row again: the total is all that there is to go by.
            hidden = added is None and self._shows_again and bool(shown.workflows)
            return page.first <= self.end and not added and not hidden
        return False

    def _step_back(self, page: PageToRead, added: int) -> None:
        self._slips += 1
        self._looks_below = self._seems_over = False
        if page.first <= self.end:
            self._margin = min(MOST_MARGIN, self._margin + 2)
            rows = FIRST_STEP_BACK << (self._slips - 1)
            self.end = max(0, self.end - (-added if self._slips == 1 and added < 0 else rows))

    def _add(self, page: PageToRead, shown: WorkflowPage, added: int | None) -> int:
        """Join a page to what was read; the first rank below it, as far as its rows tell."""
        ids = [workflow.id for workflow in shown.workflows]
        bottom = page.first + shown.entries
        known = [index for index, each in enumerate(ids) if each in self._rows]
        new = ids[known[-1] + 1 :] if known else ids
        self.pushed = None
        if not known:
            self._joined = self._count
            self.end = max(bottom, page.end if page.stride is not None else 0)
        else:
            stood = bottom - len(new) + (0 if new else self._below(ids, known))
            pushed = stood - self.end
            is_full = page.number == 1 or shown.entries == (page.stride or page.size)
            # A short one is the last, or it is shorter than what it stands for.
            is_last = bool(new) if added is None else pushed == added
            if is_full or (page.size <= self._proven and is_last):
                self.pushed = pushed
                self.end = bottom if new else stood
            else:
                self.end = max(0, self.end + (added or 0)) + len(new)
            bottom = self.end
        self._stalls = 0 if new or not ids else self._stalls + 1
        for each in new:
            self._rows[each] = self._count
            self._count += 1
        for each in list(islice(self._rows, max(0, len(self._rows) - REMEMBERED))):
            del self._rows[each]
        return bottom

    def _below(self, ids: list[str], known: list[int]) -> int:
        """How many of the rows that were read stand below the last one that is shown again.

        None, unless all are shown in the order in which they were read, and each page since has
        shown some of those before it. Else what was taken for following may have been new, and
        stand above.
        """
        first, last = self._rows[ids[known[0]]], self._rows[ids[known[-1]]]
        if last - first != known[-1] - known[0] or last == first or first < self._joined:
            return 0
        return self._count - 1 - last

    def _look_for_end(self, page: PageToRead, shown: WorkflowPage, bottom: int) -> None:
        """Whether this was the end; and if that is open, how to find out."""
        total, was_below = self._total, self._looks_below
        self._looks_below = False
        is_short = shown.entries < (page.stride or page.size)
        # Whether it ends with the last row that was read, or has nothing else.
        ends = bool(shown.workflows) and self._rows[shown.workflows[-1].id] == self._count - 1
        is_tail = ends and self._stalls > 0
        self._tails = self._tails + 1 if is_tail else 0
        # More was asked for than it ever gave.
        is_probe = page.size > self._proven > 0
        is_longer = self._trusts_total and total is not None and total > bottom
        # Where all of the list is shown again, beyond its end, the page stands not where it seems.
        is_whole = is_tail and total == shown.entries
        self.contradicted |= total is not None and total < bottom and not is_whole
        self._told_more |= total is not None and total > page.first + shown.entries
        if is_short and ends and total == bottom and self._believes(shown):
            self.at_end = self.agreed = True
        elif is_tail and (
            self._seems_over or (self._is_repeated and is_short and not is_probe and not is_longer)
        ):
            self.at_end = True
            self.agreed = total == bottom
            self.contradicted |= total is not None and not self.agreed
        elif self._stalls:
            self._looks_below = is_tail and (was_below or (is_short and not is_probe))
            # What was added above may have pushed the same rows here again.
            is_last = self._tails >= TAIL_READS and not is_longer
            self.at_end = is_last or self._stalls >= MOST_STALLS
            self.doubtful |= self.at_end and not is_last
        if is_short and page.stride is None:
            # The end, or the most that it gives at once: the rows below decide.
            self._note_short(shown.entries)
        elif page.size >= self._most and not self._is_firm:
            self._most = min(PER_PAGE, 2 * self._most)
        self._seems_over = False

    def _believes(self, shown: WorkflowPage) -> bool:
        """Whether a total that says that this page is the last one must be the list's.

        It may be that of the page, unless it has reported rows below before, or this page was read
        for them and shows none. Of what is read over and over, what others have shown will do.
        """
        return self._trusts_total and (
            self._told_more
            or self._stalls > 0
            or (self._is_repeated and self._is_the_lists)
            or shown.workflows[-1].id == self._ended_with
        )

    def _note_short(self, entries: int) -> None:
        self._is_firm = self._short == entries
        self._most = self._short = entries
