"""What is shown of a running exporter: tables, problems, what comes next, and how fast."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import get_args

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from exporter.budget.budget import BudgetReading
from exporter.following.answers import AccountHealth, LastError
from exporter.following.reconciling import Reconciliation
from exporter.following.runner_census import RunnerCensus
from exporter.history.history import History
from exporter.history.live import AccountNow, LiveViews, Sources
from exporter.history.outlook import Plan, next_step
from exporter.interfaces.observations import Moment, Status, Tracked, Traits, Via
from exporter.interfaces.views import SliceView, SortKey, WorkflowQuery
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.counting import CountingRules, counts, why_not_counted
from exporter.ledger.slicing import SliceRule
from exporter.ledger.workflow import Workflow
from exporter.metrics.reading import AccountReading, ConfigReading
from exporter.sources.files import FilesReading
from tests.unit.ledger.ledgers import CAUSE, T0, Clocks, make_ledger, seen, uuid

UP = AccountHealth(up=True, answered=True, down_since=None)


class Shown:
    """The views of a ledger, with an account that is as a test says."""

    def __init__(self, *slices: SliceRule) -> None:
        self.now = Clocks()
        self.ledger = make_ledger(self.now, slices=slices)
        self.history = History(self.now)
        self.ledger.on_workflow_change = self.history.note
        self.config = ConfigReading(last_reload_successful=True, last_reload_success_at=T0)
        self.budget = BudgetReading("x", allowed=30, used=3, waited_seconds=0, cooldown_until=0)
        self.account = AccountNow(
            reading=AccountReading(UP, listed=True, list_completed_at=T0),
            plan=Plan(listed=True, lookback=3600, next_pass=1003.0),
            last_error=None,
            address="x",
            limit=40,
            share=30,
            period=10.0,
        )
        self.views = LiveViews(
            self.ledger,
            self.history,
            Sources(
                now=self.now,
                accounts=self.accounts,
                budgets=lambda: [self.budget],
                config=lambda: self.config,
                version="1",
                revision="abc",
            ),
        )

    def accounts(self) -> Mapping[str, AccountNow]:
        return {"studio": self.account}

    def reads(self, **changes: object) -> None:
        self.account = replace(
            self.account,
            reading=replace(self.account.reading, **changes),  # type: ignore[arg-type]
        )

    def see(self, number: int, status: str, **more: object) -> None:
        self.ledger.observe(seen(number, status, self.now(), **more))  # type: ignore[arg-type]

    def problems(self) -> list[str]:
        return [f"{p.level}: {p.text}" for p in self.views.overview().problems]


def test_an_exporter_that_is_fine_has_no_problems() -> None:
    it = Shown()
    it.see(1, "queued", position=2)
    it.see(2, "running", started=2)
    overview = it.views.overview()
    assert overview.problems == ()
    (account,) = overview.accounts
    assert account.up
    assert account.open == {"accepted": 0, "uploaded": 0, "queued": 1, "running": 1, "other": 0}
    assert account.longest_waiting_id == uuid(1)
    assert account.budget is not None
    assert (account.budget.used, account.budget.allowed, account.budget.limit) == (3, 30, 40)


def test_an_account_that_is_down_says_why_and_shows_nothing_old() -> None:
    it = Shown()
    it.see(1, "queued")
    it.now.pass_(100)
    it.reads(health=AccountHealth(False, True, it.now().monotonic - 60, "token_refused"))
    it.account = replace(
        it.account, last_error=LastError("401: token refused", it.now().monotonic - 5)
    )
    (problem,) = it.views.overview().problems
    assert (problem.level, problem.account) == ("critical", "studio")
    assert problem.text == "Down: the service refuses its token."
    assert problem.advice
    assert problem.since == it.now().wall - 60
    (account,) = it.views.overview().accounts
    assert not account.up
    assert account.open == {}
    assert (account.last_error, account.last_error_at) == ("401: token refused", it.now().wall - 5)


def test_a_list_that_is_not_there_leads_to_base_url() -> None:
    it = Shown()
    it.reads(health=AccountHealth(False, True, it.now().monotonic, "not_listed"))
    (problem,) = it.views.overview().problems
    assert "base_url" in problem.advice


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (1, "warning: The workflow file /ids/0.yml is faulty."),
        (3, "warning: The workflow file /ids/0.yml is faulty, and 2 more."),
    ],
)
@pytest.mark.parametrize("is_up", [True, False])
def test_a_faulty_workflow_file_is_told_with_its_fault(
    faulty: int, said: str, *, is_up: bool
) -> None:
    it = Shown()
    if not is_up:
        # Down for so long that nothing else about the account is shown.
        since = it.now().monotonic - 60
        it.reads(health=AccountHealth(False, True, since, "no_answer"))
    faults = {f"/ids/{n}.yml": f"line {n}: is no list. Write one." for n in range(faulty)}
    it.reads(files=FilesReading(ok=2, faulty=faults))
    problem = it.views.overview().problems[-1]
    assert f"{problem.level}: {problem.text}" == said
    assert problem.advice == "line 0: is no list. Write one."
    it.reads(files=FilesReading(ok=2))
    assert not any("workflow file" in text for text in it.problems())


def test_paths_without_a_workflow_file_are_told() -> None:
    it = Shown()
    it.reads(files=FilesReading(ok=1, unmatched=("/ids/*.yml", "/more/*.yml")))
    assert it.problems() == ["warning: There is no workflow file for /ids/*.yml, and for 1 more."]


def test_a_limit_of_open_workflows_that_is_reached_is_told() -> None:
    it = Shown()
    it.ledger._follow({"studio": AccountTerms(3600, listed=True, most_open=2)})
    for number in range(3):
        it.see(number, "running", started=2)
    assert it.problems() == [
        "warning: 2 workflows are open, which is the limit: others are followed once there is room."
    ]


def test_a_name_of_a_file_that_is_no_text_spoils_no_page() -> None:
    it = Shown()
    it.reads(files=FilesReading(faulty={"/ids/\udcff\n.yml": "line 1: is no list."}))
    (problem,) = it.views.overview().problems
    assert problem.text.encode("utf-8") == "The workflow file /ids/\ufffd .yml is faulty.".encode()


def test_a_queue_that_is_stuck_is_told_and_one_that_moves_is_not() -> None:
    it = Shown()
    it.see(1, "queued", position=1)
    it.now.pass_(1000)
    it.reads(list_completed_at=it.now().wall)
    it.see(1, "queued", position=1)
    assert it.problems() == [
        "critical: Nothing has started or ended for 16 min 40 s, while 1 workflow waits."
    ]
    it.see(2, "running", created=990, started=995)
    assert it.problems() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"list_completed_at": T0 - 400}, "last read completely"),
        (
            {"reconciliation": Reconciliation(differences={Status.FAILED: 2, Status.INVALID: 0})},
            "2 outcomes that are not counted",
        ),
    ],
)
def test_what_speaks_against_the_numbers_is_told(changes: dict[str, object], said: str) -> None:
    it = Shown()
    it.reads(**changes)
    (problem,) = it.problems()
    assert problem.startswith("warning")
    assert said in problem


def test_the_budget_the_ledger_and_the_configuration_are_told_of() -> None:
    it = Shown()
    it.budget = replace(it.budget, cooldown_until=T0 + 8)
    assert "none are sent for 8.0 s" in it.problems()[0]
    it.budget = replace(it.budget, cooldown_until=0, allowed=15)
    assert "Only 15 of 30" in it.problems()[0]
    it.budget = replace(it.budget, allowed=30)
    it.config = replace(it.config, last_reload_successful=False)
    assert "configuration has errors" in it.problems()[0]
    it.config = replace(it.config, last_reload_successful=True)
    it.ledger._writer.errors = 2
    assert "2 times" in it.problems()[0]


@pytest.mark.parametrize(("active", "is_told"), [(0, True), (1, False), (None, False)])
def test_that_no_runner_is_active_is_told_while_something_waits(
    active: int | None, is_told: bool
) -> None:
    it = Shown()
    if active is not None:
        it.reads(runners=RunnerCensus(at=0.0, wall=T0, by_status={"active": active}))
    assert it.problems() == []
    it.see(1, "queued", position=1)
    told = "critical: 1 workflow waits, and no runner is active."
    assert it.problems() == ([told] if is_told else [])


def test_what_matches_no_slice_is_found_by_the_default() -> None:
    it = Shown(SliceRule("team", "tag", re2.compile("^team:(.+)$"), 5, "none"))
    it.see(1, "queued", traits=Traits("x", ("team:film",)))
    it.see(2, "queued", traits=Traits("x", ()))
    it.see(3, "completed", completed=5, traits=Traits("x", ()))
    it.history.digest()
    for phase, team, found in (
        ("open", "film", [uuid(1)]),
        ("open", "none", [uuid(2)]),
        ("settled", "none", [uuid(3)]),
    ):
        query = WorkflowQuery(phase=phase, slices={"team": team})  # type: ignore[arg-type]
        rows = it.views.workflows(query).rows
        assert [row.id for row in rows] == found
        assert [row.slices for row in rows] == [{"team": team}]
    assert it.views.filters()["team"] == ("film", "none")
    story = it.views.workflow(uuid(3))
    assert story is not None
    assert story.row.slices == {"team": "none"}


def test_slices_that_are_decided_after_the_end_are_shown_as_they_are_counted() -> None:
    it = Shown(SliceRule("team", "tag", re2.compile("^team:(.+)$"), 5, "none"))
    it.see(1, "running", via="stream")
    it.see(1, "completed", via="stream", started=1, completed=5)
    it.history.digest()
    it.see(1, "completed", started=1, completed=5, traits=Traits("x", ("team:film",)))
    it.history.digest()
    story = it.views.workflow(uuid(1))
    assert story is not None
    assert (story.counted_as, story.row.slices) == ("completed", {"team": "film"})
    found = it.views.workflows(WorkflowQuery(phase="settled", slices={"team": "film"})).rows
    assert [row.id for row in found] == [uuid(1)]


def test_many_failures_are_told_with_their_node() -> None:
    it = Shown()
    for number in range(6):
        it.see(number, "running", started=2)
        it.see(number, "failed", via="stream", started=2, completed=3, cause=CAUSE)
    assert it.problems() == [
        "warning: 6 of 6 workflows failed in the last hour, most often in KSampler."
    ]


# Tables -------------------------------------------------------------------------------------------


def test_a_table_is_filtered_sorted_and_paged() -> None:
    it = Shown()
    for number in range(10):
        it.see(number, "queued", created=float(number), position=10 - number)
    it.see(11, "running", created=20.0, started=21)
    it.see(12, "completed", created=30.0, started=31, completed=32)
    it.see(13, "failed", via="stream", created=30.0, started=31, completed=40, cause=CAUSE)
    page = it.views.workflows(WorkflowQuery(status="queued", per_page=4, page=3, sort="position"))
    assert (page.total, page.page, page.pages) == (10, 3, 3)
    assert [row.position for row in page.rows] == [2, 1]
    assert it.views.workflows(WorkflowQuery(prefix=uuid(11).upper())).total == 1
    assert it.views.workflows(WorkflowQuery(account="else")).total == 0
    assert it.views.workflows(WorkflowQuery(page=99)).page == 1
    ended = it.views.workflows(WorkflowQuery(phase="settled", sort="ended"))
    assert [row.id for row in ended.rows] == [uuid(13), uuid(12)]
    assert ended.rows[0].exception_type == "ValueError"
    assert it.views.workflows(WorkflowQuery(phase="settled", node_type="KSampler")).total == 1
    assert it.views.filters()["node_type"] == ("KSampler",)


@pytest.mark.parametrize("key", get_args(SortKey))
@pytest.mark.parametrize("phase", ["open", "settled"])
def test_every_order_shows_every_row_once(key: SortKey, phase: str) -> None:
    it = Shown()
    for number in range(30):
        ends = phase == "settled"
        it.see(
            number,
            "failed" if ends else ("queued", "running", "odd")[number % 3],
            created=None if number % 5 == 0 and not ends else float(number),
            started=None if number % 3 == 0 else 40.0,
            completed=50.0 if ends else None,
        )
    shown = [
        row.id
        for page in range(1, 8)
        for row in it.views.workflows(
            WorkflowQuery(phase=phase, sort=key, per_page=5, page=page)  # type: ignore[arg-type]
        ).rows
        if page <= 6
    ]
    assert sorted(shown) == sorted(uuid(number) for number in range(30))


def test_ten_times_as_many_open_ones_cost_hardly_more_than_ten_times_as_much() -> None:
    few, many = of_open_ones(1_000), of_open_ones(10_000)
    for query in (WorkflowQuery(), WorkflowQuery(sort="status"), WorkflowQuery(prefix="f")):
        cost = partial(_least_work, query=query)
        assert cost(many) < 25 * cost(few)


def of_open_ones(count: int) -> Shown:
    it = Shown()
    for number in range(count):
        it.see(number, "queued", created=float(number), position=number)
    it.history.digest()
    return it


def _least_work(it: Shown, query: WorkflowQuery) -> float:
    """Seconds of a processor, not of a clock: others use this machine as well."""
    took = []
    for _ in range(5):
        began = time.thread_time()
        it.views.workflows(query)
        took.append(time.thread_time() - began)
    return min(took)


# One workflow -------------------------------------------------------------------------------------


def test_one_that_is_remembered_no_more_is_told_from_its_row() -> None:
    it = Shown()
    it.see(1, "running", started=2)
    it.see(1, "failed", started=2, completed=5)
    it.see(2, "completed", created=-500, completed=-10)
    it.history.digest()
    it.history._failures.clear()
    it.history._others.clear()
    counted, before = it.views.workflow(uuid(1).upper()), it.views.workflow(uuid(2))
    assert counted is not None
    assert (counted.counted_as, counted.not_counted_because) == ("failed", "")
    assert counted.row.next_step == "ask for its cause"
    assert before is not None
    assert before.counted_as == ""
    assert "before the exporter first read" in before.not_counted_because
    assert it.views.workflow(uuid(3)) is None
    assert it.views.workflow("<script>") is None


NOW = Moment(T0 + 100, 2000.0)
OPEN = Workflow("studio", uuid(1), "listing", Moment(T0, 1900.0), created_at=T0 + 1)
LISTED = Plan(listed=True, lookback=3600, next_pass=2003.0)


@pytest.mark.parametrize(
    ("workflow", "plan", "text", "seconds"),
    [
        (OPEN, replace(LISTED, streaming=frozenset([uuid(1)])), "its stream is read", None),
        (OPEN, LISTED, "read the list", 3.0),
        (OPEN, replace(LISTED, next_pass=None), "the list is being read", None),
        (OPEN, replace(LISTED, opening={uuid(1): 2001.5}), "reconnect its stream", 1.5),
        (OPEN, replace(LISTED, opening={uuid(1): None}), "read the list", 3.0),
        (
            replace(OPEN, created_at=T0 - 9e4),
            replace(LISTED, poll_due=lambda _: 2020.0),
            "request it individually",
            20.0,
        ),
        (OPEN, Plan(poll_due=lambda _: 1990.0), "request it individually", 0.0),
        (OPEN, replace(LISTED, is_down=True), "try the account again", None),
        (replace(OPEN, phase="settled"), LISTED, "", None),
        (
            replace(OPEN, phase="settled", cause_pending_since=NOW, ask_from=2010.0),
            LISTED,
            "ask for its cause",
            10.0,
        ),
        (
            replace(OPEN, phase="settled", cause_pending_since=NOW, ask_from=1990.0),
            LISTED,
            "ask for its cause",
            None,
        ),
    ],
)
def test_what_comes_next(workflow: Workflow, plan: Plan, text: str, seconds: float | None) -> None:
    step = next_step(workflow, plan, NOW)
    assert (step.text, step.seconds) == (text, seconds)


STAMPS = st.none() | st.sampled_from([-5000.0, -500.0, -1.0, 1.0, 50.0])


@given(
    status=st.sampled_from(["completed", "failed", "odd"]),
    via=st.sampled_from(get_args(Via)),
    created=STAMPS,
    completed=STAMPS,
    line=st.sampled_from([T0, float("inf")]),
    pruned=st.none() | st.just(T0 + 10),
    first=st.booleans(),
    known=st.booleans(),
    source=st.sampled_from(["pushed", "listing"]),
)
def test_whatever_does_not_count_has_a_reason_and_only_that(**drawn: object) -> None:
    observed = seen(
        1,
        str(drawn["status"]),
        NOW,
        via=drawn["via"],  # type: ignore[arg-type]
        created=drawn["created"],  # type: ignore[arg-type]
        completed=drawn["completed"],  # type: ignore[arg-type]
    )
    observed = replace(observed, first_pass=bool(drawn["first"]))
    workflow = replace(
        OPEN,
        created_at=None,
        source=drawn["source"],  # type: ignore[arg-type]
        status=Status.RUNNING if drawn["known"] else None,
    )
    pruned = drawn["pruned"]
    rules = CountingRules(float(str(drawn["line"])), True, pruned, pruned)  # type: ignore[arg-type]
    assert (why_not_counted(workflow, observed, rules) is None) is counts(workflow, observed, rules)


def test_what_is_open_and_ended_is_told_by_slice() -> None:
    it = Shown(SliceRule("team", "tag", re2.compile("^team:(.+)$"), 20, "none"))
    film, lab = Traits("x", ("team:film",)), Traits("x", ("team:lab",))
    it.see(1, "queued", traits=film)
    it.see(2, "failed", completed=3, traits=film)
    it.see(3, "completed", completed=3, traits=film)
    it.see(4, "completed", completed=3, traits=lab)
    it.see(5, "failed", completed=3, traits=Traits("x", ()))
    (account,) = it.views.overview().accounts
    assert account.slices == (
        SliceView("team", "film", open=1, ended=2, failed=1),
        SliceView("team", "none", open=0, ended=1, failed=1),
        SliceView("team", "lab", open=0, ended=1, failed=0),
    )


def test_a_named_workflow_that_nobody_told_of_has_no_status_yet() -> None:
    it = Shown()
    it.ledger.track(Tracked("studio", uuid(1), "pushed", it.now()))
    it.see(2, "running", started=2)
    (account,) = it.views.overview().accounts
    assert account.unseen == 1
    assert account.open["other"] == 0
