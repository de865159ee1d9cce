"""The commands of docs/upgrading.md, in the order in which the page has them."""

import json
import re
import shlex
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import requests

from exporter import __version__
from exporter.ledger.file import FILE_NAME
from exporter.simulator import Simulator, parse_scenario
from tests.e2e.programs import EXPORTER, Stage
from tests.integration.following.exporting import NO_LIMIT
from tests.ports import free_port
from tests.unit.ledger.ledgers import Clocks, ended, finished, ledger_on_disk

PAGE = (Path(__file__).parents[2] / "docs" / "upgrading.md").read_text("utf-8")
SCENARIO = "{limit: {enabled: false}, accounts: [{name: studio, tokens: [cfc_token]}]}"
PROGRAM = "comfycontrol-exporter"


def commands(section: str, beginning: str) -> list[str]:
    """The lines of the one block of a section that begins like this."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"\n\n((?: {4,}.+\n)+)", str(text))
    found = [block for block in blocks if block.strip().startswith(beginning)]
    assert len(found) == 1, f"the page has another form: {found}"
    return [line.strip() for line in found[0].splitlines()]


def run(lines: list[str], places: dict[str, Path | str]) -> str:
    """What a shell says to these, for other folders; each must succeed."""
    text = "\n".join(lines)
    for before, after in places.items():
        assert before in text, f"{before} is not in {text}"
        text = text.replace(before, str(after))
    said = subprocess.run(
        ["sh", "-euc", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stderr + said.stdout
    return said.stdout


def test_the_configuration_is_checked_with_the_files_of_credentials(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    account = {
        "name": "studio",
        "token_file": "${CREDENTIALS_DIRECTORY}/token",
        "listing": {},
    }
    config.write_text(json.dumps({"accounts": [account]}))
    (tmp_path / "token").write_text("cfc_token")
    plain = commands("Steps", f"{PROGRAM} check-config")
    credentials = commands("Steps", "CREDENTIALS_DIRECTORY=")
    places = {f" {PROGRAM} ": f" {shlex.quote(EXPORTER)} "}
    said = run(credentials, {**places, "/etc/comfycontrol-exporter": tmp_path})
    assert f"{config}: valid, 1 account: studio" in said
    config.write_text(
        json.dumps({"accounts": [{"name": "studio", "token": "${TOKEN}", "listing": {}}]})
    )
    line = [f"TOKEN=x {command}" for command in plain]
    said = run(line, {**places, "/etc/comfycontrol-exporter": tmp_path})
    assert f"{config}: valid, 1 account: studio" in said


def test_whether_it_is_well_is_told(tmp_path: Path) -> None:
    with (
        Simulator(parse_scenario(SCENARIO), seed=1) as simulator,
        closing(Stage(tmp_path)) as stage,
    ):
        account = {
            "name": "studio", "token": "cfc_token", "base_url": simulator.base_url,
            "rate_limit": NO_LIMIT, "listing": {"interval": "1s"},
        }  # fmt: skip
        config, port = tmp_path / "config.yml", free_port()
        config.write_text(json.dumps({"accounts": [account]}))
        stage.start(
            "exporter",
            [
                EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.path={tmp_path / 'data'}",
            ],
        )  # fmt: skip
        ready = f"http://127.0.0.1:{port}/-/ready"
        stage.until("it is ready", lambda: requests.get(ready, timeout=5).ok)
        said = run(
            commands("Steps", f"{PROGRAM} --version"),
            {PROGRAM: shlex.quote(EXPORTER), "localhost:10871": f"127.0.0.1:{port}"},
        )
        assert __version__ in said


@pytest.mark.parametrize("is_running", [False, True], ids=["stopped", "running"])
def test_a_copy_is_a_way_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_running: bool
) -> None:
    data, backups = tmp_path / "data" / PROGRAM, tmp_path / "backups"
    backups.mkdir()
    now = Clocks()
    ledger = ledger_on_disk(data, now)
    for number in range(3):
        ledger.observe(ended(number, now(), completed=number + 20))
    ledger.persist()
    if is_running:
        (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        run(
            [line for line in str(block).splitlines() if not line.startswith("sqlite3")],
            {
                "/var/lib": data.parent,
                "/var/backups": backups,
                "comfycontrol-exporter backup": f"{shlex.quote(EXPORTER)} backup",
            },
        )
    else:
        ledger.close()
        stop, copy, start = commands("A copy of the ledger", "systemctl stop")
        assert "systemctl" in stop
        assert "systemctl" in start
        run([copy], {"/var/lib": data.parent, "/var/backups": backups})
        ledger = ledger_on_disk(data, now)
    for number in range(3, 8):
        ledger.observe(ended(number, now(), completed=number + 20))
    ledger.close()
    run(commands("The way back", "cd "), {"/var/lib": data.parent, "/var/backups": backups})
    ledger = ledger_on_disk(data, now)
    assert finished(ledger.snapshot()) == 3
    # That it is older is told, once, as the page says.
    (said,) = [r.message for r in caplog.records if r.levelname == "ERROR"]
    (quoted,) = re.findall(r"tells that some are missing, once: `(.+?)`", PAGE)
    assert said.startswith(quoted)
    ledger.close()
    newer = ledger_on_disk(data / "newer", now)
    assert finished(newer.snapshot()) == 8
    newer.close()
    assert (data / FILE_NAME).stat().st_uid == data.stat().st_uid
