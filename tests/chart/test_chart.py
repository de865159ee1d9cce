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
import exporter.web.security
from alerts import build as alerts
from exporter import __version__
from exporter.flags import parse
from exporter.web.security import WatchedSecurity
from helm import build
from tests.chart import rendering
from tests.chart.rendering import CHART, ROOT, VALUES, HelmError, Object, render, the
from tests.e2e.programs import program

CI = CHART / "ci"
TOKEN = "tokenSecret.name=comfycontrol"


@pytest.fixture(autouse=True)
def _helm() -> None:
    """Skipped where Helm is missing, and failing where every tier must run."""
    program("helm")


def pod(objects: list[Object]) -> Object:
    spec: Object = the(objects, "StatefulSet")["spec"]["template"]["spec"]
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
    environ = {e["name"]: e["value"] for e in container(objects).get("env", [])}
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
    assert str(arguments.storage_path) in mounts
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
    code, said = exporter.web.security.check(tmp_path / "web.yml")
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
        ([TOKEN, "replicas=2"], "at '/replicas': maximum: got 2, want 1"),
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
            [TOKEN, "accounts.a.max_streams=5000"],
            "at '/accounts/a/max_streams': maximum: got 5,000, want 2,000",
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
    stateful = the(objects, "StatefulSet")
    labels = stateful["spec"]["template"]["metadata"]["labels"].items()
    service = the(objects, "Service")
    assert stateful["spec"]["selector"]["matchLabels"].items() <= labels
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
        c["metadata"]["name"]
        for c in the(objects, "StatefulSet")["spec"].get("volumeClaimTemplates", [])
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
    # A StatefulSet makes a pod anew only when the one of that name is gone.
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
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    out = {(p["port"], p["protocol"]) for rule in policy["egress"] for p in rule["ports"]}
    assert out == {(53, "UDP"), (53, "TCP"), (443, "TCP")}


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
        (["token=cfc_x"], "tokens stand in the values", "emptyDir"),
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
