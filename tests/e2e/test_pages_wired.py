"""The pages of a whole exporter that follows a simulator, in a real browser."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from exporter.simulator import Simulator
from tests.e2e.programs import program
from tests.e2e.test_pages import AXE, CHROMIUM_FLAGS, HURRY
from tests.integration.following.exporting import LISTED, Bench, Exporter
from tests.integration.test_web import serving

WORD = "<b>re\u202eversed</b>"
DAY = f"""
limit: {{enabled: false}}
start: {{finished: 3}}
traits: {{statuses: {{words: [{{word: '{WORD}', instead_of: uploaded}}]}}}}
"""
HOSTILE = "<img src=x onerror=alert(1)>" + "Z\u0335\u0336\u0337" * 20 + "W" * 200
CAUSE = {"node_type": HOSTILE, "exception_type": "<script>alert(2)</script>"}
TEAM = {"label": "team", "from": "tag", "match": "^team:(.+)$", "values": 9}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"), args=CHROMIUM_FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@contextmanager
def wired(
    bench: Bench, prepare: Callable[[Simulator], None] = lambda _: None
) -> Iterator[tuple[Simulator, Exporter, str]]:
    simulator = bench.simulate(DAY)
    prepare(simulator)
    account = bench.account(simulator, **LISTED)
    exporter = bench.export(account)
    exporter.reload(account, slices=[TEAM])
    exporter.until_listed()
    with serving(exporter.app, exporter.app.config, views=exporter.app.views) as url:
        yield simulator, exporter, url


@contextmanager
def looking(browser: Browser, **context: Any) -> Iterator[Page]:
    """A page that has nothing to complain of."""
    complaints: list[str] = []
    opened = browser.new_context(**context)
    page = opened.new_page()
    page.add_init_script(HURRY)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield page
    opened.close()
    assert complaints == []


def test_a_workflow_is_followed_on_the_pages_from_its_beginning_to_its_count(
    bench: Bench, browser: Browser
) -> None:
    with wired(bench) as (simulator, _, url), looking(browser) as page:
        page.goto(f"{url}/workflows")
        expect(page.locator("tbody tr")).to_have_count(0)
        one, other = (
            simulator.create(scripted=True, name="portrait", tags=(f"team:{team}",))
            for team in ("film", "<i>games</i>")
        )
        # It comes by itself.
        expect(page.get_by_role("link", name=one)).to_be_visible(timeout=20_000)
        expect(page.get_by_role("link", name=other)).to_be_visible(timeout=20_000)
        page.goto(f"{url}/workflows?slice.team=film")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name=one).click()
        expect(page.get_by_role("heading", name="Not counted yet")).to_be_visible()
        simulator.workflow(one).advance("running")
        expect(page.get_by_role("table")).to_contain_text("Now running", timeout=20_000)
        simulator.workflow(one).advance("failed", cause=CAUSE)
        expect(page.get_by_role("heading", name="Counted as failed")).to_be_visible(timeout=20_000)
        page.goto(f"{url}/")
        expect(page.locator("main")).to_contain_text("<img src=x")
        assert page.locator("main img:not([role]), main script, main b > b").count() == 0
        simulator.workflow(other).advance("uploaded")
        page.goto(f"{url}/workflows/{other}")
        expect(page.locator("main")).to_contain_text(
            "a status that this version does not know", timeout=20_000
        )
        expect(page.locator("main")).to_contain_text("<b>re")
        assert "\u202e" not in page.locator("main").inner_text()


def test_sorting_filtering_and_pages_over_what_is_really_open(
    bench: Bench, browser: Browser
) -> None:
    ids: list[str] = []

    def prepare(simulator: Simulator) -> None:
        # Before anybody looks: an exporter that saw the first stamp of a creation keeps it.
        ids.extend(simulator.create(scripted=True) for _ in range(60))
        now = int(time.time() * 1000)
        for place, workflow in enumerate(ids[:7]):
            created = now - 10_000 * place
            simulator.workflow(workflow).advance("running", created_at=created)

    with wired(bench, prepare) as (_, exporter, url), looking(browser) as page:
        exporter.until(lambda m: m.total("workflows", status="running") == 7)
        exporter.until(lambda m: m.total("workflows") == 60)
        seen: list[str] = []
        page.goto(f"{url}/workflows")
        expect(page.get_by_text(re.compile(r"60 workflows open"))).to_be_visible()
        while True:
            seen += page.locator("tbody th a").all_inner_texts()
            following = page.get_by_role("link", name="Next")
            if not following.count():
                break
            following.click()
        assert sorted(seen) == sorted(ids)
        page.get_by_role("combobox", name="Status").select_option("running")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr")).to_have_count(7)
        page.get_by_role("link", name="Age").click()
        expect(page.locator("tbody th a")).to_have_text(ids[:7])
        page.get_by_role("link", name="Age").click()
        expect(page.locator("tbody th a")).to_have_text(ids[6::-1])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "status", "code": 401}, "the service refuses its token"),
        ({"kind": "status", "code": 503}, "the service answers with server errors"),
        ({"kind": "reset"}, "the service does not answer"),
        ({"kind": "edge_page", "code": 200}, "the answers do not come from the service"),
    ],
)
def test_an_account_that_is_down_says_why_and_what_to_do(
    bench: Bench, browser: Browser, fault: dict[str, Any], says: str
) -> None:
    with wired(bench) as (simulator, _, url), looking(browser, bypass_csp=True) as page:
        page.goto(f"{url}/")
        expect(page.get_by_role("heading", name="No problems")).to_be_visible()
        simulator.set_faults(fault)
        expect(page.get_by_role("heading", name="1 problem now")).to_be_visible(timeout=40_000)
        problems = page.locator("main li").first
        expect(problems).to_contain_text(says)
        # What to do stands next to it.
        expect(problems).to_contain_text(re.compile("Put|Check|Look"))
        page.add_script_tag(path=AXE)
        assert page.evaluate("axe.run()")["violations"] == []
        simulator.set_faults()
        expect(page.get_by_role("heading", name="No problems")).to_be_visible(timeout=40_000)


def test_every_page_fits_and_is_whole_with_and_without_script(
    bench: Bench, browser: Browser
) -> None:
    with wired(bench) as (simulator, exporter, url):
        workflow = simulator.create(scripted=True, tags=("team:" + "W" * 120,))
        simulator.workflow(workflow).advance("failed", cause=CAUSE)
        simulator.create(scripted=True)
        exporter.until_finished(1)
        for width, scheme, script in product((390, 1440), ("light", "dark"), (True, False)):
            with looking(
                browser,
                viewport={"width": width, "height": 844},
                color_scheme=scheme,
                java_script_enabled=script,
            ) as page:
                for path in ("/", "/workflows", "/workflows?phase=settled"):
                    page.goto(url + path)
                    expect(page.get_by_role("heading", level=1)).to_be_visible()
                    assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.goto(f"{url}/workflows/{workflow}")
                expect(page.get_by_role("heading", name="Counted as failed")).to_be_visible()
                assert page.evaluate("document.documentElement.scrollWidth") <= width
