"""The pages, as a person sees them in a real browser."""

import re

from playwright.sync_api import expect, sync_playwright

from tests.e2e.programs import EXPORTER, Stage, free_port, program

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def test_the_landing_page_leads_to_the_metrics(stage: Stage) -> None:
    chromium = program("chromium")
    port = free_port()
    demo = stage.start(
        "demo", [EXPORTER, "demo", "--speed=10", f"--web.listen-address=127.0.0.1:{port}"]
    )
    stage.until("the exporter serves", lambda: "level=info msg=started" in demo.output)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page).to_have_title("ComfyControl exporter")
        for link, shows in (
            ("Healthy", "healthy"),
            ("Ready", "ready"),
            ("Metrics", "comfycontrol_workflows{"),
            ("Configuration", "token: <secret>"),
        ):
            page.goto(f"http://127.0.0.1:{port}/")
            page.get_by_role("link", name=link).click()
            expect(page.locator("body")).to_contain_text(shows)
        page.goto(f"http://127.0.0.1:{port}/")
        studio = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="studio"))
        expect(studio).to_contain_text(re.compile(r"up.*of 30 in 10s"))
        # All of it can be seen on a laptop, without scrolling to the side.
        page.set_viewport_size({"width": 1280, "height": 720})
        fits = "document.querySelector('.scroll').scrollWidth <= innerWidth"
        assert page.evaluate(fits)
        # The browser looks for an icon of its own accord; there is none, and that is all it may
        # complain of.
        assert [c for c in complaints if "404" not in c] == []
        browser.close()
    assert demo.terminate() == 0
    assert re.search(r"open +\d+ accepted", demo.output)
    assert "Traceback" not in demo.output
