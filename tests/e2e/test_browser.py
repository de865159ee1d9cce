"""The pages of the whole program, as a person sees them in a real browser."""

import re

from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.programs import EXPORTER, Stage, program
from tests.e2e.test_pages import AXE, CHROMIUM_FLAGS
from tests.ports import free_port


def barriers(page: Page) -> list[str]:
    """What axe finds in the way of somebody on this page."""
    page.add_script_tag(path=AXE)
    return [it["id"] for it in page.evaluate("axe.run()")["violations"]]


def test_the_demo_fills_its_pages_and_tells_a_workflows_story(stage: Stage) -> None:
    chromium = program("chromium")
    port = free_port()
    home = f"http://127.0.0.1:{port}"
    demo = stage.start(
        "demo", [EXPORTER, "demo", "--speed=10", f"--web.listen-address=127.0.0.1:{port}"]
    )
    stage.until("the exporter serves", lambda: "level=info msg=started" in demo.output)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        context = browser.new_context(bypass_csp=True)  # axe is no file of ours
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{home}/")
        expect(page).to_have_title("Overview · ComfyControl exporter")
        # It fills by itself: nobody loads the page again.
        ended = page.get_by_role("link", name=re.compile(r"^[1-9]\d* completed$"))
        expect(ended).to_be_visible(timeout=60_000)
        assert barriers(page) == []
        ended.click()
        expect(page).to_have_url(re.compile(r"phase=settled&account=studio&status=completed"))
        assert barriers(page) == []
        page.locator("tbody").get_by_role("link").first.click()
        counted = re.compile("counted as completed", re.IGNORECASE)
        expect(page.locator("main")).to_contain_text(counted)
        assert barriers(page) == []
        for link, shows in (
            ("Healthy", "healthy"),
            ("Ready", "ready"),
            ("Metrics", "comfycontrol_workflows{"),
            ("Configuration", "token: <secret>"),
        ):
            page.goto(f"{home}/workflows")
            page.get_by_role("link", name=link).click()
            expect(page.locator("body")).to_contain_text(shows)
        # The browser looks for an icon by itself.
        assert [c for c in complaints if "404" not in c] == []
        without_script = browser.new_context(java_script_enabled=False).new_page()
        without_script.goto(f"{home}/")
        shown = without_script.get_by_role("link", name=re.compile(r"^[1-9]\d* completed$"))
        expect(shown).to_be_visible()
        browser.close()
    assert demo.terminate() == 0
    # The same in the terminal.
    assert re.search(r"[1-9]\d* completed", demo.output)
    assert "Traceback" not in demo.output
