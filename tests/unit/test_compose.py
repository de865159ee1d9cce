"""`compose.yaml` and what it mounts, as far as they can be read without a container engine."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from exporter.commands.flags import parse
from exporter.config import check
from exporter.config.storage import read_dsn
from exporter.metrics.scraping import of_accounts_pattern
from exporter.simulator import load_scenario

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
        # Versions of PostgreSQL have two parts.
        pinned = r":v?\d+\.\d+\.\d+$|^postgres:\d+\.\d+$|^comfycontrol-exporter:"
        assert re.search(pinned, service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


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
    scrape = config["scrape_configs"][0]
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


# The profile `replicas` -----------------------------------------------------------------------

REPLICAS = MONITORING / "replicas"


def test_replicas_come_only_where_they_are_asked_for() -> None:
    of_profile = {name for name, service in COMPOSE["services"].items() if service.get("profiles")}
    assert of_profile == {"replica", "simulator", "postgres"}
    for name in of_profile:
        assert COMPOSE["services"][name]["profiles"] == ["replicas"]
        # Nobody who is there without them waits for them.
        assert not any(
            name in service.get("depends_on", {})
            for other, service in COMPOSE["services"].items()
            if other not in of_profile
        )


def test_three_replicas_share_a_ledger() -> None:
    replica = COMPOSE["services"]["replica"]
    assert replica["deploy"] == {"replicas": 3}
    arguments = parse(replica["command"])
    places = mounted()
    assert ROOT / places["replica", str(arguments.config_file)] == REPLICAS / "config.yml"
    assert ROOT / places["replica", str(arguments.dsn_file)] == REPLICAS / "dsn"
    _, _, host = read_dsn(REPLICAS / "dsn").partition("@")
    assert host.partition("/")[0] in COMPOSE["services"]
    assert replica["depends_on"]["postgres"] == {"condition": "service_healthy"}
    # One port of this machine for each.
    ((first, last),) = (re.findall(r":(\d+)-(\d+):10871$", port)[0] for port in replica["ports"])
    assert int(last) - int(first) == 2


def test_they_follow_the_simulator() -> None:
    command = COMPOSE["services"]["simulator"]["command"]
    arguments = parse(command)
    scenario = load_scenario(ROOT / mounted()["simulator", arguments.scenario])
    code, said = check(REPLICAS / "config.yml", {})
    assert code == 0, said
    accounts = yaml.safe_load((REPLICAS / "config.yml").read_text("utf-8"))["accounts"]
    port = command[-1].rpartition(":")[2]
    assert {a["base_url"] for a in accounts} == {f"http://simulator:{port}"}
    assert {a["name"]: a["token"] for a in accounts} == {
        account.name: account.tokens[0] for account in scenario.accounts
    }


def test_prometheus_scrapes_each_of_them() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    _, job = config["scrape_configs"]
    (where,) = job["dns_sd_configs"]
    assert where["names"] == ["replica"]
    assert where["port"] == 10871
    (relabeling,) = job["metric_relabel_configs"]
    assert relabeling["regex"] == of_accounts_pattern(), "it is another one now: write it there"
    assert (relabeling["target_label"], relabeling["replacement"]) == ("instance", "")
