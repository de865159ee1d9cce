"""The pages for people over HTTP: their headers, what is fetched again, and what is shared."""

import asyncio
import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urljoin

import bcrypt
import pytest
import requests

from exporter.app.app import App
from exporter.config import Account, Config, Listing
from exporter.web.html.sharing import OLDEST_SECONDS, SharedRendering
from exporter.web.html.words import path_part
from exporter.web.routes import WebParts, make_app
from exporter.web.security import UNSECURED, Security
from exporter.web.security.watching import WatchedSecurity
from tests.unit.web import scenes
from tests.unit.web.scenes import SCENES, pages_app, serving, uuid

PATHS = ("/", "/workflows", "/workflows?phase=settled", f"/workflows/{uuid(100_007)}")


@pytest.mark.parametrize("path", PATHS)
def test_a_page_allows_nothing_but_its_own_files(path: str) -> None:
    with serving(pages_app(scenes.busy())) as url:
        page = requests.get(url + path, timeout=10)
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert requests.post(url + path, timeout=10).status_code == 405
        assert requests.head(url + path, timeout=10).status_code == 200


@pytest.mark.parametrize("scene", [name for name in SCENES if name != "hostile"])
@pytest.mark.parametrize("path", PATHS[:3])
def test_a_page_with_all_that_belongs_to_it_is_under_60_kb(scene: str, path: str) -> None:
    with serving(pages_app(SCENES[scene]())) as url:
        page = requests.get(url + path, timeout=10)
        size = len(page.content)
        for name in ("style", "live"):
            found = re.search(rf"static/{name}\.[0-9a-f]+\.\w+", page.text)
            assert found
            asset = requests.get(f"{url}/{found[0]}", timeout=10)
            assert asset.status_code == 200
            assert "immutable" in asset.headers["Cache-Control"]
            size += len(asset.content)
        assert size < 60_000
        raw = requests.get(url + path, timeout=10, stream=True).raw.read()
        assert len(raw) < 8_000
        assert gzip.decompress(raw) if len(page.content) > 1000 else raw


@pytest.mark.parametrize("path", PATHS)
def test_what_is_the_same_is_not_sent_again(path: str) -> None:
    scene = scenes.busy()
    with serving(pages_app(scene)) as url:
        live = f"{url}{path}{'&' if '?' in path else '?'}live=1"
        first = requests.get(live, timeout=10)
        assert "<html" not in first.text
        assert requests.get(url + path, timeout=10).text.count(first.text.strip()[:200]) == 1
        again = requests.get(live, headers={"If-None-Match": first.headers["ETag"]}, timeout=10)
        assert (again.status_code, again.content) == (304, b"")
        other = requests.get(live, headers={"If-None-Match": '"another"'}, timeout=10)
        assert other.status_code == 200


def test_an_unknown_workflow_has_a_page_too() -> None:
    with serving(pages_app(scenes.busy())) as url:
        page = requests.get(f"{url}/workflows/{quote('<b>none', safe='')}", timeout=10)
        assert page.status_code == 404
        assert "There is no record of" in page.text
        assert "&lt;b&gt;none" in page.text
        assert 'href="../static/style.' in page.text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert requests.get(f"{url}/workflows/none?live=1", timeout=10).status_code == 404


def test_every_hostile_id_has_a_page_that_links_lead_to() -> None:
    scene = scenes.hostile()
    with serving(pages_app(scene)) as url:
        for row in scene.rows:
            part = path_part(row.id)
            if part is not None:
                page = requests.get(f"{url}/workflows/{part}", timeout=10)
                assert page.status_code == 200
                assert 'href="../static/style.' in page.text


def test_a_whole_id_that_is_searched_for_leads_to_its_history() -> None:
    with serving(pages_app(scenes.busy())) as url:
        found = requests.get(
            f"{url}/workflows", {"id": uuid(100_007)}, timeout=10, allow_redirects=False
        )
        assert found.status_code == 303
        assert found.headers["Location"] == f"./workflows/{uuid(100_007)}"
        some = requests.get(f"{url}/workflows", {"id": uuid(100_007)[:5]}, timeout=10)
        assert "1 workflow" in some.text


# Sharing ---------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def costing(clock: Clock, seconds: float, calls: list[int]) -> Callable[[], str]:
    def render() -> str:
        calls.append(1)
        clock.now += seconds
        return f"rendered {len(calls)}"

    return render


def test_twenty_who_look_at_one_page_have_it_rendered_once() -> None:
    async def run() -> None:
        clock, calls = Clock(), list[int]()
        shared = SharedRendering(clock, clock, clock)
        render = costing(clock, 0.001, calls)
        parts = await asyncio.gather(*(shared.get("a", render) for _ in range(20)))
        assert {part.html for part in parts} == {"rendered 1"}
        clock.now += 1.9
        assert (await shared.get("a", render)).html == "rendered 1"
        clock.now += 0.2
        assert (await shared.get("a", render)).html == "rendered 2"
        assert (await shared.get("a", render, fresh=True)).html == "rendered 3"
        assert (await shared.get("b", render)).html == "rendered 4"

    asyncio.run(run())


def test_what_costs_much_is_rendered_less_often() -> None:
    async def run() -> None:
        clock, calls = Clock(), list[int]()
        shared = SharedRendering(clock, clock, clock)
        render = costing(clock, 0.05, calls)
        began = clock.now
        while clock.now - began < 600:
            for key in range(3):
                await shared.get(key, render)
            clock.now += 1
        # Three tables of 50 ms each: 1 % of a core together.
        assert len(calls) * 0.05 / 600 < 0.0105
        # And one that is far too slow is still looked at.
        calls.clear()
        slow = costing(clock, 5.0, calls)
        for _ in range(100):
            await shared.get("slow", slow)
            clock.now += 1
        assert 100 / OLDEST_SECONDS - 1 <= len(calls) <= 100 / OLDEST_SECONDS + 1

    asyncio.run(run())


def test_what_is_kept_is_bounded_and_a_fault_is_told_to_all_and_kept_for_none() -> None:
    async def run() -> None:
        clock = Clock()
        shared = SharedRendering(clock, clock, clock)
        for key in range(1000):
            await shared.get(key, lambda: "x")
        assert len(shared._entries) <= 64

        def fails() -> str:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await shared.get("new", fails)
        assert (await shared.get("new", lambda: "right")).html == "right"

    asyncio.run(run())


# In the exporter --------------------------------------------------------------------------------


@contextmanager
def exporter(
    telemetry_path: str = "/metrics",
    security: Security = UNSECURED,
    external_url: str | None = None,
) -> Iterator[str]:
    """The whole web side around invented views."""
    config = Config(accounts=(Account(name="studio", token="cfc_a", listing=Listing()),))
    app = App(config, fresh_services=True)
    parts = WebParts(
        app.page,
        app.pushed,
        app.is_ready,
        telemetry_path,
        lambda: config,
        scenes.busy(),
        external_url,
    )
    with serving(make_app(parts, lambda: security)) as url:
        yield url


def test_the_pages_ask_for_the_same_passwords_as_the_metrics(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{anna: {hashed}}}\n")
    with exporter(security=WatchedSecurity(file).current()) as url:
        page = requests.get(f"{url}/", auth=("anna", "right"), timeout=10)
        assert page.status_code == 200
        found = re.findall(r"static/[a-z]+\.[0-9a-f]+\.\w+", page.text)
        assert len(found) == 2
        for path in (*PATHS, *(f"/{name}" for name in found), "/?live=1", "/workflows/unknown"):
            assert requests.get(url + path, timeout=10).status_code == 401
            wrong = requests.get(url + path, auth=("anna", "wrong"), timeout=10)
            assert wrong.status_code == 401
            right = requests.get(url + path, auth=("anna", "right"), timeout=10)
            assert right.status_code == (404 if "unknown" in path else 200)


def test_everything_else_stays_within_reach_of_the_first_page() -> None:
    with exporter() as url:
        page = requests.get(f"{url}/", timeout=10)
        for path in ("./metrics", "./config", "./-/healthy", "./-/ready"):
            assert f'href="{path}"' in page.text
        assert requests.get(f"{url}/config", timeout=10).status_code == 200
        assert "Version 1.2.3" in page.text


def test_metrics_in_the_place_of_the_first_page_leave_the_others() -> None:
    with exporter("/") as url:
        assert "comfycontrol_account_up" in requests.get(f"{url}/", timeout=10).text
        page = requests.get(f"{url}/workflows", timeout=10)
        assert page.status_code == 200
        assert "Overview" not in page.text


@pytest.mark.parametrize("path", ["/", "/workflows", f"/workflows/{uuid(100_007)}"])
def test_links_lead_to_the_external_url_where_there_is_one(path: str) -> None:
    outside = "https://grafana.example.com/comfy"
    with exporter(external_url=outside) as url:
        page = requests.get(f"{url}{path}", timeout=10).text
        links = set(re.findall(r'<a [^>]*href="([^"]*)"', page))
        ours = {link for link in links if not link.startswith(("#", "https://github.com/"))}
        assert f"{outside}/workflows" in ours
        assert f"{outside}/metrics" in ours
        assert [link for link in ours if not link.startswith(f"{outside}/")] == []
        # What the page itself asks for comes from where it came from, through a tunnel as well.
        (script,) = re.findall(r'<script [^>]*src="([^"]*)"', page)
        assert requests.get(urljoin(f"{url}{path}", script), timeout=10).status_code == 200
        for action in re.findall(r'<form [^>]*action="([^"]*)"', page):
            assert urljoin(f"{url}{path}", action) == f"{url}/workflows"


@pytest.mark.parametrize("text", ["abc", "a", "a-b-", "ffff", "<script>", "é", "W" * 199, "\0"])
def test_no_text_that_is_looked_for_harms_the_ledger(tmp_path: Path, text: str) -> None:
    config = Config(accounts=(Account(name="studio", token="cfc_a", listing=Listing()),))
    app = App(config, fresh_services=True, storage=tmp_path)
    parts = WebParts(app.page, app.pushed, app.is_ready, "/metrics", lambda: config, app.views)
    with serving(make_app(parts)) as url:
        for path in (
            "/workflows?id=",
            "/workflows/",
            "/api/v1/workflows?id=",
            "/api/v1/workflows/",
        ):
            answer = requests.get(f"{url}{path}{quote(text, safe='')}", timeout=10)
            assert answer.status_code in {200, 400, 404}, path
    assert app.read().ledger.errors == 0
    app.stop()
    assert {file.name for file in tmp_path.iterdir()} >= {"ledger.sqlite3"}
    assert [file.name for file in tmp_path.glob("*damaged*")] == []
