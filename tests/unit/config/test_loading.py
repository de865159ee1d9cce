"""From files and the environment to models."""

import os
from pathlib import Path

import pytest

from exporter.config import (
    Account,
    Config,
    ConfigError,
    ErrorEntry,
    Listing,
    TokenUnreadableError,
    check,
    from_environment,
    load,
)

ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
MINIMAL = "accounts:\n  - {name: studio, token: cfc_abc, listing: {}}\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults(path: Path, environ: dict[str, str] | None = None) -> tuple[ErrorEntry, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return caught.value.errors


def test_a_full_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("cfc_studio\n")
    (tmp_path / "push").write_text("knock-knock\n")
    path = written(
        tmp_path,
        f"""\
accounts:
  - name: studio
    base_url: http://localhost:8080/service/
    token_file: token
    rate_limit: {{requests: 20, per: 5s, cooldown: 1m30s, reserve: 0.5}}
    max_streams: 7
    listing: {{interval: 2s, lookback: 1h30m, tags: [night, " final "]}}
    workflows: [{ID.upper()}, {ID}]
    workflow_files: [ids/*.yml, /etc/ids.yml]
    push: {{token_file: {tmp_path}/push}}
metrics:
  per_workflow_series: 0
  node_types: 10
  exception_types: 5
  run_duration_buckets: [1, 2.5]
  time_to_start_buckets: [0.5]
  entry_queue_position_buckets: [0, 1]
""",
    )
    config = load(path, {})
    (account,) = config.accounts
    assert account.name == "studio"
    assert account.base_url == "http://localhost:8080/service"
    assert account.address == "localhost:8080"
    assert account.token.read() == "cfc_studio"
    assert account.token.path == tmp_path / "token"
    limit = account.rate_limit
    assert (limit.requests, limit.per, limit.cooldown, limit.reserve) == (20, 5.0, 90.0, 0.5)
    assert account.max_streams == 7
    assert account.listing == Listing(interval=2.0, lookback=5400.0, tags=("night", "final"))
    assert account.workflows == (ID,)
    assert account.workflow_files == (f"{tmp_path}/ids/*.yml", "/etc/ids.yml")
    assert account.push is not None
    assert account.push.token.read() == "knock-knock"
    metrics = config.metrics
    assert (metrics.per_workflow_series, metrics.node_types, metrics.exception_types) == (0, 10, 5)
    assert metrics.run_duration_buckets == (1.0, 2.5)
    assert metrics.time_to_start_buckets == (0.5,)
    assert metrics.entry_queue_position_buckets == (0.0, 1.0)
    assert config.warnings() == ()


def test_every_fault_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
accounts:
  - name: studio
    tokn: x
    listing:
      interval: 5
      lookback: soon
    max_streams: 99999
  - name: studio
    token: ${MISSING}
    listing:
    base_url: nowhere
  - name: farm
    token: a b
    push: {token_file: /nowhere/push}
    colour: red
    colour: blue
metrics:
  node_types: 0
""",
    )
    assert [(f.line, f.key) for f in faults(path)] == [
        (2, "accounts[0].token"),
        (3, "accounts[0].tokn"),
        (5, "accounts[0].listing.interval"),
        (6, "accounts[0].listing.lookback"),
        (7, "accounts[0].max_streams"),
        (8, "accounts[1].name"),
        (9, "accounts[1].token"),
        (10, "accounts[1].listing"),
        (11, "accounts[1].base_url"),
        (13, "accounts[2].token"),
        (14, "accounts[2].push.token_file"),
        (15, "accounts[2].colour"),
        (16, "accounts[2].colour"),
        (18, "metrics.node_types"),
    ]
    code, text = check(path, {})
    assert code == 1
    assert text.splitlines()[0] == f"{path}: 14 errors"
    assert len(text.splitlines()) == 15


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "studio"),
        ("'${NAME}'", "studio"),
        ("${NAME}-${NAME}", "studio-studio"),
        ("x.${_N1}", "x.1"),
    ],
)
def test_variables(tmp_path: Path, text: str, value: str) -> None:
    path = written(tmp_path, MINIMAL.replace("{name: studio,", f'{{name: "{text.strip(chr(39))}",'))
    config = load(path, {"NAME": "studio", "_N1": "1"})
    assert config.accounts[0].name == value


def test_a_variable_brings_no_structure_and_no_further_variable(tmp_path: Path) -> None:
    path = written(tmp_path, "accounts:\n  - name: studio\n    token: ${T}\n    listing: {}\n")
    assert load(path, {"T": "x}:$$[${T}]"}).accounts[0].token.read() == "x}:$$[${T}]"


def test_two_dollars_are_one(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("cfc_abc", '"$$a$$${B}$$"'))
    assert load(path, {"B": "b"}).accounts[0].token.read() == "$a$b$"


def test_numbers_and_durations_by_variable(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "accounts:\n  - name: studio\n    token: x\n    listing: {interval: '${I}'}\n"
        "    max_streams: ${M}\n    rate_limit: {reserve: '${R}'}\n",
    )
    account = load(path, {"I": "7s", "M": "12", "R": "0.5"}).accounts[0]
    assert (account.listing, account.max_streams) == (Listing(interval=7.0), 12)
    assert account.rate_limit.reserve == 0.5
    assert [f.key for f in faults(path, {"I": "7", "M": "1.5", "R": "half"})] == [
        "accounts[0].listing.interval",
        "accounts[0].max_streams",
        "accounts[0].rate_limit.reserve",
    ]


def test_a_value_of_a_variable_is_never_told(tmp_path: Path) -> None:
    fields = ("name", "base_url", "token_file", "max_streams", "listing", "workflows")
    text = "accounts:\n  - token: x\n" + "".join(f"    {f}: ${{SECRET}}\n" for f in fields)
    secret = "cfc_very secret"
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), {"SECRET": secret})
    assert len(caught.value.errors) == len(fields)
    assert "very" not in str(caught.value)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order-mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_files_from_other_editors(tmp_path: Path, mark: bytes, end: bytes) -> None:
    path = written(tmp_path, mark + MINIMAL.encode().replace(b"\n", end))
    assert load(path, {}).accounts[0].name == "studio"


def test_accounts_share_by_anchor_and_merge(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
accounts:
  - &first
    name: studio
    token: cfc_one
    listing: &listing {interval: 9s}
    max_streams: 3
  - <<: *first
    name: farm
    token: cfc_two
  - {name: attic, token: cfc_three, listing: *listing}
  - <<: [{max_streams: 4}, *first]
    name: cellar
""",
    )
    accounts = load(path, {}).accounts
    assert [(a.name, a.max_streams) for a in accounts] == [
        ("studio", 3),
        ("farm", 3),
        ("attic", 500),
        ("cellar", 4),
    ]
    assert [a.token.read() for a in accounts] == ["cfc_one", "cfc_two", "cfc_three", "cfc_one"]
    assert {a.listing for a in accounts} == {Listing(interval=9.0)}


def test_a_missing_file(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "none.yml")
    assert str(fault) == "the file does not exist. Name a YAML file that this user can read."


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yml")
    (fault,) = faults(tmp_path / "config.yml")
    assert str(fault) == (
        "the file is a named pipe, not a regular file. Name a YAML file that this user can read."
    )


def test_a_directory(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path)
    assert str(fault) == "the file is a directory. Name a YAML file that this user can read."


def test_a_name_that_no_file_can_have() -> None:
    (fault,) = faults(Path("a\0b"))
    assert fault.reason == "has a name that no file can have"


def test_a_path_that_is_no_text_can_still_be_printed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "caf\udce9.yml", {})
    assert str(caught.value).encode("utf-8")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not keep root out, and tests may run as root.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "secret-folder")

    path = written(tmp_path, MINIMAL)
    monkeypatch.setattr("exporter.files.plain.os.open", refuse)
    (fault,) = faults(path)
    assert fault.reason == "cannot be read: permission denied"


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (fault,) = faults(written(tmp_path, MINIMAL + "#" * 1024 * 1024))
    assert fault.reason == "is larger than 1 MiB"
    assert "workflow_files" in fault.hint


def test_numbers_too_long_to_be_read_are_no_numbers(tmp_path: Path) -> None:
    long = ":".join(["59"] * 20_000)
    text = MINIMAL + f"metrics: {{node_types: {'9' * 5000}, exception_types: 0x_, "
    path = written(tmp_path, text + f"per_workflow_series: {long}}}\n")
    assert {f.reason for f in faults(path)} == {"is not a whole number"}


def test_a_relative_token_file_starts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "with [brackets] and *"
    folder.mkdir()
    (folder / "t").write_text("cfc_here")
    (folder / "ids.yml").write_text("[]")
    account = "  - {name: a, token_file: t, workflow_files: [ids.yml, '*.yml']}\n"
    loaded = load(written(folder, f"accounts:\n{account}"), {}).accounts[0]
    assert loaded.token.read() == "cfc_here"
    assert loaded.workflow_files[0].endswith("with [[]brackets] and [*]/ids.yml")


def test_a_base_url_is_written_in_one_way(tmp_path: Path) -> None:
    for text, url in {
        "HTTPS://API.ComfyControl.app:443//": "https://api.comfycontrol.app",
        "http://127.0.0.1:80": "http://127.0.0.1",
        "http://[::1]:8188/a/": "http://[::1]:8188/a",
        "https://host:": "https://host",
    }.items():
        line = f"accounts:\n  - {{name: a, token: x, listing: {{}}, base_url: '{text}'}}\n"
        assert load(written(tmp_path, line), {}).accounts[0].base_url == url


def test_accounts_at_one_address_share_a_limit_however_it_is_written(tmp_path: Path) -> None:
    text = """\
accounts:
  - {name: a, token: x, listing: {}, rate_limit: {per: 10s}}
  - {name: b, token: y, listing: {}, rate_limit: {per: 10000ms},
     base_url: 'HTTPS://API.comfycontrol.app/'}
  - {name: c, token: z, listing: {}, base_url: 'http://localhost:1', rate_limit: {requests: 4}}
"""
    assert len(load(written(tmp_path, text), {}).accounts) == 3


def test_warnings(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
accounts:
  - {name: a, token: x, listing: {}, base_url: 'http://gpu.example:80', max_streams: 9500}
  - {name: b, token: x, listing: {}, rate_limit: {requests: 41}}
  - {name: c, token: x, listing: {}, base_url: 'http://127.0.0.2:1', max_streams: 1}
  - {name: d, token: y, listing: {}, base_url: 'http://sim.localhost:1'}
""",
    )
    code, text = check(path, {})
    assert code == 0
    assert text.splitlines() == [
        f"{path}: valid, 4 accounts: a, b, c, d",
        "  warning: accounts[0].base_url sends the token over the network in clear. Use https://.",
        (
            "  warning: accounts[1].rate_limit allows more than the 40 requests in 10 s that the "
            "service documents. Keep the defaults unless the service told you otherwise: past its "
            "limit it refuses everything for a while."
        ),
        (
            "  warning: accounts together allow 10,501 streams in one process. One process holds "
            "10,000 in time: lower `max_streams`, or have some of the accounts followed by "
            "another exporter."
        ),
    ]


def test_check_of_a_good_file(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    assert check(path, {}) == (0, f"{path}: valid, 1 account: studio")


def test_the_environment_alone() -> None:
    config = from_environment({"COMFYCONTROL_TOKEN": " cfc_abc\n"})
    assert config == Config(accounts=(Account(name="default", token="cfc_abc", listing=Listing()),))
    assert config.accounts[0].base_url == "https://api.comfycontrol.app"


def test_the_environment_with_an_address() -> None:
    environ = {"COMFYCONTROL_TOKEN": "x", "COMFYCONTROL_BASE_URL": "http://localhost:9/"}
    assert from_environment(environ).accounts[0].base_url == "http://localhost:9"
    environ["COMFYCONTROL_BASE_URL"] = ""
    assert from_environment(environ).accounts[0].base_url == "https://api.comfycontrol.app"


def test_the_environment_takes_values_as_they_are() -> None:
    assert from_environment({"COMFYCONTROL_TOKEN": "${X}$"}).accounts[0].token.read() == "${X}$"


def test_an_environment_without_a_token_explains_both_ways() -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({})
    assert str(caught.value) == (
        "no configuration: 1 error\n"
        "  COMFYCONTROL_TOKEN is not set. Set it to a token from the service's dashboard to follow "
        "that whole account, name a file with the token in COMFYCONTROL_TOKEN_FILE, or give a file "
        "with --config.file such as:\n"
        "\n"
        "      accounts:\n"
        "        - name: studio\n"
        "          token: ${COMFYCONTROL_TOKEN}\n"
        "          listing: {}\n"
    )


def test_a_token_file_in_the_environment_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("cfc_one\n")
    environ = {"COMFYCONTROL_TOKEN_FILE": str(file)}
    (account,) = from_environment(environ).accounts
    assert (account.name, account.listing) == ("default", Listing())
    assert account.token.path == file
    assert from_environment(environ | {"COMFYCONTROL_TOKEN": ""}).accounts == (account,)
    file.write_text("cfc_two\n")
    assert account.token.read() == "cfc_two"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (
            {"COMFYCONTROL_TOKEN_FILE": "no/such/file"},
            "COMFYCONTROL_TOKEN_FILE names '{here}/no/such/file', which does not exist. Name a ",
        ),
        (
            {"COMFYCONTROL_TOKEN_FILE": "/dev/zero"},
            "COMFYCONTROL_TOKEN_FILE names '/dev/zero', which is a device, not a regular file. ",
        ),
        (
            {"COMFYCONTROL_TOKEN_FILE": "/x", "COMFYCONTROL_TOKEN": "cfc_a"},
            "COMFYCONTROL_TOKEN_FILE is set beside COMFYCONTROL_TOKEN. Set one of the two: ",
        ),
        (
            {"COMFYCONTROL_TOKEN_FILE": "", "COMFYCONTROL_TOKEN": ""},
            "COMFYCONTROL_TOKEN is empty",
        ),
    ],
)
def test_faults_of_a_token_file_in_the_environment(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment(environ)
    assert f"  {says}".replace("{here}", str(Path.cwd())) in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["secret/token", "token.txt", "/run/no-such-folder/token"])
def test_a_token_file_that_is_missing_is_named_whole(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"accounts: [{{name: a, token_file: {name}, listing: {{}}}}]\n")
    (fault,) = faults(path)
    assert fault.reason == f"names the token file {tmp_path / name}, which does not exist"


@pytest.mark.parametrize(
    "token", ["cfc_abcdefg", "/cfc_abc", "hunter", "a1b2c3d4/e5f6", "dir/" + "x" * 80, "a{b}/c"]
)
def test_a_token_in_place_of_its_file_is_not_shown(token: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"accounts: [{{name: a, token_file: '{token}', listing: {{}}}}]\n")
    (fault,) = faults(path)
    assert fault.reason == "names a token file that does not exist"


def test_faults_of_the_environment_are_told_at_once_and_without_values() -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment(
            {"COMFYCONTROL_TOKEN": "cfc_a secret", "COMFYCONTROL_BASE_URL": "http://me:secret@x"}
        )
    assert str(caught.value) == (
        "environment: 2 errors\n"
        "  COMFYCONTROL_BASE_URL holds a user name or a password. Take it out: use "
        "COMFYCONTROL_TOKEN for secrets.\n"
        "  COMFYCONTROL_TOKEN has white space or a line break inside. Give the token alone, in one "
        "line."
    )
    assert caught.value.__context__ is None


@pytest.mark.parametrize("token", ["", " \n"])
def test_an_empty_token_in_the_environment(token: str) -> None:
    with pytest.raises(ConfigError, match="COMFYCONTROL_TOKEN is empty"):
        from_environment({"COMFYCONTROL_TOKEN": token})


def test_a_token_file_that_goes_away_later(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("cfc_one")
    path = written(tmp_path, "accounts:\n  - {name: a, token_file: t, listing: {}}\n")
    token = load(path, {}).accounts[0].token
    (tmp_path / "t").write_text("cfc_two\n")
    assert token.read() == "cfc_two"
    (tmp_path / "t").unlink()
    with pytest.raises(TokenUnreadableError, match="does not exist"):
        token.read()
