"""Flags, subcommands and exit codes, as a shell sees them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import __version__
from exporter.cli import main
from exporter.commands.flags import parse
from exporter.revision import revision

GOOD = """\
accounts:
  - name: studio
    token: cfc_a
    listing: {}
"""

BAD = """\
acounts: []
accounts:
  - name: studio
    token: "cfc_secret value"
    listing: {intervall: 5s, lookback: soon}
    workflows: [not-an-id]
"""


def run(*arguments: str, token: str | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COMFYCONTROL_")}
    if token is not None:
        environ["COMFYCONTROL_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        capture_output=True,
        text=True,
        env=environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=cwd,
        timeout=60,
        check=False,
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    # What is packaged knows its own as well, and scripts/check-package sees to it.
    assert capsys.readouterr().out.startswith(
        f"comfycontrol-exporter {__version__} (revision {revision()}, Python 3."
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--web.listen-address=nonsense"], "is not HOST:PORT"),
        (["--web.listen-address=::1:80"], "goes in brackets"),
        *(
            ([f"--web.external-url={url}"], "is not a URL such as")
            for url in (
                "example.com/comfy",
                "ftp://example.com",
                "https://",
                "https://a:b@example.com",
                "https://example.com/?a",
                "https://example.com/#a",
                "https://example.com:99999",
                "https://example.com/a b",
                'https://example.com/"x',
                "javascript:alert(1)",
            )
        ),
        (["--web.telemetry-path=metrics"], "starts with /"),
        (["--web.telemetry-path=/-/healthy"], "not with"),
        (["--web.telemetry-path=/config"], "not with"),
        (["--web.telemetry-path=/{x}"], "plain path"),
        (["--log.level=loud"], "loud"),
        (["demo", "--speed=0"], "above 0"),
        (["demo", "--speed=inf"], "above 0"),
        (["no-such-command"], "no-such-command"),
        (["--config"], "--config"),  # no abbreviations
    ],
)
def test_a_wrong_flag_is_exit_code_1(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--web.listen-adress", ":1"],
            "unknown flag --web.listen-adress; did you mean --web.listen-address?",
        ),
        (["--nonsense", "7"], "unknown flag --nonsense"),
        (["--config.watch"], "there is no file to watch without --config.file"),
    ],
)
def test_a_flag_that_is_none_is_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(f"{said}\n")


def test_check_config_says_that_a_file_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(GOOD)
    assert main(["check-config", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid, 1 account: studio\n"


def test_check_config_says_what_the_files_of_ids_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"a1b2c3d4-e5f6-7890-abcd-ef123456789{digit}" for digit in range(3)]
    (tmp_path / "good.yml").write_text("".join(f"- {each}\n" for each in ids[:2]))
    (tmp_path / "half.yml").write_text(f"- {ids[1]}\n- {ids[2]}\n- no-id\n")
    (tmp_path / "none.yml").write_text("- [\n")
    file = tmp_path / "config.yml"
    file.write_text(GOOD + "    workflow_files: ['*f.yml', '[gn]o*.yml', 'more/*']\n")
    # They may come and be corrected at any time: no reason to refuse the configuration.
    assert main(["check-config", str(file)]) == 0
    said = capsys.readouterr().out
    assert "\n  studio: 3 ids in 3 workflow files\n" in said
    assert f"  warning: workflow file {tmp_path / 'half.yml'}: line 3" in said
    assert f"  warning: workflow file {tmp_path / 'none.yml'}: line 2" in said
    assert "  warning: accounts[0].workflow_files[2] names no file that is there." in said
    assert "at a time" not in said
    file.write_text(file.read_text() + "    max_open_workflows: 2\n")
    main(["check-config", str(file)])
    assert "accounts[0] follows 2 of these at a time" in capsys.readouterr().out


def test_check_config_says_how_many_series_there_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(GOOD)
    assert main(["check-config", "--series", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "series at most, metric by metric:"
    assert lines[2].split() == ["10,504", "comfycontrol_workflow_failures_total"]
    assert lines[-2].endswith("  in all")
    assert "of these at first" in lines[-1]


def test_check_config_lists_every_fault_at_once_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(BAD)
    assert main(["check-config", str(file)]) == 1
    said = capsys.readouterr().err
    for key in (
        "acounts",
        "accounts[0].token",
        "accounts[0].listing.intervall",
        "accounts[0].listing.lookback",
        "accounts[0].workflows[0]",
    ):
        assert key in said
    assert "secret" not in said


def test_check_web_config_says_that_a_file_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {http2: true, headers: {X-Frame-Options: deny}}\n")
    assert main(["check-web-config", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{file}: valid: plain HTTP, no passwords\n")
    assert "warning: http_server_config.http2 is ignored" in said


def test_check_web_config_lists_every_fault_at_once_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: x}\nbasic_auth_users: {alice: planted}\n")
    assert main(["check-web-config", str(file)]) == 1
    said = capsys.readouterr().err
    for key in ("tls_server_config.cert_file", "tls_server_config.key_file", "users.alice"):
        assert key in said
    assert "planted" not in said


@pytest.mark.parametrize("command", [[], ["demo"]])
def test_a_wrong_web_config_starts_nothing(tmp_path: Path, command: list[str]) -> None:
    ended = run(*command, "--web.config.file=no-such.yml", token="cfc_a", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == (
        "no-such.yml: 1 error\n"
        "  the file does not exist. Name a YAML file that this user can read.\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_wrong_file_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(BAD)
    ended = run(f"--config.file={file}", cwd=tmp_path)
    assert ended.returncode == 1
    assert "accounts[0].listing.intervall" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


def test_without_a_token_it_says_how_to_start(tmp_path: Path) -> None:
    ended = run(cwd=tmp_path)
    assert ended.returncode == 1
    assert "COMFYCONTROL_TOKEN" in ended.stderr
    assert "--config.file" in ended.stderr


@pytest.mark.parametrize("token", ["", "   ", "cfc_a\ncfc_b"])
def test_a_token_that_is_none(tmp_path: Path, token: str) -> None:
    ended = run(token=token, cwd=tmp_path)
    assert ended.returncode == 1
    assert "COMFYCONTROL_TOKEN" in ended.stderr
    assert "cfc_b" not in ended.stderr


def test_an_address_in_use_is_exit_code_2_and_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(f"--web.listen-address=127.0.0.1:{port}", token="cfc_a", cwd=tmp_path)
    assert ended.returncode == 2
    assert re.fullmatch(
        rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use; name another with "
        r"--web.listen-address\n",
        ended.stderr,
    )


def test_a_host_that_does_not_exist_is_exit_code_2(tmp_path: Path) -> None:
    ended = run("--web.listen-address=no.such.host.invalid:1", token="cfc_a", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


def test_a_storage_folder_that_cannot_be_is_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_text("")
    ended = run(
        "--web.listen-address=127.0.0.1:0",
        f"--storage.path={file / 'data'}",
        token="cfc_a",
        cwd=tmp_path,
    )
    assert ended.returncode == 1
    assert "cannot use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_to_ask_from_that_this_machine_lacks_is_exit_code_1(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    # Of a range that is kept for documents.
    config.write_text(
        "accounts: [{name: studio, token: cfc_a, listing: {}}]\negress: {bind: 192.0.2.1}\n"
    )
    ended = run(
        f"--config.file={config}", "--web.listen-address=127.0.0.1:0", token="", cwd=tmp_path
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "egress.bind: cannot ask from 192.0.2.1: this machine has no such address. Write one that "
        "it has (`ip address` shows them), or leave it out for the one that the system chooses\n"
    )


def test_an_unknown_scenario_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--scenario=no-such"]) == 1
    assert "studio" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "command", "said"),
    [
        (["simulate", "--spede=2"], "simulate", "unknown flag --spede; did you mean --speed?"),
        (["health", "--ulr", "x"], "health", "unknown flag --ulr; did you mean --url?"),
        (["backup", "a", "b"], "backup", "unrecognized arguments: b"),
        (["check-config", "--online-", "x"], "check-config", "unknown flag --online-"),
    ],
)
def test_a_wrong_flag_of_a_subcommand_shows_its_usage(
    arguments: list[str], command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(f"usage: comfycontrol-exporter {command} ")
    assert f"comfycontrol-exporter {command}: {said}" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--web.listen-address=:1", "--log.level=debug"],
        ["--web.listen-address=:1", "--log.level=debug", "simulate"],
        ["--log.level=debug", "simulate", "--listen-address=:1"],
    ],
)
def test_flags_of_the_simulator_are_called_as_those_of_the_exporter(arguments: list[str]) -> None:
    parsed = parse(arguments)
    assert ([address.port for address in parsed.listen_address], parsed.log_level) == ([1], "debug")
