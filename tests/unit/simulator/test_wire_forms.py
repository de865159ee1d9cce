"""Malformed documents, odd framing, and the dice of faults."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sseclient import SSEClient

from exporter.simulator.fault_plan import FaultPlan
from exporter.simulator.faults import FramingFault, parse_faults
from exporter.simulator.framing import OddFraming
from exporter.simulator.malformed import (
    LIST_VARIANTS,
    SNAPSHOT_VARIANTS,
    malformed_list,
    malformed_snapshot,
)

GOOD = orjson.dumps(
    {
        "status": "running",
        "prompt": {"prompt_id": "abc123"},
        "queue_number": 1,
        "outputs": [],
        "cause": None,
        "started_at": "2024-01-15T14:30:05.000Z",
        "completed_at": None,
    }
)
# Odd, yet a reader may take them for what they are.
BENIGN = {
    "unknown_status",
    "extra_fields",
    "duplicate_keys",
    "control_characters",
    "queue_number_negative",
    "queue_number_fraction",
    "queue_number_boolean",
}


def sound(data: bytes) -> bool:
    """Whether a strict reader finds nothing wrong with a snapshot."""
    try:
        told = orjson.loads(data)
    except ValueError:
        return False
    return (
        isinstance(told, dict)
        and isinstance(told.get("status"), str)
        and (told["queue_number"] is None or isinstance(told["queue_number"], int | float))
        and isinstance(told["outputs"], list)
        and all(isinstance(each, dict) for each in told["outputs"])
        and (told["prompt"] is None or isinstance(told["prompt"], dict))
        and (
            told["cause"] is None
            or (
                isinstance(told["cause"], dict)
                and all(isinstance(each, str) for each in told["cause"].values())
            )
        )
        and isinstance(told["started_at"], str)
        and told["started_at"].startswith("2024-")
    )


def test_the_good_snapshot_is_sound() -> None:
    assert sound(GOOD)


@pytest.mark.parametrize("variant", SNAPSHOT_VARIANTS)
def test_each_malformed_snapshot_is_one(variant: Any) -> None:
    data = malformed_snapshot(variant, GOOD)
    assert data != GOOD
    assert b"\n" not in data
    assert b"\r" not in data
    assert sound(data) is (variant in BENIGN)


def page(items: int) -> bytes:
    item = {
        "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        "name": "n",
        "status": "running",
        "tags": [],
        "created_at": "2024-01-15T14:30:05.000Z",
    }
    return orjson.dumps({"workflows": [item] * items, "total": items})


@pytest.mark.parametrize("variant", LIST_VARIANTS)
@pytest.mark.parametrize("items", [0, 2])
def test_each_malformed_page_is_one(variant: Any, items: int) -> None:
    good = page(items)
    assert malformed_list(variant, good) != good


@given(
    st.builds(
        FramingFault,
        newline=st.sampled_from(["lf", "cr", "crlf", "mixed"]),
        byte_order_mark=st.just(False),  # sseclient-py does not strip it
        comments=st.booleans(),
        multi_line=st.booleans(),
        fields=st.booleans(),
        split=st.integers(0, 20),
    ),
    st.integers(),
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), max_size=5),
)
def test_odd_framing_is_read_as_what_was_written(
    fault: FramingFault, seed: int, documents: list[dict[str, str]]
) -> None:
    # A blank line of a CR and a CRLF is legal, but sseclient-py merges the events around it.
    if fault.newline == "mixed":
        return
    framing = OddFraming(fault, random.Random(seed))
    pieces = []
    for number, document in enumerate(documents):
        pieces += framing.pieces(orjson.dumps(document), first=number == 0)
    assert all(len(piece) <= fault.split for piece in pieces if fault.split)
    read = [json.loads(event.data) for event in SSEClient(iter(pieces)).events()]
    assert read == documents


def blocks(text: bytes) -> list[bytes]:
    """Events by the WHATWG's rules: any line end, joined data lines, a blank line dispatches."""
    lines = text.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events, data = [], []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            events.append("\n".join(data).encode())
            data = []
    return events


@given(st.integers(), st.integers(1, 20))
def test_mixed_line_ends_keep_events_apart(seed: int, count: int) -> None:
    framing = OddFraming(FramingFault(), random.Random(seed))
    text = b"".join(
        b"".join(framing.pieces(orjson.dumps({"n": n}), first=n == 0)) for n in range(count)
    )
    assert text.startswith(b"\xef\xbb\xbf")
    assert [json.loads(each) for each in blocks(text[3:])] == [{"n": n} for n in range(count)]


def plan(*faults: dict[str, Any], seed: int = 1) -> FaultPlan:
    return FaultPlan(parse_faults(faults), seed=seed)


def strikes(dice: FaultPlan, now: float = 0.0, endpoint: str = "list") -> int:
    return len(list(dice.of_answer(now, endpoint, "studio", None)))


def test_a_fault_strikes_in_its_window_only() -> None:
    dice = plan({"kind": "status", "from": 10, "to": 20})
    assert [strikes(dice, now) for now in (9.9, 10.0, 19.9, 20.0)] == [0, 1, 1, 0]


def test_a_fault_is_spent_and_a_new_set_starts_afresh() -> None:
    fault = {"kind": "status", "times": 2}
    dice = plan(fault)
    assert [strikes(dice) for _ in range(4)] == [1, 1, 0, 0]
    dice.replace(parse_faults([fault]))
    assert strikes(dice) == 1
    assert dice.struck == {"status": 3}


def test_a_probability_is_a_share_and_a_seed_repeats_it() -> None:
    runs = []
    for _ in range(2):
        dice = plan({"kind": "status", "probability": 0.3})
        runs.append([strikes(dice) for _ in range(1000)])
    assert runs[0] == runs[1]
    assert sum(runs[0]) == pytest.approx(300, abs=50)


def test_a_stream_is_rolled_for_once() -> None:
    dice = plan({"kind": "silence", "probability": 0.5}, {"kind": "status"})
    struck = 0
    for n in range(400):
        rolled: set[int] = set()
        first = len(list(dice.of_stream(0.0, "a", str(n), rolled)))
        assert not any(list(dice.of_stream(0.0, "a", str(n), rolled)) for _ in range(5))
        struck += first
    assert struck == pytest.approx(200, abs=50)


def test_a_fault_holds_until_it_is_cleared_or_over() -> None:
    dice = plan({"kind": "silence", "to": 10})
    ((number, _),) = dice.of_stream(0.0, "a", "w", set())
    assert dice.still_holds(number, 9.0)
    assert not dice.still_holds(number, 10.0)
    dice.replace(())
    assert not dice.still_holds(number, 9.0)
    assert not dice.any_of_streams
