"""`compose.yaml` and what it mounts, as far as they can be read without a container engine."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
MONITORING = ROOT / "examples" / "monitoring"


def mounted() -> dict[tuple[str, str], str]:
    """What is mounted of this repository: service and place in it, and the path here."""
    mounts = {}
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", []):
            source, target, *mode = mount.split(":")
            if source.startswith("."):
                assert mode == ["ro"], mount
                mounts[name, target] = source
            else:
                assert source in COMPOSE["volumes"], mount
    return mounts


def test_it_is_a_compose_file() -> None:
    schema = json.loads((ROOT / "tests" / "compose" / "compose-spec.json").read_text("utf-8"))
    jsonschema.validate(COMPOSE, schema)


@pytest.mark.parametrize("source", mounted().values())
def test_whatever_is_mounted_is_there(source: str) -> None:
    assert (ROOT / source).exists()


def test_images_are_pinned_and_ports_are_local() -> None:
    for service in COMPOSE["services"].values():
        assert re.search(r":v?\d+\.\d+\.\d+$|^comfycontrol-exporter:", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_each_program_is_told_to_read_what_is_mounted() -> None:
    for name in ("prometheus", "alertmanager"):
        (config,) = (
            argument.removeprefix("--config.file=")
            for argument in COMPOSE["services"][name]["command"]
            if argument.startswith("--config.file=")
        )
        assert (name, config) in mounted()


def test_prometheus_finds_rules_and_programs_by_the_names_they_have() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    for rule_file in config["rule_files"]:
        # The same relative path, from here and from within the container.
        assert (MONITORING / rule_file).exists()
        inside = Path("/etc/prometheus", rule_file).parts
        assert inside[:5] == ("/", "etc", "prometheus", "..", "..")
        assert ("prometheus", f"/{inside[5]}") in mounted()
    (scrape,) = config["scrape_configs"]
    (manager,) = config["alerting"]["alertmanagers"]
    for part in (scrape, manager):
        for target in part["static_configs"][0]["targets"]:
            host, port = target.split(":")
            assert f"127.0.0.1:{port}:{port}" in COMPOSE["services"][host]["ports"]
    thresholds = yaml.safe_load(
        (ROOT / "alerts" / "settings" / "thresholds.yml").read_text("utf-8")
    )
    assert scrape["job_name"] == thresholds["settings"]["job"]


def test_grafana_is_given_its_source_and_its_boards() -> None:
    places = mounted()
    sources = yaml.safe_load((MONITORING / "grafana" / "datasources.yml").read_text("utf-8"))
    (source,) = sources["datasources"]
    assert source["url"] == "http://prometheus:9090"
    providers = yaml.safe_load((MONITORING / "grafana" / "dashboards.yml").read_text("utf-8"))
    (provider,) = providers["providers"]
    folder = provider["options"]["path"]
    boards = ROOT / places["grafana", folder]
    home = COMPOSE["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert (boards / Path(home).relative_to(folder)).exists()
    for target in places:
        if target[0] == "grafana" and target[1].endswith(".yml"):
            assert target[1].startswith("/etc/grafana/provisioning/")
