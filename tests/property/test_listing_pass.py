"""A pass over a list from which anything may be deleted, and to which anything may be added."""

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.listing_pass import ListingPass, PageToRead, PassBefore

changes = st.lists(
    st.tuples(
        st.integers(0, 40),  # arrivals after a page
        st.lists(st.integers(0, 900), max_size=5),  # deletions after it, by their place
    ),
    max_size=8,
)


def page_of(ids: list[int], page: PageToRead) -> WorkflowPage:
    shown = ids[page.first : page.end]
    return WorkflowPage(
        workflows=tuple(WorkflowSummary(str(i), "running", created_at=float(i)) for i in shown),
        total=len(ids),
        malformed=0,
        entries=len(shown),
    )


@settings(deadline=None)
@given(
    length=st.integers(0, 900),
    new=st.integers(0, 500),
    places=st.sets(st.integers(0, 899), max_size=5),
    guess=st.integers(-500, 1500),
    known=st.booleans(),
    per_second=st.integers(0, 300),
    changes=changes,
)
def test_nothing_new_escapes_and_nothing_wanted_is_forgotten(
    length: int,
    new: int,
    places: set[int],
    guess: int,
    known: bool,  # whether the guess is of a pass before
    per_second: int,  # how fast the list is thought to grow
    changes: list[tuple[int, list[int]]],
) -> None:
    # The youngest is created last; its id is its time of creation.
    ids = list(range(length, 0, -1))
    top = length
    watermark = float(length - new)
    wanted = {str(ids[place]): float(ids[place]) for place in places if place < length}
    listing = ListingPass(
        watermark=watermark,
        horizon=-1000.0,
        wanted=wanted.items(),
        before=PassBefore(
            {w: int(w) - guess for w in wanted} if known else {},
            total=length - 10 * per_second,
            began=-10.0,
        ),
        rank_of=lambda created: max(0, length - int(created) + guess),
    )
    seen: set[int] = set()
    deleted: set[int] = set()
    todo = list(changes)
    reads = 0
    while not listing.complete:
        reads += 1
        assert reads < 100
        now = reads * 0.5
        page = listing.next_page(now)
        shown = page_of(ids, page)
        seen |= {int(w.id) for w in shown.workflows}
        listing.read(page, shown, now)
        if todo:
            arrivals, gone = todo.pop()
            for place in sorted(set(gone), reverse=True):
                if place < len(ids):
                    deleted.add(ids.pop(place))
            ids[:0] = range(top + arrivals, top, -1)
            top += arrivals
    assert {i for i in range(1, length + 1) if i > watermark} - deleted <= seen
    # Anyone who is not found is said to be missing, and will be asked for by itself.
    assert set(wanted) == (set(wanted) & set(listing.learnt.heights)) | set(listing.missing)
