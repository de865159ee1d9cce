"""The JSON interface: what it answers, and that its description is true."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

from exporter.app.app import App
from exporter.comfycontrol import Cause
from exporter.config import Account, Config, Push
from exporter.interfaces.observations import Observation
from exporter.web.openapi import openapi
from tests.integration.test_web import serving
from tests.unit.ledger.ledgers import T0, Clocks, uuid

PUSH = {"Authorization": "Bearer push-me"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An exporter that has seen three workflows, and asks nobody."""
    token = tmp_path_factory.mktemp("push") / "token"
    token.write_text("push-me\n")
    config = Config(
        accounts=(
            Account(name="studio", token="cfc_a", push=Push(token_file=str(token))),
            Account(name="agency", token="cfc_b", workflows=(uuid(3),)),
        )
    )
    now = Clocks()
    app = App(config, now=now, fresh_services=True)
    for account in ("studio", "agency"):
        app._ledger.set_counting_cutoff(account, T0)
    for number, account, status in (
        (1, "studio", "queued"),
        (2, "studio", "failed"),
        (3, "agency", "running"),
    ):
        app._ledger.observe(
            Observation(
                account=account,
                workflow_id=uuid(number),
                via="stream",
                at=now(),
                status=status,
                created_at=T0 + 1,
                started_at=None if status == "queued" else T0 + 2,
                completed_at=T0 + 5 if status == "failed" else None,
                queue_position=4 if status == "queued" else None,
                cause=Cause("KSampler", "ValueError") if status == "failed" else None,
            )
        )
    yield app
    app.stop()


class Client:
    """Asks one exporter."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, method: str = "GET", **more: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=10, **more)


@pytest.fixture(scope="module")
def client(app: App) -> Iterator[Client]:
    with serving(app, app.config, views=app.views) as url:
        yield Client(url)


def test_the_accounts_are_as_on_the_first_page(client: Client) -> None:
    shown = client.get("/api/v1/accounts").json()
    assert [account["name"] for account in shown["accounts"]] == ["studio", "agency"]
    assert shown["accounts"][0]["open"]["queued"] == 1
    assert shown["accounts"][0]["outcomes"] == {"failed": 1}
    assert shown["problems"] == []


def test_tables_are_filtered_and_paged(client: Client) -> None:
    def ids(query: str) -> list[str]:
        answer = client.get(f"/api/v1/workflows?{query}").json()
        assert answer["total"] >= len(answer["workflows"])
        return [row["id"] for row in answer["workflows"]]

    assert sorted(ids("")) == [uuid(1), uuid(3)]
    assert ids("account=studio") == [uuid(1)]
    assert ids("status=running") == [uuid(3)]
    assert ids("phase=settled") == ids("phase=settled&node_type=KSampler") == [uuid(2)]
    assert ids("slice.team=a") == []
    page = client.get("/api/v1/workflows?per_page=1&page=2").json()
    assert (page["total"], page["page"], page["pages"], len(page["workflows"])) == (2, 2, 2, 1)


def test_one_workflow_has_its_story(client: Client) -> None:
    story = client.get(f"/api/v1/workflows/{uuid(2).upper()}").json()
    assert story["counted_as"] == "failed"
    assert story["row"]["node_type"] == "KSampler"
    assert [event["what"] for event in story["events"]][-2:] == ["counted", "cause"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/v1/workflows/nonsense", 400, "not a workflow id"),
        (f"/api/v1/workflows/{uuid(9)}", 404, "nothing is known"),
        ("/api/v1/workflows?page=0", 400, "page: "),
        ("/api/v1/workflows?colour=red", 400, "unknown parameter; there are account, "),
        ("/api/v1/workflows?page=1&page=2", 400, "a parameter is given more"),
        ("/api/v1/workflows?slice.team=a&slice.team=b", 400, "a parameter is given more"),
        ("/api/v1/workflows?sort=colour", 400, "sort: "),
        ("/api/v1/nothing", 404, "not found"),
    ],
)
def test_refusals_are_json(client: Client, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.json()["message"].startswith(says)


def test_another_method_is_refused_as_json(client: Client) -> None:
    answer = client.get("/api/v1/workflows", "PUT")
    assert answer.status_code == answer.json()["status"] == 405
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_a_push_token_reads_its_own_account_alone(client: Client) -> None:
    table = client.get("/api/v1/workflows", headers=PUSH).json()
    assert [row["id"] for row in table["workflows"]] == [uuid(1)]
    assert client.get("/api/v1/workflows?account=agency", headers=PUSH).status_code == 403
    assert client.get(f"/api/v1/workflows/{uuid(1)}", headers=PUSH).status_code == 200
    assert client.get(f"/api/v1/workflows/{uuid(3)}", headers=PUSH).status_code == 404
    wrong = {"Authorization": "Bearer wrong"}
    assert client.get("/api/v1/workflows", headers=wrong).status_code == 401


def test_the_description_is_whole(client: Client) -> None:
    described = client.get("/api/v1/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    methods = {(path, m) for path, item in described["paths"].items() for m in item}
    assert methods == {
        ("/api/v1/accounts", "get"),
        ("/api/v1/workflows", "get"),
        ("/api/v1/workflows", "post"),
        ("/api/v1/workflows", "delete"),
        ("/api/v1/workflows/{workflow_id}", "get"),
        ("/api/v1/workflows/{workflow_id}", "delete"),
        ("/api/v1/openapi.json", "get"),
    }
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


OPERATIONS = [(path, method) for path, methods in openapi()["paths"].items() for method in methods]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_described(
    client: Client, path: str, method: str, mode: GenerationMode
) -> None:
    """With drawn parameters and bodies, right ones and wrong ones."""
    described = schemathesis.openapi.from_url(f"{client.url}/api/v1/openapi.json")
    operation = described[path][method]
    pushes = method in {"post", "delete"}

    # The same cases each time: what is drawn is a check of the description, not a search.
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        # A case without a token, drawn as a wrong one, stays without.
        drawn = case.meta.components.get(ParameterLocation.HEADER)
        is_wrong = drawn is not None and drawn.mode is GenerationMode.NEGATIVE
        case.call_and_validate(headers=PUSH if pushes and not is_wrong else {})

    try:
        answers()
    except Unsatisfiable:
        # Whatever is sent to it is right.
        assert mode is GenerationMode.NEGATIVE
