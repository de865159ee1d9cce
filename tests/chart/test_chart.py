"""The Helm chart, as far as it can be judged without a cluster."""

import base64
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

import exporter.config
import exporter.web.security.loading
from alerts import build as alerts
from exporter import __version__
from exporter.commands.flags import parse
from exporter.web.security.watching import WatchedSecurity
from helm import build
from tests.chart import rendering
from tests.chart.rendering import CHART, ROOT, VALUES, HelmError, Object, render, the
from tests.e2e.programs import program

CI = CHART / "ci"
TOKEN = "tokenSecret.name=comfycontrol"
DATABASE = "storage.postgres.existingSecret=comfycontrol-database"


@pytest.fixture(autouse=True)
def _helm() -> None:
    """Skipped where Helm is missing, and failing where every tier must run."""
    program("helm")


def workload(objects: list[Object]) -> Object:
    """What runs the pods."""
    (found,) = [o for o in objects if o["kind"] in ("StatefulSet", "Deployment")]
    return found


def pod(objects: list[Object]) -> Object:
    spec: Object = workload(objects)["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object]) -> Object:
    first: Object = pod(objects)["containers"][0]
    return first


def strings(value: object) -> Iterator[str]:
    """Every text in an object, keys included."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, str):
        yield value


# What is made of other files ------------------------------------------------------------------


@pytest.mark.parametrize("path", build.files(), ids=lambda path: path.name)
def test_what_is_generated_is_that_of_its_sources(path: Path) -> None:
    assert path.read_text("utf-8") == build.files()[path], "run `make docs`"


@pytest.mark.parametrize(
    "path", [*rendering.GOLDEN.iterdir(), rendering.EXAMPLE], ids=lambda path: path.name
)
def test_renderings_are_those_that_are_kept(path: Path) -> None:
    assert path.read_text("utf-8") == rendering.renewed()[path], "run `make chart`, and look"


def test_every_file_of_values_has_its_rendering() -> None:
    assert {p.name for p in rendering.GOLDEN.iterdir()} == {
        p.name.replace("-values", "") for p in VALUES
    }


def test_it_belongs_to_this_version_of_the_exporter() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == __version__


def test_values_and_schema_know_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

    def compare(node: dict[str, Any], value: Any, path: str) -> None:
        if "properties" not in node or not isinstance(value, dict) or path == "config":
            return
        assert set(node["properties"]) - {"enabled" if not path else ""} == set(value), path
        assert node["additionalProperties"] is False, path
        for key, part in value.items():
            compare(node["properties"][key], part, f"{path}.{key}" if path else key)

    compare(schema, values, "")


# Configuration --------------------------------------------------------------------------------

WITH_CONFIG = [file for file in VALUES if file.name != "existing-secret-values.yaml"]


def configuration(objects: list[Object], folder: Path) -> Path:
    """The folder of the configuration as the volume would have it, with stubs of tokens."""
    (volume,) = [v for v in pod(objects)["volumes"] if v["name"] == "config"]
    for source in volume["projected"]["sources"]:
        if "configMap" in source:
            for key, text in the(objects, "ConfigMap", source["configMap"]["name"])["data"].items():
                vault = folder / "vault"
                vault.mkdir()
                (vault / "comfycontrol").write_text("cfc_stub")
                (folder / key).write_text(text.replace("/vault/secrets", str(vault)))
        elif "items" in source["secret"]:
            for item in source["secret"]["items"]:
                assert not (folder / item["path"]).exists()
                (folder / item["path"]).write_text("cfc_stub")
        else:
            secret = the(objects, "Secret", source["secret"]["name"])
            for key, value in secret["data"].items():
                (folder / key).write_bytes(base64.b64decode(value))
    return folder / "config.yml"


@pytest.mark.parametrize("file", WITH_CONFIG, ids=lambda file: file.stem)
def test_the_exporter_takes_the_configuration(file: Path, tmp_path: Path) -> None:
    objects = render(file)
    path = configuration(objects, tmp_path)
    given = container(objects).get("env", [])
    environ = {e["name"]: e.get("value", "from-the-cluster") for e in given}
    code, said = exporter.config.check(path, {**environ, "STAGE_TOKEN": "cfc_stub"})
    assert code == 0, said
    # Tokens that are somewhere are in use: no file lies beside the configuration for nothing.
    text = path.read_text("utf-8")
    files = {p.name for p in tmp_path.iterdir() if p.is_file()} - {"config.yml"}
    assert all(f"token_file: {name}\n" in f"{text}\n" for name in files)


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_the_exporter_takes_the_arguments(file: Path) -> None:
    arguments = parse(container(render(file))["args"])
    mounts = {m["mountPath"] for m in container(render(file))["volumeMounts"]}
    assert str(arguments.config_file.parent) in mounts
    ledger = arguments.storage_path if arguments.dsn_file is None else arguments.dsn_file.parent
    assert str(ledger) in mounts
    web = arguments.web_config_file
    assert web is None or str(web.parent) in mounts


@pytest.mark.parametrize("name", ["tls", "client-certificates"])
def test_the_exporter_takes_the_web_configuration(name: str, tmp_path: Path) -> None:
    objects = render(CI / f"{name}-values.yaml")
    secret = the(objects, "Secret", "comfycontrol-exporter-web")
    authority = trustme.CA()
    certificate = authority.issue_cert("exporter.example.org")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    for key, value in secret["data"].items():
        (tmp_path / key).write_bytes(base64.b64decode(value))
    code, said = exporter.web.security.loading.check(tmp_path / "web.yml")
    assert code == 0, said


def test_a_token_is_nowhere_but_in_a_secret() -> None:
    objects = render(CI / "two-accounts-values.yaml")
    secret = the(objects, "Secret")
    hidden = {base64.b64decode(value).decode() for value in secret["data"].values()}
    assert hidden == {"cfc_written-out", "push-written-out"}
    rest = [text for o in objects if o is not secret for text in strings(o)]
    assert not any("written-out" in text for text in rest)
    assert not any(encoded in text for text in rest for encoded in secret["data"].values())


def test_a_new_configuration_replaces_the_pod_only_where_asked() -> None:
    def pod_of(reload: str, setting: str) -> Object:
        objects = render(settings=[TOKEN, f"reload={reload}", setting])
        found: Object = the(objects, "StatefulSet")["spec"]["template"]
        return found

    before, after = "config.metrics.node_types=10", "config.metrics.node_types=20"
    assert pod_of("watch", before) == pod_of("watch", after)
    assert "--config.watch" in pod_of("watch", before)["spec"]["containers"][0]["args"]
    assert pod_of("rollout", before) != pod_of("rollout", after)
    assert "--config.watch" not in pod_of("rollout", before)["spec"]["containers"][0]["args"]


# What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "There is no account to follow."),
        ([TOKEN, "replicas=2"], "replicas is 2, and the ledger is SQLite in a volume"),
        ([TOKEN, "replicas=-1"], "at '/replicas': minimum: got -1, want 0"),
        (
            [TOKEN, "storage.postgres.existingSecret=Not one"],
            "at '/storage/postgres/existingSecret': 'Not one'",
        ),
        ([TOKEN, "storage.postgres.dsn=postgresql://a"], "additional properties 'dsn' not allowed"),
        (
            [TOKEN, "config.storage.postgres.dsn_file=/a"],
            "config.storage is the chart's to say",
        ),
        ([TOKEN, "replica=1"], "additional properties 'replica' not allowed"),
        ([TOKEN, "token=x"], "token is given along with tokenSecret.name"),
        ([TOKEN, "accounts.a.token=x"], "token or tokenSecret is given along with accounts"),
        (["accounts.a.token=x"], "accounts.a has no workflows to follow"),
        (["accounts.a.listing.interval=5s"], "accounts.a has no token."),
        (
            ["accounts.a.token=x", "accounts.a.token_file=/y", "accounts.a.listing.interval=5s"],
            "accounts.a has more than one of token and token_file",
        ),
        (
            ["accounts.a.token=x", "accounts.a.push.token=${PUSH}"],
            "accounts.a.push.token cannot be a variable",
        ),
        (
            [TOKEN, "accounts.a.listing.interval=5"],
            "at '/accounts/a/listing/interval': got number, want string",
        ),
        ([TOKEN, "accounts.a.listing.interval=soon"], "at '/accounts/a/listing/interval': 'soon'"),
        (
            [TOKEN, "accounts.a.max_streams=50000"],
            "at '/accounts/a/max_streams': maximum: got 50,000, want 10,000",
        ),
        ([TOKEN, "accounts.a.lisitng.tags={a}"], "additional properties 'lisitng' not allowed"),
        ([TOKEN, "accounts.a b.token=x"], "at '/accounts': additional properties 'a b'"),
        ([TOKEN, "config.metrics.node_types=0"], "at '/config/metrics/node_types': minimum"),
        ([TOKEN, "config.accounts={a}"], "at '/config': additional properties 'accounts'"),
        (
            [TOKEN, "rules.alerts.ComfyControlNothingFinished.from_hour=25"],
            "at '/rules/alerts/ComfyControlNothingFinished/from_hour': maximum",
        ),
        ([TOKEN, "rules.objective.share=1"], "at '/rules/objective/share': exclusiveMaximum"),
        (
            [TOKEN, "rules.alerts.ComfyControlRateLimited.severity=page"],
            "at '/rules/alerts/ComfyControlRateLimited/severity': value must be one of",
        ),
        ([TOKEN, "persistence.size=lots"], "at '/persistence/size': 'lots'"),
        ([TOKEN, "web.tlsSecret=a"], "web.tlsSecret alone turns no TLS on"),
        ([TOKEN, "web.telemetryPath=/config"], "at '/web/telemetryPath': 'not' failed"),
        (
            ["accounts.a.tokenSecret.name=", "accounts.a.listing.interval=5s"],
            "at '/accounts/a/tokenSecret/name': minLength: got 0, want 1",
        ),
        (["accounts.a.tokenSecret.key=k"], "at '/accounts/a/tokenSecret': missing property 'name'"),
        (["accounts.a.tokenSecret.name=${A}"], "at '/accounts/a/tokenSecret/name': '${A}'"),
        (["token=cfc_${SUFFIX}"], "token has a variable within other text"),
        (
            ["accounts.a.token=${A}${B}", "accounts.a.listing.interval=5s"],
            "accounts.a.token has a variable within other text",
        ),
        (
            ["accounts.a.token=x", "accounts.a.push.token=p_${PUSH}"],
            "accounts.a.push.token has a variable within other text",
        ),
        (
            ["existingConfig.name=c", "accounts.a.token=x"],
            "existingConfig.name is given along with accounts",
        ),
        (
            ["existingConfig.name=c", TOKEN],
            "existingConfig.name is given along with tokenSecret.name",
        ),
        (
            ["existingConfig.name=c", "config.metrics.node_types=5"],
            "existingConfig.name is given along with config",
        ),
        ([TOKEN, "web=null"], "missing property 'web'"),
        (
            [TOKEN, "networkPolicy.scrapeFrom.namespace=Not one"],
            "at '/networkPolicy/scrapeFrom/namespace': 'Not one'",
        ),
        ([TOKEN, "rules.settings.slice=my team"], "at '/rules/settings/slice': "),
        ([TOKEN, "rules=null"], "missing property 'rules'"),
        ([TOKEN, "image.repository=null"], "at '/image': missing property 'repository'"),
        ([TOKEN, "web.port=null"], "at '/web': missing property 'port'"),
        ([TOKEN, "rules.objective.share=null"], "at '/rules/objective': missing property 'share'"),
        ([TOKEN, "reload=never"], "at '/reload': value must be one of 'watch', 'rollout'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and value else "",
)
def test_what_is_wrong_is_refused_by_its_place(settings: list[str], said: str) -> None:
    with pytest.raises(HelmError) as error:
        render(settings=settings)
    assert said in str(error.value)


def test_a_refusal_does_not_repeat_a_token() -> None:
    with pytest.raises(HelmError) as error:
        render(settings=["accounts.a.token.value=cfc_secret", "token=cfc_secret"])
    assert "cfc_secret" not in str(error.value)


def test_it_can_be_a_part_of_another_chart(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "comfycontrol-exporter")
    dependency = (
        "{name: comfycontrol-exporter, version: '*', condition: comfycontrol-exporter.enabled}"
    )
    (parent / "Chart.yaml").write_text(
        f"apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{dependency}]\n"
    )
    part = "{enabled: true, tokenSecret: {name: comfycontrol}}"
    (parent / "values.yaml").write_text(f"global: {{a: 1}}\ncomfycontrol-exporter: {part}\n")
    assert the(render(chart=parent), "StatefulSet")


# Rules and dashboards -------------------------------------------------------------------------


def groups(objects: list[Object]) -> list[Object]:
    found: list[Object] = the(objects, "PrometheusRule")["spec"]["groups"]
    return found


def test_rules_are_those_of_the_repository(tmp_path: Path) -> None:
    rendered = groups(render(CI / "everything-values.yaml"))
    expected: list[Object] = []
    for name in ("recording.yml", "alerts.yml"):
        expected += yaml.safe_load((ROOT / "alerts" / name).read_text("utf-8"))["groups"]
    assert rendered == expected
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": rendered}), "utf-8")
    subprocess.run([program("promtool"), "check", "rules", file], check=True, capture_output=True)


def test_thresholds_and_labels_are_values() -> None:
    changed = render(
        settings=[
            TOKEN,
            "prometheusRule.enabled=true",
            "prometheusRule.alertLabels.team=media",
            "rules.settings.job=media",
            "rules.alerts.ComfyControlRunTooLong.above_seconds=7200",
            "rules.alerts.ComfyControlRateLimited.enabled=false",
            "rules.alerts.ComfyControlNothingFinished.enabled=true",
        ]
    )
    found = {r["alert"]: r for g in groups(changed) for r in g["rules"] if "alert" in r}
    assert "7200" in found["ComfyControlRunTooLong"]["expr"]
    assert "ComfyControlRateLimited" not in found
    assert "ComfyControlNothingFinished" in found
    assert 'job="media"' in found["ComfyControlExporterAbsent"]["expr"]
    assert all(rule["labels"]["team"] == "media" for rule in found.values())


def test_alerts_can_be_by_slice(tmp_path: Path) -> None:
    settings = [TOKEN, "prometheusRule.enabled=true", "rules.settings.slice=team"]
    rendered = groups(render(settings=settings))
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": rendered}))
    subprocess.run([program("promtool"), "check", "rules", file], check=True, capture_output=True)
    by_slice = [
        rule
        for group in rendered
        for rule in group["rules"]
        if rule.get("labels", {}).get("reason") == "slice"
    ]
    assert {rule["alert"] for rule in by_slice} == {
        "ComfyControlTimeToStartTooLong",
        "ComfyControlFailureRatioHigh",
    }
    assert all('team!=""' in rule["expr"] for rule in by_slice)


def test_rules_are_sound_whatever_is_turned_off(tmp_path: Path) -> None:
    off = [f"rules.alerts.{name}.enabled=false" for name in alerts.load()["alerts"]]
    rendered = groups(render(settings=[TOKEN, "prometheusRule.enabled=true", *off]))
    assert [group["name"] for group in rendered] == ["comfycontrol-recording"]


def test_dashboards_are_those_of_the_repository() -> None:
    objects = render(settings=[TOKEN, "dashboards.enabled=true"])
    rendered: dict[str, str] = {}
    for found in objects:
        if found["metadata"]["labels"].get("grafana_dashboard") == "1":
            rendered |= found["data"]
    expected = {p.name: p.read_text("utf-8") for p in (ROOT / "dashboards").glob("*.json")}
    assert rendered == expected


def test_a_package_holds_files_and_renders_the_same(tmp_path: Path) -> None:
    rendering.helm("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    names = {member.name.partition("/")[2] for member in members}
    assert {f"files/dashboards/{p.name}" for p in (ROOT / "dashboards").glob("*.json")} <= names
    assert not any(name.startswith("ci/") for name in names)
    for file in VALUES:
        again = rendering.template("--values", file, chart=package)
        assert again == rendering.template("--values", file)


# How the parts hang together ------------------------------------------------------------------


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_selectors_find_the_pod_and_the_service(file: Path) -> None:
    objects = render(file)
    runs = workload(objects)["spec"]
    labels = runs["template"]["metadata"]["labels"].items()
    service = the(objects, "Service")
    assert runs["selector"]["matchLabels"].items() <= labels
    assert service["spec"]["selector"].items() <= labels
    for found in objects:
        if found["kind"] in ("PodMonitor", "PodDisruptionBudget"):
            assert found["spec"]["selector"]["matchLabels"].items() <= labels
        if found["kind"] == "NetworkPolicy":
            assert found["spec"]["podSelector"]["matchLabels"].items() <= labels
        if found["kind"] == "ServiceMonitor":
            wanted = found["spec"]["selector"]["matchLabels"].items()
            assert wanted <= service["metadata"]["labels"].items()
    # The pod of `helm test` is none that the Service would send anybody to.
    for found in objects:
        if found["kind"] == "Pod":
            assert not service["spec"]["selector"].items() <= found["metadata"]["labels"].items()


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_pods_pass_the_restricted_standard(file: Path) -> None:
    objects = render(file)
    pods = [pod(objects), *(o["spec"] for o in objects if o["kind"] == "Pod")]
    for spec in pods:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for part in [*spec["containers"], *spec.get("initContainers", [])]:
            assert part["securityContext"]["allowPrivilegeEscalation"] is False
            assert part["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert part["securityContext"]["readOnlyRootFilesystem"] is True
        for volume in spec.get("volumes", []):
            kinds = set(volume) - {"name"}
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
            assert kinds <= allowed


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_whatever_is_mounted_is_there(file: Path) -> None:
    objects = render(file)
    spec = pod(objects)
    there = {v["name"] for v in spec["volumes"]}
    there |= {
        c["metadata"]["name"] for c in workload(objects)["spec"].get("volumeClaimTemplates", [])
    }
    assert {m["name"] for m in spec["containers"][0]["volumeMounts"]} == there


@pytest.mark.parametrize(
    ("name", "probe"),
    [
        ("default", {"httpGet": {"path": "/-/healthy", "port": "http", "scheme": "HTTP"}}),
        ("tls", {"httpGet": {"path": "/-/healthy", "port": "http", "scheme": "HTTPS"}}),
        ("client-certificates", {"tcpSocket": {"port": "http"}}),
    ],
)
def test_probes_speak_what_the_web_side_speaks(name: str, probe: Object) -> None:
    found = container(render(CI / f"{name}-values.yaml"))["livenessProbe"]
    assert probe.items() <= found.items()


def test_a_probe_of_the_users_replaces_the_charts(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("livenessProbe: {exec: {command: [comfycontrol-exporter, health]}}\n")
    found = container(render(CI / "default-values.yaml", values))["livenessProbe"]
    assert "httpGet" not in found
    assert found["exec"] == {"command": ["comfycontrol-exporter", "health"]}


def test_whatever_is_empty_can_be_null_as_well() -> None:
    everything = CI / "everything-values.yaml"
    empty = [
        *(
            "commonLabels",
            "commonAnnotations",
            "podLabels",
            "podAnnotations",
            "service.annotations",
        ),
        *("service.labels", "config", "web.config", "prometheusRule.alertLabels"),
        *("prometheusRule.extraGroups", "dashboards.labels", "dashboards.annotations"),
        *("resources", "podSecurityContext", "securityContext", "extraEnv", "extraObjects"),
        *("persistence.emptyDirSizeLimit", "service.nodePort", "serviceMonitor.sampleLimit"),
    ]
    assert render(everything, settings=[f"{key}=null" for key in empty])


@pytest.mark.parametrize("name", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_a_probe_can_be_left_out(name: str) -> None:
    usual, found = (
        container(render(settings=[TOKEN])),
        container(render(settings=[TOKEN, f"{name}=null"])),
    )
    assert {**found, name: usual[name]} == usual
    assert name not in found


def test_an_empty_tls_configuration_is_plain_http(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("web: {config: {tls_server_config: {}}}\n")
    objects = render(values, settings=[TOKEN])
    (tmp_path / "web.yml").write_bytes(base64.b64decode(the(objects, "Secret")["data"]["web.yml"]))
    assert WatchedSecurity(tmp_path / "web.yml").context() is None
    assert container(objects)["livenessProbe"]["httpGet"]["scheme"] == "HTTP"


def test_an_annotation_of_the_users_replaces_the_charts(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "scrapeAnnotations: {enabled: true, target: pod}\n"
        "commonAnnotations: {example.org/team: a, example.org/stage: b}\n"
        "podAnnotations: {prometheus.io/path: /federate, example.org/team: c}\n"
    )
    objects = render(values, settings=[TOKEN, "reload=rollout"])
    annotations = the(objects, "StatefulSet")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == "/federate"
    assert annotations["prometheus.io/scrape"] == "true"
    assert (annotations["example.org/team"], annotations["example.org/stage"]) == ("c", "b")
    assert annotations["kubectl.kubernetes.io/default-container"] == "exporter"
    # Python's parser takes a key that is there twice; the API server does not.
    written = rendering.template("--values", values, "--set", TOKEN)
    assert written.count("prometheus.io/path:") == 1


def test_two_never_share_the_ledger() -> None:
    spec = the(render(CI / "default-values.yaml"), "StatefulSet")["spec"]
    # A StatefulSet makes a pod again only when the one of that name is gone.
    assert (spec["replicas"], spec["updateStrategy"]) == (1, {"type": "RollingUpdate"})


def test_claims_do_not_change_with_the_version_of_the_chart() -> None:
    """A StatefulSet's claims cannot be changed: `helm upgrade` would fail."""
    spec = the(render(CI / "default-values.yaml"), "StatefulSet")["spec"]
    for text in strings(spec["volumeClaimTemplates"]):
        assert __version__ not in text
    assert __version__ not in str(spec["template"]["metadata"])


def test_the_network_lets_in_the_port_and_out_dns_and_the_service() -> None:
    policy = the(render(settings=[TOKEN, "networkPolicy.enabled=true"]), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (come_in,) = policy["ingress"]
    assert come_in["ports"] == [{"port": "http", "protocol": "TCP"}]
    out = {(p["port"], p["protocol"]) for rule in policy["egress"] for p in rule["ports"]}
    assert out == {(53, "UDP"), (53, "TCP"), (443, "TCP")}


def namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


OF_HELM_TEST = {
    "podSelector": {
        "matchLabels": {
            "app.kubernetes.io/instance": "comfycontrol-exporter",
            "app.kubernetes.io/component": "test",
        }
    }
}


@pytest.mark.parametrize(
    ("given", "peers"),
    [
        ({}, [namespace("monitoring"), OF_HELM_TEST]),
        ({"scrapeFrom": {"namespace": "metrics"}}, [namespace("metrics"), OF_HELM_TEST]),
        # Named peers are all there are, and no namespace besides.
        ({"from": [namespace("a"), namespace("b")]}, [*map(namespace, "ab"), OF_HELM_TEST]),
        ({"scrapeFrom": {"namespace": ""}}, None),
    ],
    ids=["by default", "another namespace", "named peers", "everybody"],
)
def test_the_network_policy_says_who_may_scrape(
    given: Object, peers: list[Object] | None, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"networkPolicy": {"enabled": True, **given}}))
    (come_in,) = the(render(values, settings=[TOKEN]), "NetworkPolicy")["spec"]["ingress"]
    # Without `from` a rule lets everybody in, and with an empty one as well.
    assert come_in.get("from") == peers


def test_no_pod_of_a_test_is_let_in_where_there_is_none() -> None:
    without = [TOKEN, "networkPolicy.enabled=true", "test.enabled=false"]
    (come_in,) = the(render(settings=without), "NetworkPolicy")["spec"]["ingress"]
    assert come_in["from"] == [namespace("monitoring")]


def test_both_monitors_give_the_job_that_the_alerts_look_for() -> None:
    objects = render(settings=[TOKEN, "serviceMonitor.enabled=true", "podMonitor.enabled=true"])
    job = {"targetLabel": "job", "replacement": alerts.load()["settings"]["job"]}
    (service,) = the(objects, "ServiceMonitor")["spec"]["endpoints"]
    (pods,) = the(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert service["relabelings"] == pods["relabelings"]
    for kind in ("ServiceMonitor", "PodMonitor"):
        # A field of `spec`: the operator writes it as `always_scrape_classic_histograms`.
        assert the(objects, kind)["spec"]["scrapeClassicHistograms"] is True
    assert job in service["relabelings"]
    # The same after a restart: the name of the pod, and not its address.
    (instance,) = [r for r in service["relabelings"] if r["targetLabel"] == "instance"]
    assert instance["sourceLabels"][-1] == "__meta_kubernetes_pod_name"


# Notes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ([TOKEN], "nothing tells Prometheus of it yet", "emptyDir"),
        ([TOKEN, "persistence.enabled=false"], "the ledger is in an emptyDir", "PAUSED"),
        ([TOKEN], "nothing tells Prometheus of it yet", "NetworkPolicy"),
        (
            [TOKEN, "networkPolicy.enabled=true"],
            "the NetworkPolicy lets in scrapes and pushed ids from the namespace monitoring alone",
            "everybody",
        ),
        (
            [TOKEN, "networkPolicy.enabled=true", "networkPolicy.scrapeFrom.namespace="],
            "the NetworkPolicy lets in everybody",
            "alone",
        ),
        (
            [TOKEN, "networkPolicy.enabled=true", "networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8"],
            "nothing tells Prometheus of it yet",
            "NetworkPolicy",
        ),
        (["token=cfc_x"], "tokens stand in the values", "emptyDir"),
        (
            [TOKEN, "proxy.https=http://a:cfc_x@proxy.example:3128"],
            "the user or password of a proxy stands in the values",
            "tokens stand",
        ),
        ([TOKEN, "proxy.https=http://proxy.example:3128"], "nothing tells", "of a proxy"),
        (
            ["existingConfig.name=c", "reload=rollout"],
            "nothing takes up a change of the Secret c by itself",
            "tokens stand",
        ),
        (["existingConfig.name=c"], "nothing tells Prometheus", "takes up a change"),
        (
            [TOKEN, "persistence.enabled=false"],
            "kubectl -n comfycontrol delete statefulset comfycontrol-exporter\n",
            "--cascade=orphan",
        ),
        (
            [TOKEN, "prometheusRule.enabled=true", "rules.objective.starts_within=90"],
            "starts_within is 90, which is none of the exporter's buckets: 0.5, 1, ",
            "unless its own",
        ),
        (
            [
                "existingConfig.name=c",
                "prometheusRule.enabled=true",
                "rules.objective.starts_within=90",
            ],
            "none of the exporter's buckets, unless its own configuration has it: ",
            "PAUSED",
        ),
        ([TOKEN, "prometheusRule.enabled=true"], "alerts lead to", "starts_within"),
        (
            [
                TOKEN,
                "prometheusRule.enabled=true",
                "rules.objective.starts_within=90",
                "config.metrics.time_to_start_buckets={30,90}",
            ],
            "alerts lead to",
            "starts_within",
        ),
        ([TOKEN, "rules.objective.starts_within=90"], "nothing tells", "starts_within"),
        ([TOKEN, "replicas=0"], "PAUSED", "helm -n comfycontrol test"),
        ([TOKEN, "serviceMonitor.enabled=true"], "helm -n comfycontrol test", "nothing tells"),
        ([TOKEN, DATABASE], "rollout status deployment/comfycontrol-exporter", "statefulset"),
        ([TOKEN, DATABASE], "scrape every pod, and not the Service", "static_configs"),
        ([TOKEN, DATABASE, "persistence.enabled=false"], "rollout status", "emptyDir"),
        (
            [TOKEN, DATABASE, "scrapeAnnotations.enabled=true"],
            "needs the metric_relabel_configs of docs/replicas.md",
            "nothing tells",
        ),
        ([TOKEN, DATABASE, "podMonitor.enabled=true"], "rollout", "metric_relabel_configs"),
        (
            [TOKEN, "serviceMonitor.enabled=true", "podMonitor.enabled=true"],
            "has every sample twice",
            "nothing tells",
        ),
    ],
)
def test_notes(settings: list[str], said: str, unsaid: str, tmp_path: Path) -> None:
    # Without a cluster Helm shows no notes: they are brought into an object.
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "notes")
    (chart / "templates" / "notes.yaml").write_text(
        "kind: Notes\nmetadata: {name: notes}\n"
        'text: |\n  {{- tpl (.Files.Get "notes") . | nindent 2 }}\n'
    )
    text = the(render(chart=chart, settings=settings), "Notes")["text"]
    assert said in text
    assert unsaid not in text
    assert "cfc_x" not in text
