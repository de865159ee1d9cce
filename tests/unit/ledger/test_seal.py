"""By what the ledger proves itself: checksums of rows, digests of tables, and the seal.

A checksum that comes out otherwise than it was kept is damage, and the file is set aside: what was
written by an earlier version must come to the same, for ever.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.seal import Digest, Draft, Seal, Value, checksum, digest_of

values = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary()
sums = st.integers(-(2**63), 2**63 - 1)

WORKFLOW_COLUMNS = 24
"""Of a workflow's row, when rows got their checksums."""


class TestChecksums:
    @pytest.mark.parametrize(
        ("table", "row", "kept"),
        [
            ("totals", ("started", 7), 523143837667657693),
            ("accounts", ("studio", None, 1.5, b"\x00\xff", "ü"), -1715620199628373075),
            ("workflows", tuple(range(WORKFLOW_COLUMNS)), -1113391654017009811),
        ],
    )
    def test_what_was_kept_by_earlier_versions_still_proves_itself(
        self, table: str, row: tuple[Value, ...], kept: int
    ) -> None:
        assert checksum(table, row) == kept

    @given(st.text(), st.lists(values, max_size=5))
    def test_it_fits_into_a_column_of_sqlite(self, table: str, row: list[Value]) -> None:
        assert -(2**63) <= checksum(table, row) < 2**63

    def test_it_tells_the_values_their_places_and_the_table_apart(self) -> None:
        rows: list[tuple[str, tuple[Value, ...]]] = [
            ("totals", (1, 2)),
            ("totals", (2, 1)),
            ("totals", (1, 2.0)),
            ("totals", (1, "2")),
            ("totals", (1, 2, None)),
            ("marks", (1, 2)),
        ]
        assert len({checksum(*each) for each in rows}) == len(rows)

    @given(st.integers(1, 5))
    def test_a_column_that_came_later_and_holds_nothing_changes_nothing(self, more: int) -> None:
        row: tuple[Value, ...] = tuple(range(WORKFLOW_COLUMNS))
        assert checksum("workflows", row + (None,) * more) == checksum("workflows", row)
        assert checksum("workflows", (*row, None, 5)) != checksum("workflows", row)
        # One that was there from the beginning does, though it holds nothing.
        shorter = (*row[:-1], None)
        assert checksum("workflows", shorter) != checksum("workflows", shorter[:-1])


class TestDigests:
    @given(st.lists(sums))
    def test_the_order_of_rows_makes_no_difference(self, rows: list[int]) -> None:
        assert digest_of(rows) == digest_of(reversed(rows))
        assert digest_of(rows).rows == len(rows)

    @given(st.lists(sums), sums)
    def test_a_row_that_goes_leaves_what_was_before_it_came(
        self, rows: list[int], row: int
    ) -> None:
        before = digest_of(rows)
        assert before.plus(row) != before
        assert before.plus(row).plus(row, -1) == before

    @given(st.lists(sums, min_size=1), sums.filter(bool))
    def test_another_row_in_its_place_shows(self, rows: list[int], by: int) -> None:
        assert digest_of(rows).total != digest_of([*rows[:-1], rows[-1] + by]).total

    @given(st.lists(sums))
    def test_the_sum_stays_within_64_bits(self, rows: list[int]) -> None:
        assert 0 <= digest_of(rows).total < 2**64


SEAL = Seal(
    ledger="0123456789abcdef0123456789abcdef",
    step=9,
    schema=-5,
    commits=41,
    digests={"totals": Digest(2, 2**64 - 1), "workflows": Digest(1, 7)},
    words=frozenset({"listing", "stream"}),
)


class TestSeals:
    def test_what_is_kept_is_read_as_it_was(self) -> None:
        assert Seal.parse(*SEAL.parts()) == SEAL
        assert SEAL.parts() == (
            (
                '["0123456789abcdef0123456789abcdef",9,-5,41,'
                '{"totals":[2,18446744073709551615],"workflows":[1,7]}]'
            ),
            '["listing","stream"]',
        )

    def test_a_table_without_rows_has_the_digest_of_none(self) -> None:
        assert SEAL.digest("marks") == digest_of([])
        assert SEAL.digest("workflows") == Digest(1, 7)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '["a",1,2,3]', '["a",1,2,3,{"t":[1]}]'])
    def test_what_is_none_is_refused(self, content: str) -> None:
        with pytest.raises((ValueError, TypeError, LookupError)):
            Seal.parse(content, "[]")


class TestDrafts:
    def test_where_nothing_was_written_the_seal_stays(self) -> None:
        assert Draft(SEAL).sealed() is SEAL

    def test_each_transaction_counts_once(self) -> None:
        draft = Draft(SEAL)
        for row in (1, 2, 3):
            draft.change("totals", None, row)
        assert draft.sealed().commits == SEAL.commits + 1

    @given(st.lists(st.tuples(sums | st.none(), sums | st.none()), min_size=1))
    def test_it_comes_to_what_the_rows_come_to(
        self, changes: list[tuple[int | None, int | None]]
    ) -> None:
        draft, expected = Draft(SEAL), SEAL.digest("workflows")
        for before, after in changes:
            draft.change("workflows", before, after)
            if before is not None:
                expected = expected.plus(before, -1)
            if after is not None:
                expected = expected.plus(after)
        sealed = draft.sealed()
        assert sealed.digest("workflows") == expected
        assert sealed.digest("totals") == SEAL.digest("totals")

    def test_a_table_that_had_no_rows_begins_with_none(self) -> None:
        draft = Draft(SEAL)
        draft.change("marks", None, 5)
        assert draft.sealed().digest("marks") == digest_of([5])

    def test_words_are_added_and_none_is_forgotten(self) -> None:
        draft = Draft(SEAL)
        draft.use(["pushed"])
        draft.use(["listing", "file"])
        draft.change("totals", None, 1)
        assert draft.sealed().words == SEAL.words | {"pushed", "file"}
