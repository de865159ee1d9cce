"""Each fault does what it says, seen from the client's end of the wire."""

from __future__ import annotations

import json
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any, get_args

import pytest
import requests
from sseclient import SSEClient
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from exporter.simulator import ScenarioError
from exporter.simulator.faults import MalformedList

if TYPE_CHECKING:
    from collections.abc import Callable

    Service = Any


@pytest.fixture
def stream(service: Service) -> str:
    """The path of an open workflow's stream, which goes on for ever."""
    return f"/v1/workflow/{service.simulator.create(scripted=True)}/subscribe"


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def read_events(answer: requests.Response, count: int) -> list[bytes]:
    """Whole blocks between blank lines, as plain framing parts them."""
    text = b""
    while text.count(b"\n\n") < count:
        piece = answer.raw.read1(65536)
        assert piece, text
        text += piece
    return text.split(b"\n\n")[:count]


def drain(answer: requests.Response) -> None:
    while answer.raw.read1(65536):
        pass


# --- faults of answers -----------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 502, 503, 522])
def test_a_status(service: Service, code: int) -> None:
    service.simulator.set_faults({"kind": "status", "code": code, "times": 1})
    answer = service.get("/v1/workflow")
    assert (answer.status_code, answer.json()["status"]) == (code, code)
    assert service.get("/v1/workflow").status_code == 200
    assert service.simulator.truth().faults == {"status": 1}
    assert service.simulator.truth().answers["list"] == {code: 1, 200: 1}


def test_a_status_with_html_and_retry_after(service: Service) -> None:
    service.simulator.set_faults({"kind": "status", "body": "html", "retry_after": 7})
    answer = service.get("/v1/workflow")
    assert answer.headers["Retry-After"] == "7"
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("code", [200, 503])
def test_an_edge_page_holds_a_line_like_an_event(service: Service, stream: str, code: int) -> None:
    service.simulator.set_faults({"kind": "edge_page", "code": code})
    answer = service.get(stream)
    assert answer.status_code == code
    assert answer.headers["Content-Type"].startswith("text/html")
    assert '\ndata: {"status":"completed"' in answer.text


def test_a_redirect(service: Service) -> None:
    service.simulator.set_faults({"kind": "redirect", "code": 307, "location": "http://x.test/"})
    answer = service.get("/v1/workflow", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://x.test/")


def test_latency_is_in_real_seconds(service: Service) -> None:
    service.simulator.set_faults({"kind": "latency", "delay": "300ms"})
    began = time.monotonic()
    assert service.get("/v1/workflow").status_code == 200
    assert 0.3 <= time.monotonic() - began < 1


def test_no_answer(service: Service) -> None:
    service.simulator.set_faults({"kind": "no_answer"})
    with pytest.raises(requests.ReadTimeout):
        service.session.get(f"{service.simulator.base_url}/v1/workflow", timeout=0.2)


@pytest.mark.parametrize("kind", ["reset", "hang_up"])
def test_a_connection_that_ends_without_an_answer(service: Service, kind: str) -> None:
    service.simulator.set_faults({"kind": kind})
    wanted = "reset by peer" if kind == "reset" else "without response"
    with pytest.raises(requests.ConnectionError, match=wanted):
        service.get("/v1/workflow")


def test_a_garbage_answer(service: Service) -> None:
    service.simulator.set_faults({"kind": "garbage_answer"})
    with pytest.raises(requests.ConnectionError):
        service.get("/v1/workflow")


def test_slow_headers_never_end(service: Service) -> None:
    service.simulator.set_faults({"kind": "slow_headers", "pause": "1ms"})
    sock = service.raw("/v1/workflow")
    with sock:
        text = b""
        while len(text) < 200:
            text += sock.recv(100)
    assert text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in text
    assert text.endswith(b"xxxx")


@pytest.mark.parametrize("one_line", [False, True])
def test_an_endless_header(
    service: Service, read_all: Callable[..., bytes], *, one_line: bool
) -> None:
    fault = {"kind": "endless_header", "size": 3_000_000, "one_line": one_line}
    service.simulator.set_faults(fault)
    text = read_all(service.raw("/v1/workflow"))
    assert len(text) >= 3_000_000
    assert b"\r\n\r\n" not in text
    assert (text.count(b"\r\n") == 1) is one_line


def test_an_endless_header_is_made_only_as_it_is_read(service: Service) -> None:
    service.simulator.set_faults({"kind": "endless_header"})
    with service.raw("/v1/workflow") as sock:
        assert sock.recv(1000)
    service.simulator.set_faults()
    assert service.get("/v1/workflow").status_code == 200


def test_a_gzip_bomb_is_valid_gzip_of_its_size(
    service: Service, stream: str, read_all: Callable[..., bytes]
) -> None:
    service.simulator.set_faults({"kind": "gzip_bomb", "size": 5 * 2**20})
    answer = read_all(service.raw(stream))
    assert b"Content-Encoding: gzip" in answer
    packed = body_of(answer)
    assert len(packed) < 20_000
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    plain = unpacker.decompress(packed)
    assert unpacker.eof
    assert plain == b"a" * (5 * 2**20)
    assert struct.unpack("<I", packed[-4:]) == (5 * 2**20,)


@pytest.mark.parametrize("ended", [True, False])
def test_a_huge_event(service: Service, stream: str, *, ended: bool) -> None:
    fault = {"kind": "huge_event", "size": 3_000_001, "ended": ended}
    service.simulator.set_faults(fault)
    text = service.get(stream).content
    assert text.endswith(b"\n\n") is ended
    event = json.loads(text.removeprefix(b"data: "))
    assert len(event["prompt"]["prompt_id"]) == 3_000_001
    # Only streams have events, so only they are struck unless others are named.
    assert service.get("/v1/workflow").json()["total"] == 1


@pytest.mark.parametrize("variant", [*get_args(MalformedList), "any"])
def test_a_malformed_list(service: Service, stream: str, variant: str) -> None:
    good = service.get("/v1/workflow").content
    service.simulator.set_faults({"kind": "malformed_list", "variant": variant})
    answer = service.get("/v1/workflow")
    assert answer.status_code == 200
    assert answer.content != good
    assert service.get(stream.removesuffix("/subscribe")).status_code == 200


# --- faults of streams -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "ends"),
    [
        ("in_event", b"\r\n"),
        ("between_events", b"}\n\n\r\n"),
        ("in_chunk", b""),
    ],
)
def test_a_drop_at_eof_sends_no_last_chunk(
    service: Service, stream: str, read_all: Callable[..., bytes], cut: str, ends: bytes
) -> None:
    service.simulator.set_faults({"kind": "drop", "cut": cut, "after": 2})
    text = body_of(read_all(service.raw(stream)))
    assert text.count(b"}\n\n") == 2
    assert not text.endswith(b"0\r\n\r\n")
    assert text.endswith(ends)
    assert (text.count(b"data: ") == 3) is (cut != "between_events")


def test_a_drop_in_an_event_is_seen_as_a_broken_body(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "drop"})
    answer = service.get(stream, stream=True)
    with pytest.raises(ProtocolError):
        drain(answer)


def test_a_clean_drop_looks_like_a_whole_answer(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "drop", "how": "clean", "times": 1})
    text = service.get(stream).content
    assert text.count(b"data: ") == 2
    assert not text.endswith(b"\n\n")


def test_a_drop_of_an_answer_without_chunks_does_not_show(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "drop", "framing": "close", "after": 3})
    answer = service.get(stream)
    assert "Transfer-Encoding" not in answer.headers
    assert answer.content.count(b"\n\n") == 3
    assert answer.content.count(b"data: ") == 4


def test_a_reset_of_a_stream(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "drop", "how": "reset"})
    answer = service.get(stream, stream=True)
    with pytest.raises(ProtocolError, match="reset by peer"):
        drain(answer)


def test_silence_says_nothing_and_ends_with_its_fault(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "silence", "after": 1})
    url = f"{service.simulator.base_url}{stream}"
    with service.session.get(url, stream=True, timeout=0.5) as answer:
        read_events(answer, 1)
        with pytest.raises(ReadTimeoutError):
            answer.raw.read1(65536)
    sent = service.simulator.truth().snapshots_sent
    with service.get(stream, stream=True) as answer:
        read_events(answer, 1)
        service.simulator.set_faults()
        read_events(answer, 3)
    assert service.simulator.truth().snapshots_sent >= sent + 4


def test_silence_can_be_full_of_comments(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "silence", "comments": True, "after": 0})
    with service.get(stream, stream=True) as answer:
        assert set(read_events(answer, 5)) == {b": keep-alive"}


def test_a_fault_strikes_streams_that_are_open_already(service: Service, stream: str) -> None:
    with service.get(stream, stream=True) as answer:
        read_events(answer, 2)
        service.simulator.set_faults({"kind": "drop", "how": "clean", "after": 0})
        drain(answer)
    assert service.simulator.truth().faults == {"drop": 1}


def test_garbage_does_not_end_a_stream(service: Service, stream: str) -> None:
    service.simulator.set_faults({"kind": "garbage", "size": 300, "times": 1})
    with service.get(stream, stream=True) as answer:
        text = b""
        while text.count(b'data: {"status":"accepted"') < 4:
            text += answer.raw.read1(65536)
    assert len(text) > 4 * 100 + 300
    with pytest.raises(UnicodeDecodeError):
        text.decode()


def test_malformed_snapshots_take_turns_and_the_stream_goes_on(
    service: Service, stream: str
) -> None:
    service.simulator.set_faults({"kind": "malformed_snapshot", "count": 3})
    with service.get(stream, stream=True) as answer:
        blocks = read_events(answer, 6)
    good = blocks[0]
    assert [block == good for block in blocks] == [True, False, False, False, True, True]


@pytest.mark.parametrize("newline", ["lf", "cr", "crlf", "mixed"])
@pytest.mark.parametrize("split", [0, 3])
def test_odd_framing_is_legal(service: Service, newline: str, split: int) -> None:
    identity = service.simulator.create(scripted=True)
    service.simulator.workflow(identity).advance("completed")
    fault = {"kind": "framing", "newline": newline, "split": split, "byte_order_mark": False}
    service.simulator.set_faults(fault)
    with service.subscribe(identity) as answer:
        pieces = iter(lambda: answer.raw.read1(65536), b"")
        (event,) = SSEClient(pieces).events()
    assert json.loads(event.data)["status"] == "completed"


def test_a_byte_order_mark_is_the_first_thing(
    service: Service, stream: str, read_all: Callable[..., bytes]
) -> None:
    service.simulator.set_faults({"kind": "framing", "split": 0})
    text = body_of(read_all(service.raw(stream), 2000))
    assert text.partition(b"\r\n")[2].startswith(b"\xef\xbb\xbf")
    assert text.count(b"\xef\xbb\xbf") == 1


# --- which requests are struck, and when -----------------------------------------------------


def test_a_fault_can_be_for_one_call_one_account_or_one_workflow(
    start: Callable[..., Service],
) -> None:
    service = start("accounts: [{name: a}, {name: b}]")
    one, two = (service.simulator.create("a", scripted=True) for _ in range(2))
    service.simulator.set_faults({"kind": "status", "endpoints": ["get"]})
    assert service.get(f"/v1/workflow/{one}").status_code == 503
    assert service.get("/v1/workflow").status_code == 200
    service.simulator.set_faults({"kind": "status", "account": "b"})
    assert service.get("/v1/workflow").status_code == 200
    theirs = {"Authorization": f"Bearer {service.simulator.tokens['b']}"}
    assert service.get("/v1/workflow", headers=theirs).status_code == 503
    service.simulator.set_faults({"kind": "status", "workflow": one})
    assert service.get(f"/v1/workflow/{one}").status_code == 503
    assert service.get(f"/v1/workflow/{two}").status_code == 200


def test_a_fault_has_its_hours(start: Callable[..., Service]) -> None:
    service = start("faults: [{kind: status, code: 401, from: 0s, to: 20s}]", speed=100.0)
    assert service.get("/v1/workflow").status_code == 401
    deadline = time.monotonic() + 5
    while service.get("/v1/workflow").status_code == 401:
        assert time.monotonic() < deadline


def test_a_bad_fault_changes_nothing(service: Service) -> None:
    service.simulator.set_faults({"kind": "status"})
    with pytest.raises(ScenarioError, match="did you mean 'how'"):
        service.simulator.set_faults({"kind": "drop", "hwo": "eof"})
    assert [fault.kind for fault in service.simulator.faults()] == ["status"]


def test_dropping_all_connections(service: Service, stream: str) -> None:
    with service.get(stream, stream=True) as answer:
        read_events(answer, 1)
        assert service.simulator.drop_connections() == 1
        with pytest.raises(ProtocolError):
            drain(answer)
