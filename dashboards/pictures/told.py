"""What an exporter would have shown of a day, scrape by scrape, with its real names and labels."""

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final

from dashboards.pictures.day import Account, Run
from exporter.config.models import Metrics
from exporter.following.answers import CAUSES
from exporter.metrics.catalogue import API_DURATION_BUCKETS

Sample = tuple[float, float]
"""The time, in seconds after the end of the history, and the value."""
Series = tuple[str, Mapping[str, str], list[Sample]]

_LEFT_OUT: Final = 30.0
"""Seconds for which the open workflows of an account are still shown after it went down."""
UPLOAD: Final = 0.8
"""Seconds until the inputs of a workflow are uploaded to a runner."""
_OUTCOMES: Final = ("completed", "failed", "cancelled", "invalid")
_ENDS: Final = ("finished", "limit", "dropped", "silent", "malformed", "refused", "shutdown")
_BOUNDS: Final = Metrics()


def told(
    account: Account, runs: Sequence[Run], scrapes: Sequence[float], singles_from: float
) -> Iterator[Series]:
    """All series of one account. Series of single workflows begin at `singles_from`."""
    downs = [(begin, end) for begin, end, _ in account.down]
    seen = [at for at in scrapes if not _within(at - _LEFT_OUT, downs)]
    name = {"account": account.name}
    for slices, of_slice in _by_slice(runs):
        labels = {**name, **slices}
        yield from _gauges(labels, of_slice, seen, singles_from)
        yield from _totals(labels, of_slice, scrapes, downs)
    yield from _gauges_of_all(name, runs, seen)
    yield from _totals_of_all(name, runs, scrapes, downs)
    yield "account_up", name, [(at, float(not _within(at, downs))) for at in scrapes]
    for cause in CAUSES:
        yield (
            "account_down",
            {**name, "cause": cause},
            [
                (
                    at,
                    float(
                        any(_cause(code) == cause and b <= at < e for b, e, code in account.down)
                    ),
                )
                for at in scrapes
            ],
        )
    yield "account_listed", name, [(at, 1.0) for at in scrapes]
    yield "workflow_series_omitted", name, [(at, 0.0) for at in scrapes]
    yield "open_workflows_limit", name, [(at, 20_000.0) for at in scrapes]
    for metric in ("open_workflows_limit_reached", "open_workflows_beyond_limit_total"):
        yield metric, name, [(at, 0.0) for at in scrapes]
    passes = (
        ("account_last_usable_answer_timestamp_seconds", 1.0),
        ("listing_last_success_timestamp_seconds", 5.0),
        ("reconciliation_last_success_timestamp_seconds", 120.0),
        ("runners_last_success_timestamp_seconds", 60.0),
    )
    for metric, every in passes:
        last, samples = scrapes[0], []
        for at in scrapes:
            last = last if _within(at, downs) else at - at % every
            samples.append((at, last))
        yield metric, name, samples
    yield from _runners(account, name, scrapes, downs)
    yield from _requests(account, runs, scrapes)


def _by_slice(runs: Sequence[Run]) -> Iterator[tuple[Mapping[str, str], Sequence[Run]]]:
    """The labels of slices, and the runs that have them."""
    teams = dict.fromkeys(run.team for run in runs)
    if not any(teams):
        yield {}, runs
        return
    for team in teams:
        yield {"team": team or "none"}, [run for run in runs if run.team == team]


def _runners(
    account: Account,
    name: Mapping[str, str],
    scrapes: Sequence[float],
    downs: Sequence[tuple[float, float]],
) -> Iterator[Series]:
    """All runners, always active."""
    shown = [at for at in scrapes if not _within(at - 180, downs)]
    for status, count in (("active", account.runners), ("disabled", 0)):
        samples = [(at, float(count)) for at in shown]
        yield "runners", {**name, "status": status}, samples
        yield "runners_by_tag", {**name, "tag": "sdxl", "status": status}, samples


def _within(at: float, spans: Iterable[tuple[float, float]]) -> bool:
    return any(begin <= at < end for begin, end in spans)


_STATUSES: Final = ("accepted", "uploaded", "queued", "running")


def _open_at(
    runs: Sequence[Run], scrapes: Sequence[float]
) -> Iterator[tuple[float, Mapping[str, list[Run]]]]:
    """The open workflows at each scrape, by status."""
    first, still = 0, list[Run]()
    for at in scrapes:
        while first < len(runs) and runs[first].created <= at:
            still.append(runs[first])
            first += 1
        still = [run for run in still if run.ended > at]
        by_status: dict[str, list[Run]] = {status: [] for status in _STATUSES}
        for run in still:
            by_status[_status(run, at)].append(run)
        yield at, by_status


def _gauges(
    name: Mapping[str, str], runs: Sequence[Run], scrapes: Sequence[float], singles_from: float
) -> Iterator[Series]:
    count: dict[str, list[Sample]] = {status: [] for status in _STATUSES}
    oldest: dict[str, list[Sample]] = {status: [] for status in _STATUSES}
    longest, deepest = [], []
    places: dict[str, list[Sample]] = {}
    for at, by_status in _open_at(runs, scrapes):
        for status, there in by_status.items():
            count[status].append((at, float(len(there))))
            if there:
                oldest[status].append((at, there[0].created))
        if by_status["running"]:
            longest.append((at, min(run.started for run in by_status["running"])))
        if by_status["queued"]:
            deepest.append((at, float(len(by_status["queued"]))))
        if at >= singles_from:
            for place, run in enumerate(by_status["queued"], start=1):
                places.setdefault(run.id, []).append((at, float(place)))
    for status in _STATUSES:
        yield "workflows", {**name, "status": status}, count[status]
        yield (
            "oldest_workflow_created_timestamp_seconds",
            {**name, "status": status},
            oldest[status],
        )
    yield "oldest_workflow_started_timestamp_seconds", name, longest
    yield "queue_position_max", name, deepest
    for workflow, samples in places.items():
        yield "workflow_queue_position", {**name, "workflow_id": workflow}, samples


def _gauges_of_all(
    name: Mapping[str, str], runs: Sequence[Run], scrapes: Sequence[float]
) -> Iterator[Series]:
    """The series of an account as a whole."""
    count: dict[str, list[Sample]] = {status: [] for status in ("queued", "running")}
    stalest, streams = [], []
    for at, by_status in _open_at(runs, scrapes):
        for status, samples in count.items():
            samples.append((at, float(len(by_status[status]))))
        is_open = sum(map(len, by_status.values()))
        if is_open:
            stalest.append((at, at - 2 - at % 3))
        streams.append((at, float(is_open)))
    yield "stalest_observation_timestamp_seconds", name, stalest
    yield "streams", name, streams
    yield "workflows_watched_by_listing", name, [(at, 0.0) for at in scrapes]
    for status, samples in count.items():
        yield "service_workflows", {**name, "status": status}, samples


def _status(run: Run, at: float) -> str:
    if at >= run.started:
        return "running"
    if at >= run.queued:
        return "queued"
    return "uploaded" if at >= run.created + UPLOAD else "accepted"


Counters = Callable[[str, Mapping[str, str], Iterable[float]], Series]


def _counters(
    name: Mapping[str, str], scrapes: Sequence[float], downs: Sequence[tuple[float, float]]
) -> tuple[Counters, Callable[[float], float]]:
    def known(moment: float) -> float:
        """What happens while the service does not answer is known afterwards."""
        return next((end + 2 for begin, end in downs if begin <= moment < end), moment)

    def counter(metric: str, labels: Mapping[str, str], moments: Iterable[float]) -> Series:
        at = sorted(map(known, moments))
        return (
            metric,
            {**name, **labels},
            [(t, float(bisect.bisect_right(at, t))) for t in scrapes],
        )

    return counter, known


def _totals(
    name: Mapping[str, str],
    runs: Sequence[Run],
    scrapes: Sequence[float],
    downs: Sequence[tuple[float, float]],
) -> Iterator[Series]:
    counter, known = _counters(name, scrapes, downs)
    for outcome in _OUTCOMES:
        ended = [run.ended for run in runs if run.outcome == outcome]
        yield counter("workflows_finished_total", {"status": outcome}, ended)
        ran = [(run.ended, run.ended - run.started) for run in runs if run.outcome == outcome]
        yield from _histogram(
            "workflow_run_duration_seconds", {**name, "status": outcome},
            [(known(at), took) for at, took in ran if took >= 0 and at < math.inf],
            _BOUNDS.run_duration_buckets, scrapes,
        )  # fmt: skip
    yield from _histogram(
        "workflow_time_to_start_seconds", name,
        [(known(run.started), run.started - run.created) for run in runs if run.started < math.inf],
        _BOUNDS.time_to_start_buckets, scrapes,
    )  # fmt: skip
    yield from _histogram(
        "workflow_entry_queue_position", name,
        [(known(run.queued), run.place) for run in runs if run.queued < math.inf],
        _BOUNDS.entry_queue_position_buckets, scrapes,
    )  # fmt: skip
    yield from _phases(name, [run for run in runs if run.started < math.inf], known, scrapes)
    yield counter("workflows_started_total", {}, [r.started for r in runs if r.started < math.inf])
    by_cause: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if run.cause is not None:
            by_cause.setdefault(run.cause, []).append(run.ended)
    for (node, exception), moments in by_cause.items():
        metric, labels, samples = counter(
            "workflow_failures_total", {"node_type": node, "exception_type": exception}, moments
        )
        # A new series stands at 0 first: for longer than a minute, as scrapes may be further apart.
        yield metric, labels, [sample for sample in samples if sample[0] >= min(moments) - 600]
    yield counter(
        "workflow_outputs_total",
        {},
        [run.ended for run in runs if run.outcome == "completed" for _ in range(run.outputs)],
    )


def _totals_of_all(
    name: Mapping[str, str],
    runs: Sequence[Run],
    scrapes: Sequence[float],
    downs: Sequence[tuple[float, float]],
) -> Iterator[Series]:
    """The series of an account as a whole."""
    counter, _ = _counters(name, scrapes, downs)
    for source in ("configured", "file", "pushed"):
        yield counter("workflows_discovered_total", {"source": source}, [])
    yield counter(
        "workflows_discovered_total", {"source": "listing"}, [run.created + 2 for run in runs]
    )
    for outcome in _OUTCOMES:
        ended = [run.ended for run in runs if run.outcome == outcome]
        yield counter("service_workflows", {"status": outcome}, ended)
        yield (
            "reconciliation_difference",
            {**name, "status": outcome},
            [(t, 0.0) for t in scrapes if not _within(t - 120, downs)],
        )
    yield from _lately(name, runs, scrapes)
    for metric, label, values in (
        (
            "workflows_dropped_total",
            "reason",
            ("not_found", "malformed", "forbidden", "expired", "withdrawn", "ended_before"),
        ),
        ("label_overflow_total", "label", ("node_type", "exception_type")),
        (
            "observations_ignored_total",
            "reason",
            ("late", "unknown_status", "anomalous_duration"),
        ),
    ):
        for value in values:
            yield counter(metric, {label: value}, [])
    yield counter("reconciliation_recovered_total", {}, [])


def _phases(
    name: Mapping[str, str],
    started: Sequence[Run],
    known: Callable[[float], float],
    scrapes: Sequence[float],
) -> Iterator[Series]:
    """The phases before runs; uncertain if the service did not answer meanwhile."""
    lives = [(run.created, run.created + UPLOAD, run.queued, run.started) for run in started]
    sure: list[float] = []
    unsure: list[float] = []
    for number, phase in enumerate(("accepted", "uploaded", "queued")):
        ends = [(life[number], life[number + 1]) for life in lives]
        seen = [known(begin) == begin and known(end) == end for begin, end in ends]
        measured = [(e, e - b) for (b, e), ok in zip(ends, seen, strict=True) if ok]
        sure += [end for end, _ in measured]
        unsure += [known(end) for (_, end), ok in zip(ends, seen, strict=True) if not ok]
        yield from _histogram(
            "workflow_phase_duration_seconds", {**name, "phase": phase}, measured,
            _BOUNDS.time_to_start_buckets, scrapes,
        )  # fmt: skip
    for result, moments in (("measured", sorted(sure)), ("uncertain", sorted(unsure))):
        samples = [(t, float(bisect.bisect_right(moments, t))) for t in scrapes]
        yield "workflow_phases_total", {**name, "result": result}, samples


def _lately(
    name: Mapping[str, str], runs: Sequence[Run], scrapes: Sequence[float]
) -> Iterator[Series]:
    """The times of the last starts and ends."""
    ends = sorted((run.ended, run.outcome) for run in runs if run.ended < math.inf)
    moments = sorted(t for run in runs for t in (run.started, run.ended) if t < math.inf)
    failed: list[tuple[float, float]] = []
    progress: list[tuple[float, float]] = []
    for at in scrapes:
        over = ends[: bisect.bisect_right(ends, (at, "~"))]
        failed.append((at, float(sum(1 for _ in takewhile(_has_failed, reversed(over))))))
        if known := bisect.bisect_right(moments, at):
            progress.append((at, moments[known - 1]))
    yield "workflows_failed_in_a_row", name, failed
    yield "last_progress_timestamp_seconds", name, progress


def _has_failed(end: tuple[float, str]) -> bool:
    return end[1] == "failed"


def _cause(code: str) -> str:
    if code == "401":
        return "token_refused"
    return "server_errors" if code.startswith("5") else "no_answer"


def _histogram(
    metric: str,
    labels: Mapping[str, str],
    observed: Iterable[tuple[float, float]],
    bounds: Sequence[float],
    scrapes: Sequence[float],
) -> Iterator[Series]:
    known = list(observed)
    moments = sorted(at for at, _ in known)
    for bound in (*bounds, math.inf):
        at = sorted(at for at, value in known if value <= bound)
        le = "+Inf" if bound == math.inf else str(float(bound))
        yield (
            f"{metric}_bucket",
            {**labels, "le": le},
            [(t, float(bisect.bisect_right(at, t))) for t in scrapes],
        )
    yield (
        f"{metric}_count",
        labels,
        [(t, float(bisect.bisect_right(moments, t))) for t in scrapes],
    )
    sums = [0.0, *itertools.accumulate(value for _, value in sorted(known))]
    yield f"{metric}_sum", labels, [(t, sums[bisect.bisect_right(moments, t)]) for t in scrapes]


def _requests(account: Account, runs: Sequence[Run], scrapes: Sequence[float]) -> Iterator[Series]:
    """Requests and streams: plausible rates for the open workflows, added up."""
    name = {"account": account.name}
    totals: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], list[Sample]] = {}

    def key(metric: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        return metric, tuple(labels.items())

    codes = {"200", *(code for _, _, code in account.down)}
    for endpoint in ("list", "subscribe", "get"):
        for code in codes:
            totals[key("api_requests_total", endpoint=endpoint, code=code)] = 0.0
        for bound in (*API_DURATION_BUCKETS, math.inf):
            le = "+Inf" if bound == math.inf else str(float(bound))
            totals[key("api_request_duration_seconds_bucket", endpoint=endpoint, le=le)] = 0.0
        totals[key("api_request_duration_seconds_count", endpoint=endpoint)] = 0.0
        totals[key("api_request_duration_seconds_sum", endpoint=endpoint)] = 0.0
    for reason in _ENDS:
        totals[key("stream_ends_total", reason=reason)] = 0.0
    for result in ("new", "repeated", "malformed"):
        totals[key("stream_snapshots_total", result=result)] = 0.0
    totals[key("listing_pages_total")] = totals[key("listing_rows_malformed_total")] = 0.0
    totals[key("observations_ignored_total", reason="duplicate")] = 0.0
    created = sorted(run.created for run in runs)
    ended = sorted(run.ended for run in runs)
    before = scrapes[0]
    for at in scrapes:
        passed, arrived = at - before, bisect.bisect(created, at) - bisect.bisect(created, before)
        over = bisect.bisect(ended, at) - bisect.bisect(ended, before)
        is_open = bisect.bisect(created, at) - bisect.bisect(ended, at)
        down = next((c for b, e, c in account.down if b <= at < e), None)
        asked = {
            "list": passed / (5 if down is None else 20),
            "subscribe": arrived + is_open * passed / 240 if down is None else passed / 30,
            "get": 0.0,
        }
        for endpoint, many in asked.items():
            totals[key("api_requests_total", endpoint=endpoint, code=down or "200")] += many
            usual = 0.12 if endpoint == "list" else 0.05
            for bound in (*API_DURATION_BUCKETS, math.inf):
                le = "+Inf" if bound == math.inf else str(float(bound))
                share = 1 / (1 + (usual / bound) ** 3) if bound < math.inf else 1.0
                entry = key("api_request_duration_seconds_bucket", endpoint=endpoint, le=le)
                totals[entry] += many * share
            totals[key("api_request_duration_seconds_count", endpoint=endpoint)] += many
            totals[key("api_request_duration_seconds_sum", endpoint=endpoint)] += many * usual
        if down is None:
            told_of = is_open * passed / 2
            totals[key("stream_ends_total", reason="finished")] += over
            totals[key("stream_ends_total", reason="limit")] += is_open * passed / 240
            totals[key("stream_snapshots_total", result="new")] += arrived * 3 + is_open / 9
            totals[key("stream_snapshots_total", result="repeated")] += told_of
            totals[key("listing_pages_total")] += passed / 5
            totals[key("observations_ignored_total", reason="duplicate")] += told_of + passed
        else:
            totals[key("stream_ends_total", reason="refused")] += passed / 30 * (is_open > 0)
        before = at
        for entry, total in totals.items():
            samples.setdefault(entry, []).append((at, total))
    for (metric, labels), values in samples.items():
        yield metric, {**name, **dict(labels)}, values


def of_the_exporter(
    scrapes: Sequence[float], opened: Sequence[int], settled: Sequence[int], used: Sequence[float]
) -> Iterator[Series]:
    """All series of the exporter itself, at each scrape, by the names that Prometheus stores."""
    address = {"address": "api.comfycontrol.app"}
    yield "request_budget_limit", address, [(at, 40.0) for at in scrapes]
    yield "request_budget_used", address, list(zip(scrapes, used, strict=True))
    yield "request_budget_wait_seconds_total", address, [(at, 0.0) for at in scrapes]
    yield (
        "request_budget_cooldown_until_timestamp_seconds",
        address,
        [(at, -math.inf) for at in scrapes],
    )
    for name in ("exporter_ledger_errors_total", "exporter_log_lines_suppressed_total"):
        yield name, {}, [(at, 0.0) for at in scrapes]
    for reason in ("descriptors", "threads", "memory"):
        yield "exporter_streams_held_back", {"reason": reason}, [(at, 0.0) for at in scrapes]
    yield "exporter_web_connections", {}, [(at, 2.0) for at in scrapes]
    for reason in ("idle", "handshake", "limit", "slow"):
        closed = "exporter_web_connections_closed_total"
        yield closed, {"reason": reason}, [(at, 0.0) for at in scrapes]
    for state, many in (("open", opened), ("settled", settled)):
        yield (
            "exporter_ledger_workflows",
            {"state": state},
            [(at, float(n)) for at, n in zip(scrapes, many, strict=True)],
        )
    for label, cap in (("node_type", 200), ("exception_type", 50), ("workflow_id", 500)):
        yield "exporter_label_values_cap", {"label": label}, [(at, float(cap)) for at in scrapes]
    yield "exporter_config_last_reload_successful", {}, [(at, 1.0) for at in scrapes]
    yield (
        "exporter_config_last_reload_success_timestamp_seconds",
        {},
        [(at, scrapes[0]) for at in scrapes],
    )
    yield (
        "exporter_build_info",
        {"version": "0.1.0", "revision": "0123abc", "python_version": "3.13.5"},
        [(at, 1.0) for at in scrapes],
    )
