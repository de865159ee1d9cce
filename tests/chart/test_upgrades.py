"""Upgrades: what the API server would refuse is found here, and the chart says it first."""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.chart.immutable import refused
from tests.chart.rendering import CHART, VALUES, HelmError, Object, helm, render, the
from tests.e2e.programs import program

RELEASED: Final = Path(__file__).parent / "released"
TOKEN: Final = "tokenSecret.name=comfycontrol"


@pytest.fixture(autouse=True)
def _helm() -> None:
    """Skipped where Helm is missing, and failing where every tier must run."""
    program("helm")


# The release before ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_release_before_can_be_upgraded(path: Path) -> None:
    before = [o for o in yaml.safe_load_all(path.read_text("utf-8")) if o]
    assert the(before, "StatefulSet")
    after = render(CHART / "ci" / f"{path.stem}-values.yaml")
    assert refused(before, after) == []


# Values ---------------------------------------------------------------------------------------

REFUSED: Final = {
    "persistence.enabled=false": "persistence.enabled",
    "persistence.size=2Gi": "persistence.size (1Gi now)",
    "persistence.storageClassName=fast": "persistence.storageClassName",
    "persistence.accessModes={ReadWriteOncePod}": "persistence.accessModes",
    "persistence.existingClaim=mine": "persistence.existingClaim",
    "persistence.annotations.a=b": "persistence.annotations",
    "nameOverride=another,fullnameOverride=comfycontrol-exporter": "nameOverride",
}
"""Settings that the API server refuses in an upgrade, and what the chart calls each."""


Place = tuple[str, ...]


def leaves(values: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, (*place, key))
    else:
        yield place, values


def everything() -> list[tuple[Place, Any]]:
    """Each value that any of the files changes, by its place."""
    found: dict[Place, Any] = {}
    for file in VALUES:
        found.update(leaves(yaml.safe_load(file.read_text("utf-8"))))
    # Whom it follows is no question of an upgrade; and some values want others beside them.
    others = (
        *("accounts", "existing", "token", "web", "extraObjects", "workflowFiles", "test"),
        *("replicas", "storage"),
    )
    return [(place, value) for place, value in found.items() if not place[0].startswith(others)]


def test_which_values_cannot_be_changed_is_known_and_said(tmp_path: Path) -> None:
    """Every value that the chart's own files change, one by one."""
    before = render(settings=[TOKEN])
    described = (CHART / "values.yaml").read_text("utf-8")
    file = tmp_path / "values.yaml"
    found = set()
    for place, value in everything():
        nested: Any = value
        for key in reversed(place):
            nested = {key: nested}
        file.write_text(yaml.safe_dump(nested))
        if refused(before, render(file, settings=[TOKEN])):
            found.add(".".join(place[:2]))
    assert found == {
        "persistence.enabled",
        "persistence.existingClaim",
        "persistence.size",
        "persistence.storageClassName",
        "persistence.accessModes",
        "persistence.annotations",
    }
    section = described[described.index("\npersistence:") : described.index("\n## Prometheus")]
    for path in {setting.partition("=")[0] for setting in REFUSED if "persistence" in setting}:
        key = path.split(".")[1]
        comment = section[: section.index(f"\n  {key}:")].rpartition("\n  # -- ")[2]
        assert "be changed by an upgrade alone" in comment, path


@pytest.mark.parametrize("setting", REFUSED)
def test_each_of_them_is_refused_by_the_api_server(setting: str) -> None:
    assert refused(render(settings=[TOKEN]), render(settings=[TOKEN, setting]))


# What the chart says of them ------------------------------------------------------------------


@contextmanager
def cluster(workload: Object | None, folder: Path) -> Iterator[Path]:
    """As much of an API server as a look-up needs, with one workload or none; its kubeconfig."""
    answers: dict[str, Any] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.1"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": "apps",
                    "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                    "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
                }
            ],
        },
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        "/apis/apps/v1": {
            "kind": "APIResourceList",
            "groupVersion": "apps/v1",
            "resources": [
                {
                    "name": "statefulsets",
                    "singularName": "statefulset",
                    "namespaced": True,
                    "kind": "StatefulSet",
                    "verbs": ["get"],
                },
                {
                    "name": "deployments",
                    "singularName": "deployment",
                    "namespaced": True,
                    "kind": "Deployment",
                    "verbs": ["get"],
                },
            ],
        },
    }
    if workload is not None:
        place = f"/apis/apps/v1/namespaces/comfycontrol/{workload['kind'].lower()}s"
        answers[f"{place}/{workload['metadata']['name']}"] = workload

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps(answer or {"kind": "Status", "code": 404, "reason": "NotFound"})
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    kubeconfig = folder / "kubeconfig"
    address = f"http://127.0.0.1:{server.server_address[1]}"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "a", "cluster": {"server": address}}],
                "users": [{"name": "a", "user": {}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "current-context": "a",
            }
        )
    )
    try:
        yield kubeconfig
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upgrade(live: Object | None, setting: str, folder: Path) -> str:
    with cluster(live, folder) as kubeconfig:
        return helm(
            "template", "comfycontrol-exporter", CHART, "--namespace", "comfycontrol",
            "--set", TOKEN, *(("--set", setting) if setting else ()),
            "--dry-run=server", "--is-upgrade", "--kubeconfig", kubeconfig,
        )  # fmt: skip


def living(**settings: str) -> Object:
    """The StatefulSet as the cluster keeps it: with what it fills in."""
    made = [TOKEN, *(f"persistence.{key}={value}" for key, value in settings.items())]
    live = copy.deepcopy(dict(the(render(settings=made), "StatefulSet")))
    for claim in live["spec"].get("volumeClaimTemplates", []):
        claim["metadata"]["creationTimestamp"] = None
        claim["status"] = {"phase": "Pending"}
    live["spec"]["ordinals"] = {"start": 0}
    return live


@pytest.mark.parametrize("setting", REFUSED)
def test_the_chart_refuses_it_first_and_says_what_to_run(setting: str, tmp_path: Path) -> None:
    with pytest.raises(HelmError) as error:
        upgrade(living(), setting, tmp_path)
    said = str(error.value)
    assert REFUSED[setting] in said
    command = "kubectl -n comfycontrol delete statefulset comfycontrol-exporter"
    # Its pod can go on where it keeps its volume.
    keeps = setting.startswith(("persistence.size", "persistence.a", "persistence.s", "nameO"))
    assert (f"{command} --cascade=orphan\n" if keeps else f"{command}\n") in said


def test_a_volume_cannot_come_by_an_upgrade_alone(tmp_path: Path) -> None:
    with pytest.raises(HelmError, match=r"persistence\.enabled or persistence\.existingClaim"):
        upgrade(living(enabled="false"), "persistence.enabled=true", tmp_path)


@pytest.mark.parametrize(
    ("live", "setting"),
    [
        (living, ""),
        (living, "persistence.retentionPolicy.whenDeleted=Delete"),
        (living, "podLabels.team=media"),
        (lambda: living(storageClassName="-"), "persistence.storageClassName=-"),
        (lambda: living(existingClaim="mine"), "persistence.existingClaim=yours"),
        (lambda: None, "persistence.size=2Gi"),
    ],
    ids=["the same", "retention", "the pod", "no class", "another claim", "a first install"],
)
def test_what_can_be_changed_is_not_refused(live: Any, setting: str, tmp_path: Path) -> None:
    assert "kind: StatefulSet" in upgrade(live(), setting, tmp_path)


# From the volume to PostgreSQL, and back ------------------------------------------------------

DATABASE: Final = "storage.postgres.existingSecret=comfycontrol-database"


def scaled(live: Object, replicas: int) -> Object:
    return {**live, "spec": {**live["spec"], "replicas": replicas}}


def deployed(replicas: int) -> Object:
    live = dict(the(render(settings=[TOKEN, DATABASE]), "Deployment"))
    return scaled(live, replicas)


@pytest.mark.parametrize(
    ("live", "setting", "said"),
    [
        (living, DATABASE, "scale statefulset/comfycontrol-exporter --replicas=0"),
        (lambda: deployed(3), "", "scale deployment/comfycontrol-exporter --replicas=0"),
    ],
    ids=["there", "back"],
)
def test_a_ledger_that_is_in_use_is_not_left_behind(
    live: Any, setting: str, said: str, tmp_path: Path
) -> None:
    """Helm would start the new pods beside the old ones, and they would begin at 0."""
    with pytest.raises(HelmError) as error:
        upgrade(live(), setting, tmp_path)
    assert said in str(error.value)
    assert "From the volume to PostgreSQL" in str(error.value)
    assert "## From the volume to PostgreSQL\n" in (
        CHART.parents[1] / "docs" / "kubernetes.md"
    ).read_text("utf-8")


@pytest.mark.parametrize(
    ("live", "setting", "kind"),
    [
        (lambda: scaled(living(), 0), DATABASE, "Deployment"),
        (lambda: deployed(0), "", "StatefulSet"),
        (lambda: deployed(3), DATABASE, "Deployment"),
    ],
    ids=["there", "back", "the same"],
)
def test_one_that_was_stopped_can_be_followed(
    live: Any, setting: str, kind: str, tmp_path: Path
) -> None:
    assert f"kind: {kind}" in upgrade(live(), setting, tmp_path)
