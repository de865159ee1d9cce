"""Objects in, exact exposition text out."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import re2
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.budget.budget import BudgetReading
from exporter.following.answers import CAUSES, AccountHealth
from exporter.following.reconciling import Reconciliation
from exporter.following.runner_census import RunnerCensus
from exporter.interfaces.observations import Moment, Status
from exporter.ledger.facts import EnteredQueue, Fact, Failed, Finished, Recovered, Started
from exporter.ledger.open_limits import OpenLimit
from exporter.ledger.shared import ReplicasReading
from exporter.ledger.slicing import SliceRule
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.totals import Buckets, LabelCaps, Totals
from exporter.ledger.workflow import Workflow
from exporter.metrics.catalogue import BY_NAME, CATALOGUE
from exporter.metrics.exposition import ALL_COLLECTORS, Page, new_registry
from exporter.metrics.instruments import Instruments
from exporter.metrics.process import ProcessCounts
from exporter.metrics.reading import (
    AccountReading,
    BuildReading,
    ConfigReading,
    Reading,
    RequestsReading,
)
from exporter.metrics.reference import page as reference_page
from exporter.sources.files import FilesReading

NOW = Moment(wall=1_700_000_100.0, monotonic=500.0)
CAPS = LabelCaps(node_types=200, exception_types=50)
NO_REQUESTS = RequestsReading({}, 0)
UP = AccountHealth(up=True, answered=True, down_since=None, usable_at=NOW.monotonic - 4)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def workflow(workflow_id: str, status: Status | None, **more: object) -> Workflow:
    made = Workflow(
        account="studio",
        workflow_id=workflow_id,
        source="listing",
        first_seen=Moment(NOW.wall - 50, NOW.monotonic - 50),
        last_seen=Moment(NOW.wall - 1, NOW.monotonic - 1),
        status=status,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def queued(workflow_id: str, position: int, *, told_ago: float = 1.0) -> Workflow:
    return workflow(
        workflow_id,
        Status.QUEUED,
        queue_position=position,
        position_at=NOW.monotonic - told_ago,
    )


def reading(
    *workflows: Workflow,
    facts: tuple[Fact, ...] = (),
    health: AccountHealth = UP,
    followed: frozenset[str] = frozenset(),
    cap: int = 500,
    announced: int = 1_000_000,
    requests: RequestsReading = NO_REQUESTS,
    listed: bool = True,
    web: bool | None = None,
    reconciliation: Reconciliation | None = None,
    runners: RunnerCensus | None = None,
    slices: tuple[SliceRule, ...] = (),
    replicas: ReplicasReading | None = None,
) -> Reading:
    totals = Totals(Buckets((1.0, 5.0), (1.0, 10.0), (10.0, 60.0)), CAPS)
    totals.open_account("studio")
    for number, fact in enumerate(facts):
        totals.add("studio", f"w{number}", fact, 1_700_000_000.5)
    return Reading(
        at=NOW,
        ledger=LedgerSnapshot(
            ("studio",),
            workflows,
            7,
            totals,
            announced,
            open_limits={"studio": OpenLimit(20_000)},
            slices=slices,
        ),
        requests=requests,
        accounts={
            "studio": AccountReading(
                health,
                followed,
                NOW.wall - 3,
                listed,
                reconciliation or Reconciliation(),
                runners,
                FilesReading(2, {"/ids.yml": "line 1: it is faulty. Mend it."}),
            )
        },
        budgets=(BudgetReading("api.example.com", 30, 12, 4.5, 0.0),),
        config=ConfigReading(
            last_reload_successful=True,
            last_reload_success_at=1_700_000_000.0,
            web_last_reload_successful=web,
        ),
        build=BuildReading("1.2.3", "abc", "3.11.7"),
        per_workflow_series=cap,
        label_caps=CAPS,
        streams={"studio": len(followed)},
        replicas=replicas,
    )


REPLICAS = ReplicasReading(
    replicas=3,
    accounts=frozenset({"studio", "agency"}),
    held=frozenset({"studio"}),
    epochs={"studio": 5, "agency": 2},
    regressions=1,
)

COMPARED = Reconciliation(
    service={Status.RUNNING: 2, Status.COMPLETED: 40, Status.FAILED: 3},
    differences={Status.COMPLETED: 0, Status.FAILED: 1},
    completed_at=NOW.wall - 60,
)


def text(shown: Reading, name: str, accept: str = "text/plain") -> str:
    """The lines of one family, as a scrape shows them."""
    body = Page(CollectorRegistry(), lambda: shown).render(accept).body.decode()
    family = BY_NAME[name].family
    metric_types = ("", "_total", "_bucket", "_count", "_sum")
    names = {family + suffix for suffix in metric_types}

    def named(line: str) -> str:
        return (
            line.split(" ")[2] if line.startswith("# ") else re.split("[{ ]", line, maxsplit=1)[0]
        )

    return "\n".join(line for line in body.splitlines() if line != "# EOF" and named(line) in names)


def test_open_workflows_by_status_show_all_four() -> None:
    shown = reading(
        workflow("a", Status.RUNNING),
        workflow("b", Status.RUNNING),
        workflow("c", None),
        workflow("d", Status.QUEUED, unknown_status="paused"),
    )
    assert text(shown, "comfycontrol_workflows") == (
        "# HELP comfycontrol_workflows Open workflows by the status last seen.\n"
        "# TYPE comfycontrol_workflows gauge\n"
        'comfycontrol_workflows{account="studio",status="accepted"} 0.0\n'
        'comfycontrol_workflows{account="studio",status="uploaded"} 0.0\n'
        'comfycontrol_workflows{account="studio",status="queued"} 0.0\n'
        'comfycontrol_workflows{account="studio",status="running"} 2.0\n'
        # Only while there is one. Of "c" nothing has been seen yet.
        'comfycontrol_workflows{account="studio",status="other"} 1.0'
    )
    assert "other" not in text(reading(workflow("c", None)), "comfycontrol_workflows")
    oldest = "comfycontrol_oldest_workflow_created_timestamp_seconds"
    assert f'{oldest}{{account="studio",status="other"}}' in text(shown, oldest)


def test_what_comparing_with_the_service_has_shown() -> None:
    shown = reading(reconciliation=COMPARED, facts=(Recovered(),))
    assert text(shown, "comfycontrol_service_workflows").splitlines()[2:] == [
        'comfycontrol_service_workflows{account="studio",status="running"} 2.0',
        'comfycontrol_service_workflows{account="studio",status="completed"} 40.0',
        'comfycontrol_service_workflows{account="studio",status="failed"} 3.0',
    ]
    differences = "comfycontrol_reconciliation_difference"
    assert text(shown, differences).splitlines()[2:] == [
        f'{differences}{{account="studio",status="completed"}} 0.0',
        f'{differences}{{account="studio",status="failed"}} 1.0',
    ]
    assert text(shown, "comfycontrol_reconciliation_last_success_timestamp_seconds").endswith(
        " 1.70000004e+09"
    )
    assert text(shown, "comfycontrol_reconciliation_recovered_total").endswith(" 1.0")


def test_what_was_never_compared_shows_nothing_and_an_account_that_is_down_no_totals() -> None:
    for name in ("service_workflows", "reconciliation_difference"):
        assert "{" not in text(reading(), f"comfycontrol_{name}")
    assert text(reading(), "comfycontrol_reconciliation_recovered_total").endswith(" 0.0")
    down = AccountHealth(up=False, answered=True, down_since=NOW.monotonic - 31)
    shown = reading(health=down, reconciliation=COMPARED)
    assert "{" not in text(shown, "comfycontrol_service_workflows")
    assert 'status="failed"} 1.0' in text(shown, "comfycontrol_reconciliation_difference")


def test_starts_are_counted_without_a_histogram() -> None:
    shown = reading(facts=(Started(1.0), Started(300.0)))
    assert text(shown, "comfycontrol_workflows_started_total").endswith(" 2.0")
    assert text(reading(), "comfycontrol_workflows_started_total").endswith(" 0.0")


@pytest.mark.parametrize(
    "fact", [Started(1.0), Finished(Status.COMPLETED, None), Finished(Status.FAILED, 3.0)]
)
def test_the_last_progress_is_a_start_or_an_end_of_a_run(fact: Fact) -> None:
    name = "comfycontrol_last_progress_timestamp_seconds"
    assert "{" not in text(reading(facts=(Finished(Status.CANCELLED, 3.0),)), name)
    shown = reading(facts=(fact, Finished(Status.CANCELLED, 3.0)))
    assert text(shown, name).endswith(" 1.7000000005e+09")


def test_why_an_account_is_down_and_when_it_last_answered() -> None:
    down, last = (
        "comfycontrol_account_down",
        "comfycontrol_account_last_usable_answer_timestamp_seconds",
    )
    assert [line[-3:] for line in text(reading(), down).splitlines()[2:]] == ["0.0"] * 5
    health = AccountHealth(
        up=False, answered=True, down_since=400.0, cause="no_answer", usable_at=399.5
    )
    shown = reading(health=health)
    ones = [line for line in text(shown, down).splitlines()[2:] if line.endswith(" 1.0")]
    assert ones == [f'{down}{{account="studio",cause="no_answer"}} 1.0']
    assert text(shown, last).endswith(" 1.6999999995e+09")
    never = AccountHealth(up=None, answered=False, down_since=None)
    assert "{" not in text(reading(health=never), last)


def test_queue_positions_up_to_the_cap_and_what_it_leaves_out() -> None:
    shown = reading(queued("a", 3), queued("b", 1), queued("c", 2), cap=2)
    assert text(shown, "comfycontrol_workflow_queue_position").splitlines()[2:] == [
        'comfycontrol_workflow_queue_position{account="studio",workflow_id="b"} 1.0',
        'comfycontrol_workflow_queue_position{account="studio",workflow_id="c"} 2.0',
    ]
    assert text(shown, "comfycontrol_workflow_series_omitted").endswith(" 1.0")
    assert text(shown, "comfycontrol_queue_position_max").endswith(" 3.0")


def test_series_of_single_workflows_can_be_turned_off() -> None:
    shown = reading(queued("a", 3), cap=0)
    assert "workflow_id" not in text(shown, "comfycontrol_workflow_queue_position")
    assert text(shown, "comfycontrol_queue_position_max").endswith(" 3.0")


def test_a_position_that_nobody_tells_any_more_is_withdrawn() -> None:
    shown = reading(queued("a", 3, told_ago=31.0))
    assert "workflow_id" not in text(shown, "comfycontrol_workflow_queue_position")
    assert "{" not in text(shown, "comfycontrol_queue_position_max")
    assert text(shown, "comfycontrol_workflows").splitlines()[4].endswith('"queued"} 1.0')


@pytest.mark.parametrize(("seconds", "shows"), [(29.0, True), (31.0, False)])
def test_an_account_that_is_down_shows_no_live_gauges(seconds: float, shows: bool) -> None:
    down = AccountHealth(up=False, answered=True, down_since=NOW.monotonic - seconds)
    shown = reading(
        queued("a", 3), workflow("b", Status.RUNNING, started_at=NOW.wall - 9), health=down
    )
    for name in (
        "comfycontrol_oldest_workflow_started_timestamp_seconds",
        "comfycontrol_workflows",
        "comfycontrol_workflow_queue_position",
        "comfycontrol_queue_position_max",
        "comfycontrol_oldest_workflow_created_timestamp_seconds",
    ):
        assert ("{" in text(shown, name)) is shows, name
    assert text(shown, "comfycontrol_account_up").endswith(" 0.0")
    assert "{" in text(shown, "comfycontrol_stalest_observation_timestamp_seconds")
    assert "{" in text(shown, "comfycontrol_workflows_finished_total")


def test_the_oldest_by_status_is_absent_where_there_is_none() -> None:
    shown = reading(
        workflow("a", Status.QUEUED, created_at=1_700_000_010.25),
        workflow("b", Status.QUEUED, created_at=1_700_000_005.5),
    )
    name = "comfycontrol_oldest_workflow_created_timestamp_seconds"
    assert text(shown, name).splitlines()[2:] == [
        f'{name}{{account="studio",status="queued"}} 1.7000000055e+09'
    ]


STARTED = "comfycontrol_oldest_workflow_started_timestamp_seconds"


def test_the_longest_run_counts_from_its_own_start() -> None:
    shown = reading(
        workflow("a", Status.RUNNING, created_at=1_700_000_000.0, started_at=1_700_000_090.5),
        workflow("b", Status.RUNNING, created_at=1_700_000_060.0, started_at=1_700_000_070.25),
        # Their stamps are older, but none of them runs.
        workflow("c", Status.QUEUED, started_at=1_700_000_001.0),
        workflow("d", Status.RUNNING, started_at=1_700_000_001.0, unknown_status="paused"),
    )
    assert text(shown, STARTED).splitlines()[2:] == [
        f'{STARTED}{{account="studio"}} 1.70000007025e+09'
    ]


@pytest.mark.parametrize("told", [None, 0.0, NOW.wall - 31 * 86_400])
def test_a_start_that_was_not_told_or_absurdly_is_left_out(told: float | None) -> None:
    shown = reading(workflow("a", Status.RUNNING, created_at=NOW.wall - 60, started_at=told))
    assert "{" not in text(shown, STARTED)


@pytest.mark.parametrize(("listed", "value"), [(True, "1.0"), (False, "0.0")])
def test_an_account_that_is_not_listed_can_be_told_from_one_that_is_behind(
    listed: bool, value: str
) -> None:
    assert text(reading(listed=listed), "comfycontrol_account_listed").splitlines()[2:] == [
        f'comfycontrol_account_listed{{account="studio"}} {value}'
    ]


@pytest.mark.parametrize(("web", "lines"), [(None, []), (True, ["1.0"]), (False, ["0.0"])])
def test_the_web_file_has_a_metric_where_there_is_one(web: bool | None, lines: list[str]) -> None:
    name = "comfycontrol_exporter_web_config_last_reload_successful"
    assert text(reading(web=web), name).splitlines()[2:] == [f"{name} {line}" for line in lines]


def test_caps_are_told_by_the_label_that_they_hold_down() -> None:
    name = "comfycontrol_exporter_label_values_cap"
    assert text(reading(cap=7), name).splitlines()[2:] == [
        f'{name}{{label="workflow_id"}} 7.0',
        f'{name}{{label="node_type"}} 200.0',
        f'{name}{{label="exception_type"}} 50.0',
    ]


def test_nothing_open_leaves_nothing_stale() -> None:
    assert "{" not in text(reading(), "comfycontrol_stalest_observation_timestamp_seconds")


def test_a_counter_in_plain_text() -> None:
    shown = reading(facts=(Finished(Status.FAILED, 12.5),))
    assert text(shown, "comfycontrol_workflows_finished_total") == (
        "# HELP comfycontrol_workflows_finished_total "
        "Outcomes of workflows, each counted exactly once.\n"
        "# TYPE comfycontrol_workflows_finished_total counter\n"
        'comfycontrol_workflows_finished_total{account="studio",status="completed"} 0.0\n'
        'comfycontrol_workflows_finished_total{account="studio",status="failed"} 1.0\n'
        'comfycontrol_workflows_finished_total{account="studio",status="cancelled"} 0.0\n'
        'comfycontrol_workflows_finished_total{account="studio",status="invalid"} 0.0'
    )


def test_a_histogram_in_openmetrics_has_exemplars_and_no_created_line() -> None:
    shown = reading(facts=(Started(2.5),))
    name = "comfycontrol_workflow_time_to_start_seconds"
    assert text(shown, name, OPENMETRICS) == (
        f"# HELP {name} From the creation of a workflow to its start.\n"
        f"# TYPE {name} histogram\n"
        f"# UNIT {name} seconds\n"
        f'{name}_bucket{{account="studio",le="1.0"}} 0.0\n'
        f'{name}_bucket{{account="studio",le="10.0"}} 1.0 '
        '# {workflow_id="w0"} 2.5 1700000000.5\n'
        f'{name}_bucket{{account="studio",le="+Inf"}} 1.0\n'
        f'{name}_count{{account="studio"}} 1.0\n'
        f'{name}_sum{{account="studio"}} 2.5'
    )


def test_entry_positions_have_no_exemplars() -> None:
    shown = reading(facts=(EnteredQueue(2),))
    assert "workflow_id" not in text(
        shown, "comfycontrol_workflow_entry_queue_position", OPENMETRICS
    )


def test_a_series_that_is_not_announced_shows_zero_and_no_exemplar() -> None:
    facts: tuple[Fact, ...] = (Failed("KSampler", "ValueError"),)
    name = "comfycontrol_workflow_failures_total"
    labels = '{account="studio",exception_type="ValueError",node_type="KSampler"}'
    first = text(reading(facts=facts, announced=0), name, OPENMETRICS)
    assert first.splitlines()[-1] == f"{name}{labels} 0.0"
    then = text(reading(facts=facts, announced=1), name, OPENMETRICS)
    assert then.splitlines()[-1] == (f'{name}{labels} 1.0 # {{workflow_id="w0"}} 1.0 1700000000.5')


def test_a_histogram_that_is_not_announced_shows_zero_in_all_its_buckets() -> None:
    shown = reading(facts=(Started(2.5),), announced=1)
    name = "comfycontrol_workflow_time_to_start_seconds"
    total = shown.ledger.totals.histograms["time_to_start", ("studio",)]
    assert text(shown, name, OPENMETRICS).count("w0") == 1
    total.appeared = 2  # as one whose labels could not be known
    lines = text(shown, name, OPENMETRICS).splitlines()[3:]
    assert len(lines) == 5
    assert all(line.endswith(" 0.0") for line in lines)
    assert sum(total.counts) == 1


def test_odd_label_values_are_escaped() -> None:
    shown = reading(facts=(Failed('a"b\\c\nd', "größe (Efficient)"),))
    line = text(shown, "comfycontrol_workflow_failures_total").splitlines()[-1]
    assert r'node_type="a\"b\\c\nd"' in line
    assert 'exception_type="größe (Efficient)"' in line


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain",
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=",
        "text/plain; version=",
        ";;;,,,=",
        "application/json",
        "\x00\xff",
        "application/openmetrics-text;version=1.0.0;escaping=nonsense",
        "a" * 100_000,
    ],
)
def test_any_accept_header_gets_an_answer(accept: str) -> None:
    exposition = Page(CollectorRegistry(), reading).render(accept)
    assert b"comfycontrol_account_up" in exposition.body
    assert exposition.content_type.startswith(("text/plain", "application/openmetrics-text"))


def test_prometheus_gets_openmetrics() -> None:
    asks = (
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
        "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    )
    exposition = Page(CollectorRegistry(), reading).render(asks)
    assert exposition.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert exposition.body.endswith(b"# EOF\n")


def test_of_accounts_that_others_hold_it_says_only_that() -> None:
    shown = reading(replicas=REPLICAS)
    held = text(shown, "comfycontrol_account_held")
    assert 'comfycontrol_account_held{account="studio"} 1.0' in held
    assert 'comfycontrol_account_held{account="agency"} 0.0' in held
    changes = text(shown, "comfycontrol_account_lease_changes_total")
    assert 'comfycontrol_account_lease_changes_total{account="studio"} 4.0' in changes
    assert "agency" not in changes
    assert "comfycontrol_exporter_replicas 3.0" in text(shown, "comfycontrol_exporter_replicas")


def test_without_replicas_nothing_is_said_of_them() -> None:
    for name in (
        "comfycontrol_account_held",
        "comfycontrol_exporter_replicas",
        "comfycontrol_exporter_config_hash",
    ):
        assert name not in [
            line.split("{", 1)[0].split(" ", 1)[0] for line in text(reading(), name).splitlines()
        ]


def test_the_whole_page_is_legal_openmetrics_and_shows_the_whole_catalogue() -> None:
    registry = new_registry()
    registry.register(ProcessCounts(lambda: 0))
    instruments = Instruments(registry)
    instruments.open_accounts(["studio"])
    shown = reading(
        queued("a", 1),
        workflow("b", Status.RUNNING, started_at=NOW.wall - 9),
        facts=(Failed("KSampler", "ValueError"), Started(1.0), Finished(Status.COMPLETED, 3.0)),
        web=True,
        requests=instruments.requests(),
        reconciliation=COMPARED,
        runners=RunnerCensus(1.0, NOW.wall, {"active": 2}, {("sdxl", "active"): 1}),
        slices=(SliceRule("team", "tag", re2.compile("^team:(.+)$"), 20, "none"),),
        replicas=REPLICAS,
    )
    body = Page(registry, lambda: shown).render(OPENMETRICS).body.decode()
    families = {f.name: f for f in text_string_to_metric_families(body)}  # type: ignore[no-untyped-call]
    for metric in CATALOGUE:
        assert metric.family in families, metric.name
        family = families[metric.family]
        assert family.type == metric.type
        assert family.samples, metric.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} - {"team"} == set(metric.labels), metric.name
    assert "_created{" not in body


def test_names_follow_the_conventions() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    for metric in CATALOGUE:
        assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        if metric.unit in {"seconds", "Unix seconds"}:
            assert "_seconds" in metric.name, metric.name
        if metric.unit == "Unix seconds":
            assert metric.name.endswith("_timestamp_seconds"), metric.name
        # Ids are in one label of one metric, which lives no longer than its workflow.
        if "workflow_id" in metric.labels:
            assert metric.name == "comfycontrol_workflow_queue_position"


def test_the_reference_page_is_that_of_the_code(request: pytest.FixtureRequest) -> None:
    committed = (request.config.rootpath / "docs" / "metrics.md").read_text("utf-8")
    assert committed == reference_page(), "run: make docs"


@pytest.mark.parametrize(
    ("name", "series"),
    [("python", "python_info"), ("process", "process_"), ("gc", "python_gc_")],
)
def test_series_of_the_process_itself_can_be_left_out(name: str, series: str) -> None:
    def shown(collectors: frozenset[str]) -> str:
        return Page(new_registry(collectors), reading).render("text/plain").body.decode()

    assert f"\n{series}" in shown(ALL_COLLECTORS)
    assert f"\n{series}" not in shown(ALL_COLLECTORS - {name})


def test_the_first_look_of_the_troubleshooting_page_is_short() -> None:
    page = (Path(__file__).parents[3] / "docs" / "troubleshooting.md").read_text("utf-8")
    (pattern,) = re.findall(r"/metrics \| grep -E '(.*)'", page)[:1]
    down = replace(UP, up=False, cause=CAUSES[0])
    body = Page(new_registry(), lambda: reading(health=down)).render("").body.decode()
    told = [line for line in body.splitlines() if re.search(pattern, line)]
    assert [re.split(r"[{ ]", line)[0] for line in told] == [
        "comfycontrol_account_up",
        "comfycontrol_account_down",
        "comfycontrol_exporter_ledger_errors_total",
    ]
