"""Bodies without their framing: however the bytes are split, the content is the same."""

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol.bodies import (
    Body,
    BrokenBodyError,
    ChunkedBody,
    EndlessBody,
    LengthBody,
    unpacking,
)


def fed(body: Body, pieces: list[bytes]) -> bytes:
    return b"".join(body.feed(piece) for piece in pieces)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
CUTS = st.lists(st.integers(0, 1000), max_size=12)


def chunked(chunks: list[bytes], head: bytes = b"%x\r\n") -> bytes:
    return b"".join(head % len(chunk) + chunk + b"\r\n" for chunk in chunks)


@given(CHUNKS, CUTS, st.sampled_from([b"%x\r\n", b"%X;name=value\r\n", b"00%x \r\n"]))
def test_chunks_give_their_content_however_they_are_split(
    chunks: list[bytes], cuts: list[int], head: bytes
) -> None:
    body = ChunkedBody()
    assert fed(body, split(chunked(chunks, head), cuts)) == b"".join(chunks)
    assert body.at_boundary
    assert (body.ended, body.is_whole()) == (False, False)
    body.feed(b"0\r\n\r\n")
    assert (body.ended, body.is_whole(), body.reusable) == (True, True, True)


@given(CHUNKS.filter(bool), st.integers(1, 1000))
def test_a_chunked_body_that_is_cut_is_not_whole(chunks: list[bytes], cut: int) -> None:
    data = chunked(chunks)
    body = ChunkedBody()
    body.feed(data[: cut % len(data)])
    assert not body.is_whole()


@pytest.mark.parametrize(
    "head", [b"zz\r\n", b"\r\n", b"-1\r\n", b"0x1\r\n", b"0" * 5000, b"1_0\r\n"]
)
def test_what_comes_before_a_broken_chunk_is_given(head: bytes) -> None:
    body = ChunkedBody()
    assert body.feed(b"3\r\nabc\r\n" + head) == b"abc"
    assert (body.ended, body.is_whole(), body.reusable) == (True, False, False)


def test_behind_trailers_the_connection_is_not_used_again() -> None:
    body = ChunkedBody()
    body.feed(b"0\r\nname: value\r\n\r\n")
    assert (body.is_whole(), body.reusable) == (True, False)


@given(st.binary(max_size=60), CUTS, st.binary(max_size=5))
def test_a_length_is_kept_to(content: bytes, cuts: list[int], more: bytes) -> None:
    body = LengthBody(len(content))
    assert fed(body, [*split(content, cuts), more]) == content
    assert body.is_whole()
    assert body.reusable or more or not content
    short = LengthBody(len(content) + 1)
    short.feed(content)
    assert not short.is_whole()


def test_a_body_without_a_length_is_whole_wherever_it_ends() -> None:
    body = EndlessBody()
    assert body.feed(b"abc") == b"abc"
    assert body.is_whole()
    assert not body.reusable


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
def test_what_is_compressed_is_unpacked_in_bounded_parts(coding: str, pack: object) -> None:
    assert callable(pack)
    data = b"abc" * 100_000
    unpacker = unpacking(coding)
    assert unpacker is not None
    packed: bytes = pack(data)
    parts = [part for at in range(0, len(packed), 7) for part in unpacker.feed(packed[at : at + 7])]
    assert b"".join(parts) == data
    assert max(map(len, parts)) <= 65536


def test_what_cannot_be_unpacked_is_an_error() -> None:
    unpacker = unpacking("gzip")
    assert unpacker is not None
    with pytest.raises(BrokenBodyError):
        list(unpacker.feed(b"this is not what gzip makes"))


def test_an_unknown_compression_is_left_as_it_is() -> None:
    assert unpacking("identity") is None
    assert unpacking(None) is None
