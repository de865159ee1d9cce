"""What a replica answers of accounts that another one counts."""

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

import pytest
import requests
from rich.console import Console
from starlette.applications import Starlette

from exporter.commands.terminal import page
from exporter.config import TokenSource
from exporter.sources.pushed import PushedIds
from exporter.web.api import api_routes
from exporter.web.workers import Workers
from tests.unit.ledger.ledgers import Clocks, make_ledger
from tests.unit.web.scenes import Scene, account, open_rows, overview, pages_app, serving, uuid

HOLDER = "node-2 0123456789ab"
HELD_THERE = f"studio is counted by the replica {HOLDER}"
BOTH = {"Authorization": "Bearer of-both"}
UNKNOWN = uuid(999)


def scene(others: dict[str, str]) -> Scene:
    """A replica that counts `agency`, unless another one does."""
    here = [] if "agency" in others else ["agency"]
    rows = open_rows(3, ["agency"]) if here else []
    shown = replace(overview(*map(account, here)), elsewhere=others)
    return Scene(shown, rows, others=others)


def api(views: Scene) -> Starlette:
    clocks = Clocks()
    pushed = PushedIds(
        {name: TokenSource.literal("of-both") for name in ("studio", "agency")},
        make_ledger(clocks),
        clocks,
        lambda _account, _ids: None,
    )
    return Starlette(routes=api_routes(pushed, views, Workers(1, "test")))


@pytest.fixture
def one() -> Iterator[str]:
    """Counts one account of two."""
    with serving(api(scene({"studio": HOLDER}))) as url:
        yield f"{url}/api/v1/workflows"


@pytest.fixture
def standby() -> Iterator[str]:
    """Counts none."""
    with serving(api(scene({"agency": "", "studio": HOLDER}))) as url:
        yield f"{url}/api/v1/workflows"


@pytest.mark.parametrize("headers", [{}, BOTH])
def test_the_table_of_an_account_that_is_elsewhere_is_refused(
    one: str, headers: dict[str, str]
) -> None:
    answer = requests.get(one, params={"account": "studio"}, headers=headers, timeout=5)
    assert answer.status_code == 503
    assert HELD_THERE in answer.json()["message"]
    assert "Retry-After" in answer.headers


def test_a_table_says_which_accounts_are_not_in_it(one: str) -> None:
    answer = requests.get(one, timeout=5).json()
    assert answer["total"] == 3
    assert answer["elsewhere"] == {"studio": HOLDER}


def test_an_account_that_is_here_is_answered_as_ever(one: str) -> None:
    answer = requests.get(one, params={"account": "agency"}, timeout=5)
    assert (answer.status_code, answer.json()["total"]) == (200, 3)
    assert requests.get(f"{one}/{open_rows(1, ['agency'])[0].id}", timeout=5).status_code == 200


def test_one_that_counts_none_shows_none(standby: str) -> None:
    answer = requests.get(standby, timeout=5)
    assert answer.status_code == 503
    assert HELD_THERE in answer.json()["message"]
    assert "no other is known to hold it" in answer.json()["message"]


def test_a_workflow_that_may_be_elsewhere_is_not_said_to_be_unknown(one: str) -> None:
    answer = requests.get(f"{one}/{UNKNOWN}", timeout=5)
    assert answer.status_code == 503
    assert HELD_THERE in answer.json()["message"]


def test_nothing_is_withdrawn_or_taken_up_elsewhere(one: str) -> None:
    body = {"workflows": [UNKNOWN], "account": "studio"}
    answers = [
        requests.delete(f"{one}/{UNKNOWN}", params={"account": "studio"}, headers=BOTH, timeout=5),
        requests.delete(one, json=body, headers=BOTH, timeout=5),
        requests.post(one, json=body, headers=BOTH, timeout=5),
    ]
    for answer in answers:
        assert answer.status_code == 503
        assert HELD_THERE in answer.json()["message"]


def test_of_what_is_here_it_is_as_ever(one: str) -> None:
    address = f"{one}/{UNKNOWN}"
    gone = requests.delete(address, params={"account": "agency"}, headers=BOTH, timeout=5)
    assert gone.status_code == 404


def test_without_other_replicas_no_word_of_them() -> None:
    with serving(api(scene({}))) as url:
        answer = requests.get(f"{url}/api/v1/workflows", timeout=5)
        assert answer.json()["elsewhere"] == {}
        assert requests.get(f"{url}/api/v1/workflows/{UNKNOWN}", timeout=5).status_code == 404


@pytest.mark.parametrize("path", ["/", "/workflows", f"/workflows/{UNKNOWN}"])
def test_the_pages_name_the_holder(path: str) -> None:
    with serving(pages_app(scene({"studio": HOLDER}))) as url:
        assert HOLDER in requests.get(f"{url}{path}", timeout=5).text
    with serving(pages_app(scene({}))) as url:
        assert "replica" not in requests.get(f"{url}{path}", timeout=5).text


def test_the_terminal_names_the_holder() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(page(scene({"studio": HOLDER}).shown))
    assert f"studio: counted by another replica ({HOLDER})" in console.export_text()
