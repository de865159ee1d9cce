"""The pages for people in a real browser: they fill, update, sort, filter, and read well to all."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.e2e.programs import program
from tests.unit.web import scenes
from tests.unit.web.scenes import SCENES, Scene, pages_app, serving, uuid

CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
AXE = Path(__file__).parents[1] / "axe/axe.min.js"
PATHS = ("/", "/workflows", "/workflows?phase=settled", f"/workflows/{uuid(100_007)}")
HURRY = (
    "const wait = setTimeout; window.setTimeout = (f, ms) => wait(f, ms === 15000 ? ms : ms / 20);"
)
"""The script asks every 5 s."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Looked:
    page: Page
    url: str
    scene: Scene
    complaints: list[str] = field(default_factory=list)


@contextmanager
def looking(browser: Browser, scene: Scene, **context: Any) -> Iterator[Looked]:
    """A page in a browser that must have nothing to complain of."""
    with serving(pages_app(scene)) as url:
        opened = browser.new_context(**context)
        page = opened.new_page()
        looked = Looked(page, url, scene)
        page.on("console", lambda message: looked.complaints.append(message.text))
        page.on("pageerror", lambda error: looked.complaints.append(str(error)))
        page.on("dialog", lambda dialog: looked.complaints.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((url, "data:,"))
                else looked.complaints.append(request.url)
            ),
        )
        yield looked
        opened.close()
        assert looked.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", SCENES)
def test_axe_finds_no_barrier_on_any_page(
    browser: Browser, name: str, width: int, scheme: str
) -> None:
    with looking(
        browser,
        SCENES[name](),
        viewport={"width": width, "height": 844},
        color_scheme=scheme,
        # axe is no file of ours.
        bypass_csp=True,
    ) as looked:
        paths = PATHS[:3] + (PATHS[3:] if name in ("busy", "outage") else ())
        if name == "hostile":
            paths += tuple(f"/workflows/{part}" for part in ("W" * 200, "%3Cscript%3Ealert(1)"))
        for path in paths:
            answer = looked.page.goto(looked.url + path)
            assert answer
            if answer.status == 404:
                # The console says so, and that is all.
                looked.complaints.pop()
            looked.page.add_script_tag(path=AXE)
            found = looked.page.evaluate("axe.run()")
            assert [(it["id"], it["nodes"][0]["html"]) for it in found["violations"]] == [], path
            too_wide = looked.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert too_wide <= 0, path


def test_a_page_updates_by_itself_and_leaves_focus_and_place_alone(browser: Browser) -> None:
    scene = scenes.busy()
    with looking(browser, scene) as looked:
        page = looked.page
        page.add_init_script(HURRY)
        page.goto(f"{looked.url}/")
        expect(page.get_by_role("heading", name="1 problem now")).to_be_visible()
        link = page.locator("#row-2 a")
        link.focus()
        page.evaluate("document.querySelector('#row-2 a').marked = true")
        scene.shown = scenes.idle().shown
        scene.shown = replace(scene.shown, accounts=(*scene.shown.accounts, scenes.account("z")))
        expect(page.get_by_role("heading", name="No problems")).to_be_visible()
        expect(page.locator("#row-2")).to_contain_text("z")
        assert page.evaluate("document.activeElement.marked")
        # What is told to a screen reader when it changes is the number of problems alone.
        expect(page.locator("#live").get_by_role("status")).to_have_text("✓ No problems")


def test_rows_that_move_keep_the_focus_and_rows_that_go_are_gone(browser: Browser) -> None:
    scene = scenes.busy()
    scene.rows = scenes.open_rows(30)
    with looking(browser, scene) as looked:
        page = looked.page
        page.add_init_script(HURRY)
        page.goto(f"{looked.url}/workflows")
        ids = page.locator("tbody th a")
        expect(ids).to_have_count(30)
        page.get_by_role("link", name=uuid(3), exact=True).focus()
        moved = [replace(row, age_seconds=1e6 - (row.age_seconds or 0)) for row in scene.rows]
        scene.rows = [row for row in moved if row.id not in (uuid(0), uuid(17), uuid(29))]
        scene.rows += [replace(scene.rows[0], id=uuid(500), age_seconds=5e5)]
        expect(ids).to_have_count(28)
        shown = [row.id for row in sorted(scene.rows, key=lambda row: -(row.age_seconds or 0))]
        expect(ids).to_have_text(shown)
        assert page.evaluate("document.activeElement.textContent") == uuid(3)


def test_it_says_so_when_nobody_answers_and_when_somebody_does_again(browser: Browser) -> None:
    with looking(browser, scenes.idle()) as looked:
        page = looked.page
        page.add_init_script(HURRY)
        page.goto(f"{looked.url}/")
        page.route("**/*live=1*", lambda route: route.fulfill(status=503))
        expect(page.get_by_text("The exporter does not answer")).to_be_visible()
        page.unroute("**/*live=1*")
        expect(page.get_by_text("The exporter does not answer")).to_be_hidden()
        assert all("503" in complaint for complaint in looked.complaints)
        looked.complaints.clear()


def test_updates_can_be_paused_and_a_page_that_nobody_sees_asks_nothing(browser: Browser) -> None:
    with looking(browser, scenes.idle()) as looked:
        page = looked.page
        page.add_init_script(HURRY)
        asked: list[str] = []
        page.on(
            "request",
            lambda request: asked.append(request.url) if "live=1" in request.url else None,
        )
        page.goto(f"{looked.url}/")
        with page.expect_request("**/*live=1*"):
            pass
        button = page.get_by_role("button", name="Pause updates")
        button.press("Enter")
        expect(button).to_have_attribute("aria-pressed", "true")
        page.wait_for_timeout(200)
        asked.clear()
        page.wait_for_timeout(1000)
        assert asked == []
        with page.expect_request("**/*live=1*"):
            button.click()
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        page.wait_for_timeout(200)
        asked.clear()
        page.wait_for_timeout(1000)
        assert asked == []
        with page.expect_request("**/*live=1*"):
            page.evaluate(
                "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )


@pytest.mark.parametrize("script", [True, False])
def test_the_table_is_sorted_filtered_searched_and_paged_in_the_address(
    browser: Browser, *, script: bool
) -> None:
    with looking(browser, scenes.busy(), java_script_enabled=script) as looked:
        page = looked.page
        page.goto(f"{looked.url}/")
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Workflows").click()
        expect(page.get_by_text("104 workflows open, page 1 of 3")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Age")).to_have_attribute(
            "aria-sort", "descending"
        )
        page.get_by_role("link", name="Status").click()
        expect(page).to_have_url(re.compile(r"\?sort=status$"))
        expect(page.get_by_role("columnheader", name="Status")).to_have_attribute(
            "aria-sort", "ascending"
        )
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_text("104 workflows open, page 2 of 3")).to_be_visible()
        page.get_by_role("combobox", name="Account").select_option("studio")
        page.get_by_role("combobox", name="Status").select_option("running")
        page.get_by_role("combobox", name="team").select_option("film")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(re.compile(r"account=studio&status=running"))
        rows = page.locator("tbody tr")
        expect(rows.first).to_contain_text("running")
        expect(rows.first).to_contain_text("studio")
        expect(page.get_by_role("combobox", name="Account")).to_have_value("studio")
        page.get_by_role("link", name="Clear").click()
        page.get_by_label("Id begins with").fill(uuid(3)[:9])
        page.get_by_label("Id begins with").press("Enter")
        expect(rows).to_have_count(1)
        page.get_by_role("link", name=uuid(3)).click()
        expect(page.get_by_role("heading", name=f"Workflow {uuid(3)}")).to_be_visible()
        page.get_by_role("link", name="Overview").click()
        page.get_by_role("searchbox").fill(uuid(100_000))
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_role("heading", name="Counted as failed")).to_be_visible()


def test_without_script_everything_is_there_and_nothing_that_needs_one(browser: Browser) -> None:
    for name in ("outage", "hostile"):
        with looking(browser, SCENES[name](), java_script_enabled=False) as looked:
            page = looked.page
            page.goto(f"{looked.url}/")
            expect(page.get_by_role("heading", name="problems now")).to_be_visible()
            expect(page.get_by_role("button", name="Pause")).to_be_hidden()
            assert page.get_by_role("heading", level=2).count() >= 6


def test_what_a_screen_reader_is_told(browser: Browser) -> None:
    with looking(browser, scenes.outage(), viewport={"width": 390, "height": 844}) as looked:
        page = looked.page
        page.goto(f"{looked.url}/")
        told = page.locator("body").aria_snapshot()
        for part in (
            "- banner:",
            '- navigation "Pages":',
            "- main:",
            '- heading "Overview" [level=1]',
            '- heading "2 problems now" [level=2]',
            "- contentinfo:",
            '- meter "Requests used"',
        ):
            assert part in told
        assert re.search(r'img "Failed or invalid, last 1.h, by 1.min: highest 2, latest', told)
        # On a phone rows look like cards, and are still rows of a table.
        expect(page.get_by_role("row", name="agency")).to_be_visible()
        assert page.get_by_role("rowheader", name="agency").count() == 1
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_hostile_names_ids_and_statuses_are_shown_and_run_nothing(browser: Browser) -> None:
    with looking(browser, scenes.hostile()) as looked:
        page = looked.page
        page.add_init_script(HURRY)
        for path in PATHS[:3]:
            page.goto(looked.url + path)
            with page.expect_response("**/*live=1*"):
                pass
            expect(page.locator("#live").get_by_text("<script>alert").first).to_be_visible()
            assert page.locator("main script, main img").count() == 0
        links = page.locator("tbody th a.id")
        for place in range(links.count()):
            page.goto(f"{looked.url}/workflows?phase=settled")
            links.nth(place).click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("Workflow ")


def test_behind_a_proxy_under_a_path_all_links_lead_there(browser: Browser) -> None:
    app = Starlette(routes=[Mount("/some/where", pages_app(scenes.busy()))])
    with serving(app) as url:
        page = browser.new_page()
        page.goto(f"{url}/some/where/")
        page.get_by_role("link", name="Workflows").first.click()
        page.get_by_role("link", name="Age").click()
        page.locator("tbody th a").first.click()
        expect(page).to_have_url(re.compile(r"/some/where/workflows/[0-9a-f-]{36}$"))
        assert page.evaluate("getComputedStyle(document.body).margin") == "0px"
        page.get_by_role("link", name="Overview").click()
        expect(page).to_have_url(f"{url}/some/where/")
        page.close()
