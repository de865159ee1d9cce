"""One bad file per rule, in `testdata/bad/`, beside the exact message that it gets."""

import shutil
from pathlib import Path

import pytest

from exporter.config import ConfigError
from exporter.web.security.loading import check, read
from exporter.web.security.watching import WatchedSecurity
from tests.goldens import check_golden

BAD = Path(__file__).parent / "testdata" / "bad"

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"


@pytest.fixture(params=sorted(BAD.glob("*.yml")), ids=lambda path: path.stem)
def bad(request: pytest.FixtureRequest, certificates: Path) -> Path:
    """One of the files, beside the certificates that it names."""
    return Path(shutil.copy(request.param, certificates / request.param.name))


def test_message_of_a_bad_file(bad: Path) -> None:
    (fault,) = read(bad).errors
    check_golden((BAD / bad.name).with_suffix(".txt"), f"{fault}\n")
    assert check(bad) == (1, f"{bad}: 1 error\n  {fault}")


def test_a_message_says_reason_and_remedy_and_no_secret(bad: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        WatchedSecurity(bad)
    error = caught.value
    (fault,) = error.errors
    assert fault.reason
    assert not fault.reason.endswith(".")
    assert fault.hint
    assert "Planted" not in f"{error} {error!r} {error.errors!r}"
    # Anyone who prints the chain of causes must not find there what the message left out.
    assert error.__cause__ is None
    assert error.__context__ is None


def test_every_message_has_its_file() -> None:
    assert {p.stem for p in BAD.glob("*.txt")} == {p.stem for p in BAD.glob("*.yml")}


def test_every_fault_is_told_at_once(certificates: Path) -> None:
    file = certificates / "several.yml"
    file.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: other.key}\n"
        "basic_auth_users:\n"
        "  alice: PlantedSecret\n"
        f"  bob: {HASH}\n"
        "rate_limit: {interval: 1 s}\n"
        "http_server_config: {headers: {X-Frame-Options: maybe, X-Nothing: ''}}\n"
    )
    told = [(fault.line, fault.key) for fault in read(file).errors]
    assert told == [
        (1, "tls_server_config.key_file"),
        (3, "basic_auth_users.alice"),
        (5, "rate_limit.interval"),
        (6, "http_server_config.headers.X-Frame-Options"),
        (6, "http_server_config.headers.X-Nothing"),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-such.yml", "does not exist"),
        (".", "is a directory"),
        ("nul\0.yml", "has a name that no file can have"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    (fault,) = read(tmp_path / name).errors
    assert str(fault) == f"the file {reason}. Name a YAML file that this user can read."


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("#" * (1024 * 1024 + 1))
    (fault,) = read(file).errors
    assert fault.reason == "is larger than 1 MiB"
