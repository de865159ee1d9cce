"""Nothing secret comes out, whatever goes wrong: at debug level, over every fault."""

from importlib import resources
from pathlib import Path

import requests
import yaml

from exporter.simulator import PLANTED
from tests.e2e.programs import EXPORTER, Stage, free_port

TOKEN = "cfc_S3cretT0kenOfTheStudio"
PUSH_TOKEN = "S3cretPushT0ken"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def test_no_secret_comes_out_at_any_level_over_every_fault(stage: Stage) -> None:
    sim, port = free_port(), free_port()
    simulator = f"http://127.0.0.1:{sim}"
    exporter = f"http://127.0.0.1:{port}"
    hostile = yaml.safe_load(
        (resources.files("exporter.simulator") / "scenarios" / "hostile.yml").read_text("utf-8")
    )
    scenario = stage.folder / "scenario.yml"
    scenario.write_text(
        yaml.safe_dump(hostile | {"accounts": [{"name": "studio", "tokens": [TOKEN]}]})
    )
    stage.start(
        "simulator",
        [
            EXPORTER, "simulate", f"--scenario={scenario}", "--speed=10", "--seed=5",
            f"--listen-address=127.0.0.1:{sim}",
        ],
    )  # fmt: skip
    stage.until("the simulator answers", lambda: requests.get(f"{simulator}/_simulator/truth").ok)
    push_file = stage.folder / "push"
    push_file.write_text(PUSH_TOKEN)
    config = stage.folder / "config.yml"
    config.write_text(
        f"""
accounts:
  - name: studio
    token: {TOKEN}
    base_url: {simulator}
    listing: {{interval: 1s}}
    push: {{token_file: {push_file}}}
"""
    )
    process = stage.start(
        "exporter",
        [
            EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.path={stage.folder / 'data'}", "--log.level=debug",
        ],
    )  # fmt: skip
    seen: list[str] = []

    def enough_has_happened() -> bool:
        page = requests.get(f"{exporter}/metrics", headers=OPENMETRICS, timeout=10).text
        seen.append(page)
        seen.append(
            requests.get(
                f"{exporter}/api/v1/workflows",
                headers={"Authorization": f"Bearer {PUSH_TOKEN}"},
                timeout=10,
            ).text
        )
        struck = requests.get(f"{simulator}/_simulator/truth", timeout=10).json()["faults"]
        return sum(1 for count in struck.values() if count) >= 10 and "failures_total{" in page

    stage.until("ten kinds of fault have struck", enough_has_happened, 90)
    pages = [requests.get(f"{exporter}{path}", timeout=10).text for path in ("/", "/config")]
    seen += pages
    seen.append(Path(f"/proc/{process.pid}/cmdline").read_text("utf-8"))
    assert process.terminate() == 0
    seen.append(process.output)
    # What is kept on disk, too.
    seen += [p.read_bytes().decode("latin-1") for p in (stage.folder / "data").iterdir()]
    assert "studio" in pages[0]
    assert "token: <secret>" in pages[1]
    everything = "\n".join(seen)
    for secret in (TOKEN, PUSH_TOKEN, PLANTED, "Signature=", "Authorization"):
        assert secret not in everything, secret
    assert "Traceback" not in process.output
    assert "level=debug" in process.output
