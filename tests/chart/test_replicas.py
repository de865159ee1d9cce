"""Several replicas: the chart with a ledger in PostgreSQL."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from exporter.commands.flags import parse
from exporter.metrics.scraping import of_accounts, of_accounts_pattern
from tests.chart.rendering import CHART, ROOT, HelmError, Object, render, the
from tests.e2e.programs import program

THREE: Final = CHART / "ci" / "replicas-values.yaml"
TOKEN: Final = "tokenSecret.name=comfycontrol"
DATABASE: Final = "storage.postgres.existingSecret=comfycontrol-database"
MIGRATION: Final = ROOT / "examples" / "kubernetes" / "migrate-storage.yaml"


@pytest.fixture(autouse=True)
def _helm() -> None:
    """Skipped where Helm is missing, and failing where every tier must run."""
    program("helm")


def kinds(objects: list[Object]) -> set[str]:
    return {o["kind"] for o in objects}


def pod(objects: list[Object]) -> Object:
    found: Object = the(objects, "Deployment")["spec"]["template"]["spec"]
    return found


# The pods -------------------------------------------------------------------------------------


def test_replicas_are_a_deployment_without_a_volume() -> None:
    objects = render(THREE)
    assert "StatefulSet" not in kinds(objects)
    assert the(objects, "Deployment")["spec"]["replicas"] == 3
    assert {"emptyDir", "persistentVolumeClaim"}.isdisjoint(
        kind for volume in pod(objects)["volumes"] for kind in volume
    )


def test_a_rollout_takes_none_away_before_the_next_is_ready() -> None:
    spec = the(render(THREE), "Deployment")["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    found = spec["template"]["spec"]
    assert found["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/-/ready"
    # Twice what it takes to give the accounts back, and more.
    assert found["terminationGracePeriodSeconds"] >= 10


def test_the_connection_string_is_a_file_and_nowhere_else() -> None:
    objects = render(THREE, settings=["storage.postgres.key=url"])
    container = pod(objects)["containers"][0]
    dsn_file = parse(container["args"]).dsn_file
    assert dsn_file is not None
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == str(dsn_file.parent)]
    (volume,) = [v for v in pod(objects)["volumes"] if v["name"] == mount["name"]]
    assert mount["readOnly"] is True
    assert volume["secret"]["secretName"] == "comfycontrol-database"
    assert dsn_file.name == "url"
    # As a variable it would stand where each process of the pod, and a crash report, has it.
    assert "comfycontrol-database" not in str([container.get("env"), container.get("envFrom")])
    assert "Secret" not in kinds(objects)


def test_replicas_are_apart_where_that_can_be() -> None:
    spec = pod(render(THREE))
    labels = the(render(THREE), "Deployment")["spec"]["selector"]["matchLabels"]
    (term,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
    (zones,) = spec["topologySpreadConstraints"]
    assert zones["topologyKey"] == "topology.kubernetes.io/zone"
    assert zones["whenUnsatisfiable"] == "ScheduleAnyway"
    assert zones["labelSelector"]["matchLabels"] == labels


def test_what_the_user_says_of_placing_replaces_the_charts() -> None:
    settings = [
        "affinity.nodeAffinity.a=b",
        "topologySpreadConstraints[0].topologyKey=rack",
    ]
    spec = pod(render(THREE, settings=settings))
    assert spec["affinity"] == {"nodeAffinity": {"a": "b"}}
    assert spec["topologySpreadConstraints"] == [{"topologyKey": "rack"}]


@pytest.mark.parametrize(
    ("settings", "is_there"),
    [
        ([DATABASE, "replicas=2"], True),
        ([DATABASE, "replicas=2", "podDisruptionBudget.enabled=false"], False),
        ([DATABASE], False),
        ([], False),
        (["podDisruptionBudget.enabled=true"], True),
    ],
    ids=["two", "two, not wanted", "one", "one in a volume", "one, wanted"],
)
def test_only_several_have_a_disruption_budget(settings: list[str], is_there: bool) -> None:
    objects = render(settings=[TOKEN, *settings])
    assert ("PodDisruptionBudget" in kinds(objects)) is is_there
    if is_there:
        assert the(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_one_replica_is_not_kept_apart_from_itself() -> None:
    assert (
        not {"affinity", "topologySpreadConstraints"}
        & pod(render(settings=[TOKEN, DATABASE])).keys()
    )


def test_more_than_one_without_a_database_are_refused_with_the_reason() -> None:
    with pytest.raises(HelmError, match="count every outcome once more") as error:
        render(settings=[TOKEN, "replicas=3"])
    assert "storage.postgres.existingSecret" in str(error.value)


# The network ----------------------------------------------------------------------------------


def test_the_network_lets_out_to_the_database() -> None:
    egress = the(render(THREE), "NetworkPolicy")["spec"]["egress"]
    rule = {
        "ports": [{"port": 5432, "protocol": "TCP"}],
        "to": [
            {"podSelector": {"matchLabels": {"app": "postgres"}}},
            {"ipBlock": {"cidr": "10.1.2.0/24"}},
        ],
    }
    assert rule in egress


def test_the_network_lets_out_to_no_database_where_there_is_none() -> None:
    egress = the(render(settings=[TOKEN, "networkPolicy.enabled=true"]), "NetworkPolicy")
    assert "5432" not in str(egress["spec"])


def test_another_port_of_the_database() -> None:
    settings = [TOKEN, DATABASE, "networkPolicy.enabled=true"]
    settings.append("networkPolicy.database.ports={6432}")
    *_, last = the(render(settings=settings), "NetworkPolicy")["spec"]["egress"]
    # Anywhere: nothing says where it is.
    assert last == {"ports": [{"port": 6432, "protocol": "TCP"}]}


# Scraping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_series_of_an_account_do_not_know_the_pod(kind: str) -> None:
    spec = the(render(THREE), kind)["spec"]
    (endpoint,) = spec["endpoints" if kind == "ServiceMonitor" else "podMetricsEndpoints"]
    rules = endpoint["metricRelabelings"]
    # Both are labels of the pod: the operator adds the second by itself.
    assert [rule["targetLabel"] for rule in rules] == ["instance", "pod"]
    for rule in rules:
        assert rule["sourceLabels"] == ["__name__"]
        assert rule["regex"] == of_accounts_pattern()
        for name in of_accounts():
            assert re.fullmatch(rule["regex"], name)
        assert not re.fullmatch(rule["regex"], "comfycontrol_account_held")
        # No group of the expression has this name, so it stands for nothing.
        assert rule["replacement"] == "${none}"
        assert "(?P<none>" not in rule["regex"]


def test_prometheus_takes_the_relabelings(tmp_path: Path) -> None:
    (endpoint,) = the(render(THREE), "ServiceMonitor")["spec"]["endpoints"]
    job = {
        "job_name": "comfycontrol",
        "metric_relabel_configs": [
            {
                "source_labels": rule["sourceLabels"],
                "regex": rule["regex"],
                "target_label": rule["targetLabel"],
                "replacement": rule["replacement"],
            }
            for rule in endpoint["metricRelabelings"]
        ],
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": [job]}), "utf-8")
    done = subprocess.run(
        [program("promtool"), "check", "config", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_relabelings_of_the_user_come_after_the_charts() -> None:
    settings = ["serviceMonitor.metricRelabelings[0].action=drop"]
    (endpoint,) = the(render(THREE, settings=settings), "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["metricRelabelings"][2:] == [{"action": "drop"}]


def test_a_single_exporter_keeps_its_labels() -> None:
    objects = render(settings=[TOKEN, "serviceMonitor.enabled=true"])
    (endpoint,) = the(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert "metricRelabelings" not in endpoint


def test_alerts_of_replicas_are_among_the_rules() -> None:
    groups = the(render(THREE), "PrometheusRule")["spec"]["groups"]
    names = {rule.get("alert") for group in groups for rule in group["rules"]}
    assert {
        "ComfyControlAccountNotHeld",
        "ComfyControlAccountHeldTwice",
        "ComfyControlDatabaseFailing",
        "ComfyControlReplicasDisagree",
    } <= names


# The way over ---------------------------------------------------------------------------------


def test_the_job_that_copies_the_ledger_fits_the_chart() -> None:
    job = yaml.safe_load(MIGRATION.read_text("utf-8"))
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
    arguments = parse(container["args"])
    assert (arguments.command, arguments.to, arguments.dry_run) == (
        "migrate-storage",
        "postgres",
        False,
    )
    stateful = the(render(settings=[TOKEN]), "StatefulSet")
    (claim,) = stateful["spec"]["volumeClaimTemplates"]
    name = f"{claim['metadata']['name']}-{stateful['metadata']['name']}-0"
    kept = mounts[str(arguments.storage_path)]
    assert kept["persistentVolumeClaim"]["claimName"] == name
    deployed = pod(render(settings=[TOKEN, DATABASE]))
    (database,) = [v for v in deployed["volumes"] if v["name"] == "database"]
    assert mounts[str(arguments.dsn_file.parent)] == database
    assert container["image"] == deployed["containers"][0]["image"]
    for part in ("securityContext", "automountServiceAccountToken"):
        assert spec[part] == deployed[part]
    assert container["securityContext"] == deployed["containers"][0]["securityContext"]
    # Once: a second try would find a ledger there, and say so.
    assert (job["spec"]["backoffLimit"], spec["restartPolicy"]) == (0, "Never")
