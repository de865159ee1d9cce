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
"""The largest number of rows in one answer, according to the service's documents."""

MOST_SLIPS: Final = 10
"""How often in a row a pass steps back to rows that it may have missed because the list moved in an
unexpected way."""

FIRST_STEP_BACK: Final = 8
"""How many rows it steps back if the number of deleted rows is unknown; doubled each time."""

MOST_MARGIN: Final = 20
"""The largest number of rows of the previous page that a page repeats."""

REMEMBERED: Final = 2000
"""How many of the last rows are remembered, to find out where a page continues."""

TAIL_READS: Final = 3
"""After this many pages in a row that show only the last rows that were read, the list ends there:
the service repeats its last page."""

MOST_STALLS: Final = 10
"""After this many pages in a row without anything new, reading stops."""

EMPTY_READS: Final = 2
"""How often a page is read that is empty although it must have rows."""


@dataclass(frozen=True, slots=True)
class PageToRead:
    """A page of the list: its number, and how many workflows it holds.

    `stride` is how many rows each page holds if the service ignores the requested size.
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
        """The first rank below this page."""
        return self.number * (self.stride or self.size)


def page_from(rank: int, most: int = PER_PAGE, floor: int = 0) -> PageToRead:
    """The page that contains this rank and as many of the following ranks as possible.

    Pages begin only at multiples of their size, so the rank may be anywhere within a page of full
    size. With a smaller size, a page nearly always begins close to the rank. The page never begins
    above `floor`.
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
    """How far down a list has been read without a gap; it learns from each page.

    Args:
        trusts_total: whether the list's total has been right so far.
        is_repeated: whether the list is read repeatedly, so that its end need not be certain if no
            total shows it.
        totals: what is known of the totals of this and other lists. It also learns from this list.
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
        # Whether the total is known to count the whole list: from other lists, not long ago; or
        # because it counted more rows than had been read.
        self._is_the_lists = self._told_more = False
        self.end = 0
        """The first rank below what was read, as the list was when a page was last read."""
        self.at_end = False
        """Whether the list ends at `end`."""
        self.doubtful = False
        """Whether there may be a gap, because the list kept changing."""
        self.contradicted = False
        """Whether the list is longer or shorter than its total says."""
        self.agreed = False
        """Whether the list ends where its total says."""
        self.pushed: int | None = None
        """How many rows were added above between the last two pages; None if their rows do not show
        it."""
        # The largest number of rows that the service returns at once; the size of the last short
        # page; and whether that size occurred more than once.
        self._most = PER_PAGE
        self._short: int | None = None
        self._is_firm = False
        # The largest number of rows that was requested and also returned.
        self._proven = 0
        self._stride: int | None = None
        self._total: int | None = None
        # The largest total that was told since a page last repeated rows.
        self._most_told = 0
        # The last rows that were read, each with its number counted from the top.
        self._rows: dict[str, int] = {}
        self._count = 0
        # The number of the first row of the last page that repeated no earlier row.
        self._joined = 0
        self._margin = 1
        self._slips = 0
        self._stalls = 0
        self._tails = 0
        self._empty_reads = 0
        # Whether there seems to be no row below those that were read, unless they have moved since.
        self._seems_over = False
        # No page may begin above this rank, because the rows there cannot be read.
        self._floor = 0
        # Whether the next page begins directly below the last row that was read.
        self._looks_below = False
        # Whether the requested page should repeat the last row that was read.
        self._shows_again = False

    @property
    def steady(self) -> bool:
        """Whether the last page was at the expected place."""
        return not self._slips

    @property
    def ends_with(self) -> str | None:
        """The id of the list's last row; None if its end was never seen."""
        if self.at_end and not self.doubtful and self._rows:
            return next(reversed(self._rows))
        return self._ended_with

    def has_read(self, workflow_id: str) -> bool:
        """Whether this id is among the last rows that were read."""
        return workflow_id in self._rows

    def page(self, rank: int, most: int) -> PageToRead:
        """The page that contains this rank and the following ones, with at most `most` rows."""
        if self._stride is not None:
            return PageToRead(rank // self._stride + 1, min(self._stride, PER_PAGE), self._stride)
        return page_from(rank, min(most, self._most), self._floor if rank >= self._floor else 0)

    def certain_page(self, rank: int, most: int) -> PageToRead:
        """The same, with no more rows than the service is known to return.

        Otherwise it may number its pages by fewer rows, and show others than those asked for.
        """
        return self.page(rank, min(most, self._proven or PER_PAGE))

    def next_page(self, most: int, pushed: int) -> PageToRead:
        """The page that continues the rows read so far.

        Args:
            most: how many rows an answer may hold.
            pushed: the estimated number of rows that were added above since the last page was read.
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
        """Learn from the number of rows on a page; return its place, as far as known now."""
        if entries > page.size and entries > (self._stride or 0):
            # The service ignores the requested size, and most likely numbers its pages by its own
            # size.
            self._stride = entries
        elif page.stride is not None and entries == page.size < page.stride:
            # The service does respect the requested size.
            self._stride = None
        return PageToRead(page.number, page.size, self._stride if entries else page.stride)

    def understood(self, page: PageToRead, shown: WorkflowPage, now: float) -> WorkflowPage:
        """The page to use: without its total, if that counts only the shown rows.

        Args:
            page: which page.
            shown: what the page shows.
            now: monotonic seconds.
        """
        first = self.placed(page, shown.entries).first
        is_fresh = [workflow.id not in self._rows for workflow in shown.workflows]
        # The total says that the list has as many rows as the page, but more have been read; or the
        # list was said to end where it continues.
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
        """Add a page from `understood`; return whether it continues the rows read so far.

        If it does not, there may be a gap above it.
        """
        before, self._total = self._total, shown.total
        self._most_told = max(self._most_told, shown.total or 0)
        added: int | None = None
        if before is not None and shown.total is not None and self._trusts_total:
            added = shown.total - before
        is_placed = self._is_placed(page, shown.entries)
        page = self.placed(page, shown.entries)
        if shown.entries == 0:
            return self._read_nothing(page, added)
        if not self._continues(page, shown, added, is_placed=is_placed):
            if not is_placed and shown.entries < page.size:
                # More rows were requested than the service returns. What came instead may be from
                # anywhere.
                self._note_short(shown.entries)
                return False
            if added and added > 0 and page.end <= self.end + added:
                # All rows of this page were added since, and the rows read before are further down.
                self.end += added
                return False
            self._step_back(page, added or 0)
            if self._slips <= MOST_SLIPS:
                return False
            self.doubtful = True
        was_steady, self._slips = self.steady, 0
        bottom = self._add(page, shown, added)
        if not was_steady:
            self.pushed = None  # it was counted from the place after the step back
        self._look_for_end(page, shown, bottom)
        if page.size == shown.entries == shown.malformed == 1:
            self._floor = self.end
        return True

    def _is_placed(self, page: PageToRead, entries: int) -> bool:
        """Whether a page is at the place that its number says.

        If a page is shorter than all before, it is unknown which size the service used for
        numbering it.
        """
        if entries == page.size:
            self._proven = max(self._proven, entries)
        return page.number == 1 or page.size <= self._proven or page.stride is not None

    def _read_nothing(self, page: PageToRead, added: int | None) -> bool:
        total = self._total
        if self.end == 0:
            # An empty page is not believed at once if it must have rows.
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
        self.doubtful |= self.at_end and self._has_counted_more
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
            # The page is directly below, and repeats no row: only the total can show whether rows
            # are missing. Even one that was wrong before shows it, if it has become smaller.
            # Then rows were deleted, or a lagging replica has answered, which has other rows here.
            is_shorter = 0 < (self._total or 0) < self._most_told
            hidden = is_shorter or (added is None and self._shows_again)
            return page.first <= self.end and not added and not (hidden and shown.workflows)
        return False

    def _step_back(self, page: PageToRead, added: int) -> None:
        self._slips += 1
        self._looks_below = self._seems_over = False
        if page.first <= self.end:
            self._margin = min(MOST_MARGIN, self._margin + 2)
            rows = FIRST_STEP_BACK << (self._slips - 1)
            self.end = max(0, self.end - (-added if self._slips == 1 and added < 0 else rows))

    def _add(self, page: PageToRead, shown: WorkflowPage, added: int | None) -> int:
        """Join a page to the rows read so far; return the first rank below it, as its rows show."""
        ids = [workflow.id for workflow in shown.workflows]
        bottom = page.first + shown.entries
        known = [index for index, each in enumerate(ids) if each in self._rows]
        new = ids[known[-1] + 1 :] if known else ids
        self.pushed = None
        if not known:
            self._joined = self._count
            self.end = max(bottom, page.end if page.stride is not None else 0)
        else:
            # Nothing is missing above this page, so its total is what the next ones compare with.
            # Otherwise, one deleted row would make all of them doubtful.
            self._most_told = self._total or self._most_told
            stood = bottom - len(new) + (0 if new else self._below(ids, known))
            pushed = stood - self.end
            is_full = page.number == 1 or shown.entries == (page.stride or page.size)
            # A short page is the last one, or the service returned fewer rows than the page has.
            is_last = bool(new) if added is None else pushed == added
            if is_full or (page.size <= self._proven and is_last):
                self.pushed = pushed
                self.end = bottom if new else stood
            else:
                self.end = max(0, self.end + (added or 0)) + len(new)
            bottom = self.end
        # A single row that cannot be read is one that is too large. Whole pages of such rows may
        # follow below the end of the list, for ever.
        is_skipped = not ids and page.size == 1
        self._stalls = 0 if new or is_skipped else self._stalls + 1
        for each in new:
            self._rows[each] = self._count
            self._count += 1
        for each in list(islice(self._rows, max(0, len(self._rows) - REMEMBERED))):
            del self._rows[each]
        return bottom

    def _below(self, ids: list[str], known: list[int]) -> int:
        """How many of the rows read before are below the last one that this page repeats.

        None, unless all are shown in the order in which they were read, and each page since has
        repeated some rows before it. Otherwise rows that seemed to follow may be new ones from
        above.
        """
        first, last = self._rows[ids[known[0]]], self._rows[ids[known[-1]]]
        if last - first != known[-1] - known[0] or last == first or first < self._joined:
            return 0
        return self._count - 1 - last

    def _look_for_end(self, page: PageToRead, shown: WorkflowPage, bottom: int) -> None:
        """Find out whether this was the end of the list, or how to find it out."""
        total, was_below = self._total, self._looks_below
        self._looks_below = False
        is_short = shown.entries < (page.stride or page.size)
        # Whether the page ends with the last row that was read, or has nothing else.
        ends = bool(shown.workflows) and self._rows[shown.workflows[-1].id] == self._count - 1
        is_tail = ends and self._stalls > 0
        self._tails = self._tails + 1 if is_tail else 0
        # More rows were requested than the service ever returned.
        is_probe = page.size > self._proven > 0
        is_longer = self._trusts_total and total is not None and total > bottom
        # If a page beyond the end repeats the whole list, the page is not where it seems to be.
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
            # Rows that were added above may have moved the same rows here again.
            is_last = self._tails >= TAIL_READS and not is_longer
            self.at_end = is_last or self._stalls >= MOST_STALLS
            self.doubtful |= self.at_end and not is_last
        if is_short and page.stride is None:
            # This is the end of the list, or the most that the service returns at once: the rows
            # below decide.
            self._note_short(shown.entries)
        elif page.size >= self._most and not self._is_firm:
            self._most = min(PER_PAGE, 2 * self._most)
        self._seems_over = False

    def _believes(self, shown: WorkflowPage) -> bool:
        """Whether a total that makes this page the last one must count the whole list.

        It may count only the page, unless it counted rows below before, or this page was read to
        find such rows and shows none. For a list that is read repeatedly, what other lists have
        shown is enough.
        """
        return self._trusts_total and (
            self._told_more
            or self._stalls > 0
            or (self._is_repeated and self._is_the_lists)
            or shown.workflows[-1].id == self._ended_with
        )

    @property
    def _has_counted_more(self) -> bool:
        """Whether the total was larger before: this one may be that of a lagging replica."""
        return self._trusts_total and self._total is not None and self._total < self._most_told

    def _note_short(self, entries: int) -> None:
        self._is_firm = self._short == entries
        self._most = self._short = entries
