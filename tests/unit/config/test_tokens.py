"""Secrets never print, and can be asked for again."""

import copy
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import structlog
from pydantic import ValidationError

from exporter.config import Account, Config, Listing, Push, TokenSource, TokenUnreadableError

SECRET = "cfc_PlantedSecret"


def account() -> Account:
    return Account(name="a", token=SECRET, listing=Listing())


@pytest.mark.parametrize(
    "printed",
    [
        repr,
        str,
        lambda a: f"{a.token}{a.token!r}{a.token!s}",
        lambda a: str(a.model_dump()),
        lambda a: a.model_dump_json(),
        lambda a: str(Config(accounts=(a,))),
        lambda a: str(a.model_json_schema()),
        lambda a: str(list(a)),
        lambda a: structlog.processors.JSONRenderer()(None, "", {"event": "x", "account": a}),
        lambda a: structlog.processors.LogfmtRenderer()(None, "", {"event": "x", "token": a.token}),
        lambda a: str(orjson.dumps(a.model_dump(mode="json"))),
    ],
)
def test_a_secret_is_not_printed(printed: Callable[[Account], object]) -> None:
    assert "Planted" not in str(printed(account()))


def test_a_mask_stands_for_it() -> None:
    assert repr(TokenSource.literal(SECRET)) == "TokenSource(<secret>)"
    assert repr(TokenSource.file(Path("/run/t"))) == "TokenSource('/run/t')"
    assert account().model_dump()["token"] == "<secret>"


def test_a_token_has_no_dict_and_no_pickle() -> None:
    token = TokenSource.literal(SECRET)
    assert not hasattr(token, "__dict__")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(token)
    with pytest.raises(TypeError):
        orjson.dumps(token)


def test_copies_share_the_source() -> None:
    first = account()
    assert copy.deepcopy(first).token is first.token
    assert first.model_copy(deep=True) == first
    assert copy.copy(first.token) is first.token


def test_sources_are_equal_by_what_they_name() -> None:
    literal, file = TokenSource.literal("x"), TokenSource.file(Path("x"))
    assert literal == TokenSource.literal(" x ")
    assert hash(literal) == hash(TokenSource.literal("x"))
    assert file == TokenSource.file(Path("x"))
    assert literal != file
    assert literal != TokenSource.literal("y")
    assert literal != "x"


@pytest.mark.parametrize("bad", [f"{SECRET} {SECRET}", f"{SECRET}\n{SECRET}", f"{SECRET}é"])
def test_an_exception_of_a_model_holds_no_secret(bad: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Account(name="not valid", token=bad, base_url=f"https://u:{SECRET}@x", listing=Listing())
    error = caught.value
    text = "".join(traceback.format_exception(error))
    # The traceback quotes the line of this test, which names the variable and not its value.
    assert "Planted" not in text
    assert "Planted" not in str(error.errors())
    assert "Planted" not in error.json()
    assert error.__context__ is None


def test_a_token_of_another_type_holds_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Account.model_validate({"name": "a", "token": [SECRET], "listing": {}})
    assert "Planted" not in str(caught.value.errors())


def test_a_literal_token_is_stripped() -> None:
    assert TokenSource.literal(f"\t{SECRET}\r\n").read() == SECRET


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"Planted one", "has white space or a line break inside"),
        (b"Planted\nPlanted", "has white space or a line break inside"),
        (b"Bearer Planted", "has a scheme before it"),
        (b"bearer", "has a scheme before it"),
        (b"Plant\xc3\xa9d", "has characters outside ASCII"),
        (b"\xef\xbb\xbfPlanted", "has characters outside ASCII"),
        (b"Plan\x00ted", "has control characters"),
        (b"Planted\x7f", "has control characters"),
        (b"Planted" * 4000, "is larger than 16 KiB"),
    ],
)
def test_a_file_that_holds_no_token(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenUnreadableError) as caught:
        TokenSource.file(path).read()
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"token file {str(path)!r} {reason}. ")
    assert "Plant" not in str(caught.value) + repr(caught.value)
    assert caught.value.__context__ is None


def test_a_literal_that_is_too_long() -> None:
    with pytest.raises(TokenUnreadableError, match=r"^token is longer than 16 KiB\. "):
        TokenSource.literal("x" * 16_385)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in {
        tmp_path: "is a directory",
        pipe: "is a named pipe, not a regular file",
        tmp_path / "none": "does not exist",
        Path("a\0b"): "has a name that no file can have",
        Path("/etc/hostname/x"): "cannot be read: not a directory",
    }.items():
        with pytest.raises(TokenUnreadableError) as caught:
            TokenSource.file(path).read()
        assert caught.value.reason == reason

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "token").write_text(SECRET)
    monkeypatch.setattr("exporter.files.plain.os.open", refuse)
    with pytest.raises(TokenUnreadableError, match="cannot be read: permission denied"):
        TokenSource.file(tmp_path / "token").read()


def test_a_rotated_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = TokenSource.file(path)
    for token in ("one", "two"):
        path.write_text(f"{token}\n")
        assert source.read() == token


def test_models_in_python_read_no_file() -> None:
    built = Account(name="a", token_file="/nowhere/t", push=Push(token_file=Path("/nowhere/p")))
    assert built.token.path == Path("/nowhere/t")
    assert Account.model_validate(dict(built)) == built


def test_a_source_without_anything_says_so() -> None:
    with pytest.raises(TokenUnreadableError, match="was not given"):
        TokenSource().read()
