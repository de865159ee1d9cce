"""Documents that are damaged anywhere: what is not, is read as if nothing were."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol.listing import MalformedListingError, parse_page
from exporter.comfycontrol.salvage import LEVELS, salvage_object

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["", "}", "]", "},{", '"', "\\", '","', "[{", "\u2028"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=10,
)
SPACES = st.sampled_from([None, 1])


def id_of(number: int) -> str:
    return f"a1b2c3d4-e5f6-7890-abcd-{number:012}"


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with fields that nobody knows, in any order."""
    count = draw(st.integers(0, 6))
    found = []
    for number in range(count):
        more = draw(st.dictionaries(TEXTS, VALUES, max_size=3))
        fields = [*more.items(), ("id", id_of(number)), ("status", "queued")]
        found.append(dict(draw(st.permutations(fields))))
    return found


def _above(value: Any, levels: int) -> Any:
    if isinstance(value, dict):
        return {k: _above(v, levels - 1) for k, v in value.items()} if levels else {}
    if isinstance(value, list):
        return [_above(v, levels - 1) for v in value] if levels else []
    return value


@given(document=st.dictionaries(TEXTS, VALUES, max_size=4), spaces=SPACES)
def test_what_is_json_is_read_as_the_parser_reads_it(
    document: dict[str, Any], spaces: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=spaces)
    for given_ in (text, text.encode()):
        found = salvage_object(given_, max_depth=64, rows="x")
        assert found == _above(orjson.loads(text), LEVELS)
        assert found is not None
        assert not found.damaged


WRONG = st.sampled_from(
    ["NaN", "Infinity", "1e999", "9" * 400, '"\\ud83d"', '"\x00"', "[" * 70 + "]" * 70, "nil"]
)


@given(rows=rows(), spaces=SPACES, data=st.data())
def test_one_wrong_value_costs_one_field(
    rows: list[dict[str, Any]], spaces: int | None, data: st.DataObject
) -> None:
    mark = "@wrong@"
    place = data.draw(st.integers(0, len(rows)))
    rows.insert(place, {"id": id_of(99), "wrong": mark, "status": "queued"})
    text = json.dumps({"workflows": rows, "total": 5}, indent=spaces)
    page = parse_page(text.replace(f'"{mark}"', data.draw(WRONG)).encode())
    assert [w.id for w in page.workflows] == [row["id"] for row in rows]
    assert (page.malformed, page.entries, page.total) == (1, len(rows), 5)


@given(
    rows=rows(),
    broken=st.lists(
        st.sampled_from(['"id":"x"}', '{"id":"x"', '{"id":"a " quote"}', '{"a":[}', ":", "x y"]),
        min_size=1,
        max_size=3,
    ),
    spaces=SPACES,
    data=st.data(),
)
def test_broken_rows_cost_themselves(
    rows: list[dict[str, Any]], broken: list[str], spaces: int | None, data: st.DataObject
) -> None:
    texts = [json.dumps(row, indent=spaces) for row in rows]
    for each in broken:
        texts.insert(data.draw(st.integers(0, len(texts))), each)
    page = parse_page(f'{{"total":5,"workflows":[{", ".join(texts)}]}}'.encode())
    assert [w.id for w in page.workflows] == [row["id"] for row in rows]
    assert page.malformed >= 1


@given(
    rows=rows(),
    cuts=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5), st.binary(max_size=4))),
)
def test_damage_of_any_kind_is_read_or_refused(
    rows: list[dict[str, Any]], cuts: list[tuple[int, int, bytes]]
) -> None:
    body = json.dumps({"workflows": rows, "total": 5}).encode()
    for at, length, instead in cuts:
        body = body[:at] + instead + body[at + length :]
    try:
        page = parse_page(body)
    except MalformedListingError:
        return
    assert page.entries >= len(page.workflows)
    assert page.entries >= page.malformed >= page.entries - len(page.workflows)
