"""What the pages for people say, and what they never say."""

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from exporter.comfycontrol.budget import BudgetReading
from exporter.config import Config, load
from exporter.following.answers import AccountHealth
from exporter.ledger.ledger import LedgerSnapshot
from exporter.ledger.totals import Buckets, LabelCaps, Totals
from exporter.ledger.workflow import Workflow
from exporter.metrics.reading import (
    AccountReading,
    BuildReading,
    ConfigReading,
    Reading,
    RequestsReading,
)
from exporter.observations import Moment, Status
from exporter.web.pages import Link, config_page, landing_page, masked

NOW = Moment(wall=1_700_000_100.0, monotonic=500.0)
UP = AccountHealth(up=True, answered=True, down_since=None)
UNASKED = AccountHealth(up=None, answered=False, down_since=None)
CAPS = LabelCaps(node_types=200, exception_types=50)
HOSTILE = """<script>alert("1")</script>&'"""


class Text(HTMLParser):
    """The cells of the table by account and head, the links, and everything else that is read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: dict[str, str] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self._in_cell = False
        self._href = ""
        self.feed(page)
        heads, *rows = [[" ".join(cell.split()) for cell in row] for row in self._rows]
        self.table = {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
            self._in_cell = True
        if tag == "a":
            self._href = dict(attrs)["href"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self._rows[-1][-1] += data
        if self.lasttag == "a" and self._href:
            self.links[data] = self._href
            self._href = ""


def config_of(*accounts: str, **more: object) -> Config:
    return Config.model_validate(
        {
            "accounts": [
                {"name": name, "token": "cfc_S3cret", "listing": {}, **more} for name in accounts
            ]
        }
    )


def workflow(name: str, status: Status | None, account: str = "studio", **more: str) -> Workflow:
    seen = Moment(NOW.wall - 5, NOW.monotonic - 5)
    return Workflow(account, name, "listing", seen, status=status, last_seen=seen, **more)  # type: ignore[arg-type]


def reading(*workflows: Workflow, **accounts: AccountReading) -> Reading:
    named = accounts or {"studio": AccountReading(UP, 1, frozenset({"a"}), NOW.wall - 3, True)}
    totals = Totals(Buckets((1.0,), (1.0,), (1.0,)), CAPS)
    return Reading(
        at=NOW,
        ledger=LedgerSnapshot(tuple(named), workflows, 7, totals),
        requests=RequestsReading({}, 0),
        accounts=named,
        budgets=(BudgetReading("api.comfycontrol.app", 30, 12, 4.5, 0.0),),
        config=ConfigReading(last_reload_successful=True, last_reload_success_at=NOW.wall - 90),
        build=BuildReading("1.2.3", "abc", "3.11.7"),
        per_workflow_series=500,
        label_caps=CAPS,
    )


def landing(shown: Reading, config: Config | None = None, *links: Link) -> Text:
    return Text(landing_page(shown, config or config_of(*shown.accounts), links))


def test_the_table_of_accounts() -> None:
    page = landing(
        reading(
            workflow("a", Status.RUNNING),
            workflow("b", Status.RUNNING),
            workflow("c", Status.QUEUED),
            workflow("d", None),
            workflow("e", Status.QUEUED, unknown_status="paused"),
        )
    )
    assert page.table == {
        "studio": {
            "service": "up",
            "accepted": "0",
            "uploaded": "0",
            "queued": "1",
            "running": "2",
            "other": "2",
            "streams": "1",
            "by listing": "4",
            "list read whole": "3s ago",
            "requests": "12 of 30 in 10s",
            "cooldown": "none",
        }
    }
    assert "Version 1.2.3, revision abc, Python 3.11.7" in page.text
    assert "5 open and 7 settled" in page.text
    assert "Configuration read 1m30s ago." in page.text
    assert "As of 2023-11-14T22:15:00Z" in page.text


def test_an_account_that_cannot_be_seen_shows_no_stale_numbers() -> None:
    def down(seconds: float) -> AccountReading:
        health = AccountHealth(up=False, answered=True, down_since=NOW.monotonic - seconds)
        return AccountReading(health, 0, frozenset(), NOW.wall - seconds, listed=True)

    page = landing(reading(workflow("a", Status.RUNNING), studio=down(20)))
    assert page.table["studio"]["service"] == "down for 20s"
    assert page.table["studio"]["running"] == "1"
    page = landing(reading(workflow("a", Status.RUNNING), studio=down(600)))
    assert page.table["studio"]["service"] == "down for 10m, live numbers withdrawn"
    assert page.table["studio"]["running"] == page.table["studio"]["other"] == "-"


def test_before_the_first_answer() -> None:
    page = landing(
        reading(
            studio=AccountReading(UNASKED, 0, listed=True),
            pushed=AccountReading(UNASKED, 0, listed=False),
        )
    )
    assert page.table["studio"]["service"] == "not asked yet"
    assert page.table["studio"]["list read whole"] == "not yet"
    assert page.table["pushed"]["list read whole"] == "not listed"


def test_a_cooldown_and_a_clock_set_back() -> None:
    shown = reading()
    budget = replace(shown.budgets[0], cooldown_until=NOW.wall + 7.4)
    page = landing(
        replace(
            shown,
            budgets=(budget,),
            accounts={"studio": AccountReading(UP, 0, list_completed_at=NOW.wall + 60)},
        )
    )
    assert page.table["studio"]["cooldown"] == "7s left"
    assert page.table["studio"]["list read whole"] == "0s ago"


def test_what_went_wrong_is_said() -> None:
    shown = reading()
    quiet = landing(shown).text
    failing = replace(
        shown,
        ledger=replace(shown.ledger, errors=3),
        config=replace(
            shown.config, last_reload_successful=False, web_last_reload_successful=False
        ),
    )
    loud = landing(failing).text
    for words in ("could not be kept 3 times", "A newer one has faults", "--web.config.file"):
        assert words in loud
        assert words not in quiet


def test_reading_and_configuration_may_differ_for_a_moment_during_a_reload() -> None:
    page = landing(reading(), config_of("another"))
    assert page.table["studio"]["requests"] == page.table["studio"]["cooldown"] == "-"
    assert "another" not in page.table


def test_whatever_stands_in_it_is_text() -> None:
    shown = reading(**{HOSTILE: AccountReading(UP, 0)})
    shown = replace(shown, build=BuildReading(HOSTILE, HOSTILE, HOSTILE))
    page = landing(shown, config_of("studio"), Link("/a b/<x>\"'?", HOSTILE, HOSTILE))
    assert "script" not in page.tags
    assert set(page.table) == {HOSTILE}
    assert page.links == {HOSTILE: "/a%20b/%3Cx%3E%22%27%3F"}


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    page = landing(reading(), None, Link("https://example.com/docs", "Docs", "elsewhere"))
    assert not page.tags & {"script", "img", "link", "iframe", "object", "form", "svg"}
    assert page.links == {"Docs": "https://example.com/docs"}


# The configuration ----------------------------------------------------------------------------


def test_the_configuration_in_force_is_one_that_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("cfc_InTheFile")
    (tmp_path / "push").write_text("PushS3cret")
    file = tmp_path / "config.yml"
    file.write_text(
        """
accounts:
  - name: studio
    token: ${TOKEN}
    listing: {interval: 90s, tags: [a]}
  - name: second
    token_file: token
    workflow_files: [ids/*.yml]
    push: {token_file: push}
metrics: {time_to_start_buckets: [0.5, 10]}
"""
    )
    config = load(file, {"TOKEN": "cfc_S3cret"})
    text = config_page(config)
    for secret in ("cfc_S3cret", "cfc_InTheFile", "PushS3cret"):
        assert secret not in text
    shown = yaml.safe_load(text)
    first, second = shown["accounts"]
    assert first["token"] == "<secret>"
    assert "token_file" not in first
    assert first["listing"] == {
        "interval": "1m30s",
        "lookback": "24h",
        "tags": ["a"],
        "reconcile": True,
    }
    assert "token" not in second
    assert second["token_file"] == str(tmp_path / "token")
    assert second["push"] == {"token_file": str(tmp_path / "push")}
    assert "listing" not in second
    assert "time_to_start_buckets: [0.5, 10" in text
    assert shown["metrics"]["node_types"] == 200
    # Read as a file, it says the same once more.
    again = tmp_path / "again.yml"
    again.write_text(text)
    assert config_page(load(again, {})) == text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"token": "x"}, {"token": "<secret>"}),
        ({"push_token": "x", "Password": 7}, {"push_token": "<secret>", "Password": "<secret>"}),
        ({"secret": ["x", "y"]}, {"secret": ["<secret>", "<secret>"]}),
        ({"api_key": {"a": "x"}}, {"api_key": {"a": "x"}}),
        ({"token_file": "/run/token", "keys": 3}, {"token_file": "/run/token", "keys": 3}),
        ({"token": None}, {"token": None}),
        (
            [{"url": "redis://user:p@ss@host:1/0?x=a@b"}],
            [{"url": "redis://<secret>@host:1/0?x=a@b"}],
        ),
        ({"url": "https://host/a@b"}, {"url": "https://host/a@b"}),
    ],
)
def test_what_is_masked(data: object, shown: object) -> None:
    assert masked(data) == shown
