"""Snapshots from arbitrary data: read, read in part, or refused; never anything else."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import unicodedata

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.comfycontrol.documents import MAX_QUEUE_NUMBER
from exporter.comfycontrol.listing import (
    MalformedDetailError,
    MalformedListingError,
    parse_detail,
    parse_page,
)
from exporter.comfycontrol.snapshot import (
    Cause,
    MalformedSnapshotError,
    ParsedSnapshot,
    Snapshot,
    parse_snapshot,
)
from exporter.comfycontrol.stamps import parse_stamp, read_number
from exporter.comfycontrol.text import MAX_LENGTH, clean

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["queued", "2024-01-15T14:30:05Z", "1e999", "a1b2c3d4-e5f6-7890-abcd-ef1234567890"]
    ),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = (
    *("id", "status", "prompt", "queue_number", "outputs", "cause", "tags", "error_node"),
    *("exception_type", "started_at", "completed_at", "created_at", "updated_at"),
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=10)
CAUSES = st.dictionaries(
    st.sampled_from(["node_type", "exception_type", "exception_message"]), JSON
)


def parse_or_refuse(data: str | bytes) -> ParsedSnapshot | None:
    try:
        return parse_snapshot(data)
    except MalformedSnapshotError:
        return None


def check(parsed: ParsedSnapshot) -> None:
    snapshot = parsed.snapshot
    assert snapshot.status
    texts = [snapshot.status]
    if snapshot.cause is not None:
        texts += [
            text for text in (snapshot.cause.node_type, snapshot.cause.exception_type) if text
        ]
    for text in texts:
        assert clean(text) == text
    assert snapshot.queue_number is None or 0 <= snapshot.queue_number <= MAX_QUEUE_NUMBER
    assert not isinstance(snapshot.queue_number, bool)
    assert snapshot.outputs is None or snapshot.outputs >= 0


@given(data=st.binary() | st.text())
@example(data=b"[" * 100_000)
@example(data="\ud800")
@example(data=b"\xff")
@example(data='{"status":NaN}')
@example(data='{"status":"queued","queue_number":1e999}')
@example(data='{"status":"\\ud800"}')
def test_arbitrary_data_is_read_or_refused(data: str | bytes) -> None:
    parsed = parse_or_refuse(data)
    if parsed is not None:
        check(parsed)


@given(
    document=JSON
    | OBJECTS
    | st.builds(lambda a, b: {**a, "status": "failed", "cause": b}, OBJECTS, CAUSES)
)
def test_arbitrary_json_is_read_or_refused(document: object) -> None:
    data = json.dumps(document)
    parsed = parse_or_refuse(data)
    assert parsed == parse_or_refuse(data.encode())
    if parsed is not None:
        check(parsed)


@given(document=OBJECTS)
def test_what_is_wrong_in_a_field_costs_that_field_alone(document: dict[str, object]) -> None:
    right = {"status": "running", "started_at": "2024-01-15T14:30:05Z"}
    noise = {key: value for key, value in document.items() if key not in right}
    try:
        data = orjson.dumps({**noise, **right})
    except TypeError:  # what this library cannot write it does not read either
        return
    parsed = parse_snapshot(data)
    assert parsed.snapshot.status == "running"
    assert parsed.snapshot.started_at == 1705329005.0
    for field in parsed.malformed_fields:
        assert getattr(parsed.snapshot, field.partition(".")[0], None) is None or field in {
            "outputs",
            "cause.node_type",
            "cause.exception_type",
        }


@given(
    document=JSON | OBJECTS | st.builds(lambda entries: {"workflows": entries}, st.lists(OBJECTS))
)
def test_arbitrary_answers_are_read_or_refused(document: object) -> None:
    body = json.dumps(document).encode()
    try:
        page = parse_page(body)
    except MalformedListingError:
        pass
    else:
        assert page.entries >= len(page.workflows)
        assert page.entries >= page.malformed >= page.entries - len(page.workflows)
    try:
        detail = parse_detail(body)
    except MalformedDetailError:
        pass
    else:
        assert detail.status


@given(named=st.text(st.characters(codec=None), max_size=200), wrapped=st.booleans())
@example(named="\ud83d\ude00", wrapped=False)
@example(named="17", wrapped=True)
def test_names_in_causes_are_cleaned_or_malformed(named: str, wrapped: bool) -> None:
    workflow = {"status": "failed", "error_node": named, "exception_type": named}
    detail = parse_detail(json.dumps({"data": workflow} if wrapped else workflow).encode())
    parsed = parse_snapshot(
        json.dumps({"status": "failed", "cause": {"node_type": named, "exception_type": named}})
    )
    assert parsed.snapshot.cause is not None
    for text, malformed in (
        (detail.exception_type, detail.malformed_fields),
        (parsed.snapshot.cause.node_type, parsed.malformed_fields),
    ):
        if text is None:
            assert {"exception_type", "cause.node_type"} & set(malformed) or not clean(named)
        else:
            assert text == clean(text)
            text.encode()
    assert detail.error_node in {detail.exception_type, None}
    # Only from a stream: `GET` is the last that is asked.
    is_damaged = any(unicodedata.category(character) == "Cc" for character in named)
    assert not is_damaged or parsed.snapshot.cause == Cause(None, None)


@given(
    moment=st.datetimes(dt.datetime(2000, 1, 2), dt.datetime(2199, 12, 30)),  # noqa: DTZ001
    offset=st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_stamps_are_read_to_the_float_nearest(moment: dt.datetime, offset: int) -> None:
    zone = dt.timezone(dt.timedelta(minutes=offset))
    stamp = moment.replace(tzinfo=zone)
    assert parse_stamp(stamp.isoformat()) == stamp.timestamp()
    assert parse_stamp(moment.isoformat()) == moment.replace(tzinfo=dt.UTC).timestamp()
    assert parse_stamp(moment.isoformat() + "Z") == moment.replace(tzinfo=dt.UTC).timestamp()


@given(
    moment=st.datetimes(dt.datetime(2000, 1, 2), dt.datetime(2199, 12, 30)),  # noqa: DTZ001
    offset=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    separator=st.sampled_from("Tt "),
    point=st.sampled_from(".,"),
)
def test_stamps_are_the_same_time_in_the_basic_format(
    moment: dt.datetime, offset: int, separator: str, point: str
) -> None:
    stamp = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset)))
    basic = stamp.strftime(f"%Y%m%d{separator}%H%M%S{point}%f%z")
    assert parse_stamp(basic) == stamp.timestamp()


@given(
    seconds=st.integers(946_684_800, 7_258_118_399),
    digits=st.integers(0, 9),
)
def test_numbers_are_the_same_time_in_each_unit(seconds: int, digits: int) -> None:
    for exponent in (0, 3, 6, 9):
        number = seconds * 10**exponent + digits * 10**exponent // 10
        assert read_number(number) == parse_stamp(str(number))
        expected = seconds + (digits / 10 if exponent else 0)
        assert parse_stamp(str(number)) == expected
    assert parse_stamp(f"{seconds}.{digits}") == float(f"{seconds}.{digits}")


@given(
    seconds=st.integers(946_684_800, 7_258_118_399),
    milliseconds=st.integers(0, 999),
    zeros=st.integers(0, 40),
)
def test_stamps_keep_their_milliseconds(seconds: int, milliseconds: int, zeros: int) -> None:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    parsed = parse_stamp(f"{moment}.{milliseconds:03}{'0' * zeros}Z")
    assert round(parsed * 1000) == seconds * 1000 + milliseconds
    assert parsed == float(f"{seconds}.{milliseconds:03}")


@given(text=st.text() | st.text(alphabet="0123456789-:.,TZ+ "))
def test_arbitrary_text_is_a_time_or_is_not(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_stamp(text) > 900_000_000


@given(text=st.text(st.characters(codec=None)) | st.text(max_size=300).map(lambda t: t * 3))
@example(text="\ud800" * 200)
@example(text=" " * 5000 + "x")
def test_cleaned_text_is_safe_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) <= MAX_LENGTH
    assert clean(cleaned) == cleaned
    assert cleaned == cleaned.strip()
    cleaned.encode()
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)


def test_a_snapshot_has_no_room_for_what_is_private() -> None:
    data = orjson.dumps(
        {
            "status": "failed",
            "prompt": {"secret": "prompt"},
            "outputs": [{"id": "x", "src": "https://signed.example/secret"}],
            "cause": {"node_type": "KSampler", "exception_message": "secret"},
        }
    )
    assert "secret" not in repr(parse_snapshot(data))
    assert set(Snapshot.__slots__) == {
        *("status", "queue_number", "outputs", "cause", "started_at", "completed_at")
    }
