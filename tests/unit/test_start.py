"""What a start says of the things around it, before it asks anything."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest

from exporter.app.app import App
from exporter.cli import main
from exporter.config import Config
from tests.unit.ledger.ledgers import Clocks, ended

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
CONFIG = Config.model_validate({"accounts": [{"name": "studio", "token": "cfc_a", "listing": {}}]})


def _nothing(_: Path) -> None:
    pass


def _no_pem(path: Path) -> None:
    path.write_text("not a certificate\n")


def _bad_pem(path: Path) -> None:
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("variable", CA_VARIABLES[:3])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_nothing, "does not exist"),
        (_no_pem, "holds no certificate in PEM form"),
        (_bad_pem, "holds a certificate that cannot be read"),
        (Path.mkdir, "is a directory without certificates that are named by their hash"),
        (os.mkfifo, "is a named pipe, not a regular file"),
    ],
)
def test_authorities_that_cannot_be_had_are_named(
    variable: str,
    make: Callable[[Path], None],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "ca.pem"
    make(path)
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMFYCONTROL_TOKEN", "cfc_a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "ca.pem")
    flags = ["--storage.path=data", "--web.listen-address=127.0.0.1:0"]
    config = tmp_path / "config.yml"
    config.write_text("accounts: [{name: studio, token: cfc_a, listing: {}}]\n")
    for command in (flags, ["check-config", str(config)]):
        assert main(command) == 1
        assert f"{variable} names '{path}', which {reason}" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_authorities_that_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("accounts: [{name: studio, token: cfc_a, listing: {}}]\n")
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CURL_CA_BUNDLE", certifi.where())
    assert main(["check-config", str(config)]) == 0


def test_the_first_lines_say_which_ledger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    file = str(tmp_path / "data" / "ledger.sqlite3")
    now = Clocks()

    def start() -> logging.LogRecord:
        caplog.clear()
        app = App(CONFIG, storage=Path("data"), now=now)
        app._ledger.observe(ended(1, now(), completed=20))
        app._ledger.observe(ended(2, now(), completed=20))
        app.stop(0.0)
        (record,) = (r for r in caplog.records if "ledger" in r.message)
        return record

    first, second = start(), start()
    assert first.message == "new ledger: counters start at 0"
    assert vars(first)["file"] == file
    assert second.message == "ledger opened, counters continue"
    told = vars(second)
    assert (told["file"], told["settled"], told["open"]) == (file, 2, 0)
    caplog.clear()
    App(CONFIG).stop(0.0)
    assert "the ledger is in memory" in caplog.text


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        (None, "names a file that does not exist. Name a file that this user can read"),
        ("", "names a file that is empty"),
        ("Planted", "it is no connection string, such as postgresql://"),
        ("host=127.0.0.1 port=1 password=Planted", "127.0.0.1:1/: nothing listens"),
        ("host=/nowhere dbname=a password=Planted", "/nowhere:5432/a: there is no such socket"),
        ("postgresql://a:Planted@no.such.host.invalid/b", "no.such.host.invalid:5432/b: the"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_and_no_password(
    dsn: str | None,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COMFYCONTROL_TOKEN", "cfc_a")
    monkeypatch.chdir(tmp_path)
    if dsn is not None:
        (tmp_path / "dsn").write_text(dsn)
    flags = ["--storage.postgres.dsn-file=dsn", "--web.listen-address=127.0.0.1:0"]
    assert main(flags) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "Planted" not in said
    assert not (tmp_path / "data").exists()


def test_a_database_in_the_flags_and_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dsn").write_text("host=/nowhere")
    (tmp_path / "config.yml").write_text(
        "accounts: [{name: studio, token: cfc_a, listing: {}}]\n"
        "storage: {postgres: {dsn_file: dsn}}\n"
    )
    assert main(["--config.file=config.yml", "--storage.postgres.dsn-file=dsn"]) == 1
    said = capsys.readouterr().err
    assert "--storage.postgres.dsn-file is given beside `storage.postgres`" in said


def test_without_the_driver_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFYCONTROL_TOKEN", "cfc_a")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dsn").write_text("host=/nowhere")
    for name in [name for name in sys.modules if name.startswith("exporter.ledger.postgres.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    flags = ["--storage.postgres.dsn-file=dsn", "--web.listen-address=127.0.0.1:0"]
    assert main(flags) == 1
    assert "pip install 'comfycontrol-exporter[postgres]'" in capsys.readouterr().err
