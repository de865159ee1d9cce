"""The first page in a terminal, for `status` and `demo`.

Text from the service, a file or another exporter is cleaned: it can contain neither terminal
escapes nor characters that change the direction of text.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from exporter.comfycontrol.text import clean
from exporter.interfaces.views import AccountView, Overview, Plot, Problem
from exporter.plurals import counted

_BARS: Final = " ▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"
_STYLES: Final[Mapping[str, str]] = {"critical": "bold red", "warning": "yellow"}
_MARKS: Final[Mapping[str, str]] = {"critical": "✕", "warning": "▲"}
_MOST_CAUSES: Final = 3
_DASH: Final = "-"


def page(overview: Overview) -> RenderableType:
    """The whole page."""
    head = Text.assemble(
        ("ComfyControl exporter", "bold"),
        f" {clean(overview.version)}, up for {span(overview.at - overview.started_at)}",
    )
    return Group(
        head,
        Text(),
        *_problems(overview),
        *_elsewhere(overview),
        *(part for account in overview.accounts for part in _account(account, overview.at)),
    )


def _problems(overview: Overview) -> Iterator[RenderableType]:
    if not overview.problems:
        yield Text("✓ No problems", style="green")
    for problem in overview.problems:
        yield _problem(problem, overview.at)
    yield Text()


def _elsewhere(overview: Overview) -> Iterator[RenderableType]:
    for account, replica in sorted(overview.elsewhere.items()):
        where = clean(replica) if replica else "none at the moment"
        yield Text(f"{clean(account)}: counted by another replica ({where})", style="dim")


def _problem(problem: Problem, now: float) -> Text:
    where = "" if problem.account is None else f"{clean(problem.account)}: "
    since = "" if problem.since is None else f" (for {span(now - problem.since)})"
    text = Text(f"{_MARKS[problem.level]} {problem.level}: ", style=_STYLES[problem.level])
    text.append(f"{where}{clean(problem.text)}{since}")
    if problem.advice:
        text.append(f" {clean(problem.advice)}", style="dim")
    return text


def _account(account: AccountView, now: float) -> Iterator[RenderableType]:
    yield Rule(Text(clean(account.name), style="bold"), align="left", characters="─")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _facts(account, now):
        table.add_row(name, value)
    yield table
    yield Text()


def _facts(account: AccountView, now: float) -> Iterator[tuple[str, Text]]:
    if account.up:
        yield "service", Text("up", style="green")
    else:
        since = "" if account.down_since is None else f" for {span(now - account.down_since)}"
        yield "service", Text(f"down{since}: {clean(account.down_reason)}", style="bold red")
    if account.open:
        parts = [f"{count} {clean(status)}" for status, count in account.open.items()]
        if account.unseen:
            parts.append(f"{account.unseen} not seen yet")
        yield "open", Text(", ".join(parts) + f"; {counted(account.streams, 'stream')}")
    else:
        yield "open", Text("unknown while the service cannot be reached")
    if account.longest_waiting_id is not None and account.longest_waiting_since is not None:
        waits = span(now - account.longest_waiting_since)
        yield "waits longest", Text(f"{clean(account.longest_waiting_id)}, {waits}")
    ended = sum(account.outcomes.values())
    parts = [f"{count} {clean(status)}" for status, count in account.outcomes.items()]
    yield "last hour", Text(", ".join(parts) if ended else "nothing has ended")
    for failure in account.failures[:_MOST_CAUSES]:
        cause = f"{clean(failure.node_type)}, {clean(failure.exception_type)}"
        yield "fails in", Text(f"{cause}: {failure.count} ({failure.share:.0%})")
    for plot in account.plots:
        yield clean(plot.name).lower(), Text(_plotted(plot))
    if account.last_error:
        ago = "" if account.last_error_at is None else f", {span(now - account.last_error_at)} ago"
        yield "last error", Text(f"{clean(account.last_error)}{ago}")
    budget = account.budget
    if budget is not None:
        used = f"{budget.used} of {budget.allowed} in {budget.period_seconds:g} s"
        if budget.cooldown_seconds > 0:
            used += f"; none for {span(budget.cooldown_seconds)}"
        yield "requests", Text(used)
    yield "belief", Text(_belief(account))


def _belief(account: AccountView) -> str:
    belief = account.belief
    parts = []
    if belief.stalest_seconds is not None:
        parts.append(f"all seen within {span(belief.stalest_seconds)}")
    if belief.listing_lag_seconds is not None:
        parts.append(f"list read completely {span(belief.listing_lag_seconds)} ago")
    if belief.difference is not None:
        parts.append(f"{belief.difference} of the service's total not counted")
    if belief.dropped:
        parts.append(f"{belief.dropped} dropped")
    return "; ".join(parts) or _DASH


def _plotted(plot: Plot) -> str:
    known = [value for value in plot.values if value is not None]
    top = max(known, default=0.0)
    bars = "".join(_UNKNOWN if v is None else _bar(v, top) for v in plot.values)
    if not known:
        return f"{bars} no data"
    if plot.unit == "count":
        return f"{bars} {sum(known):g}, at most {top:g} a minute"
    return f"{bars} latest {span(known[-1])}, at most {span(top)}"


def _bar(value: float, top: float) -> str:
    if not (value > 0 and top > 0):
        return _BARS[0]
    return _BARS[max(1, min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1))))]


def span(seconds: float) -> str:
    """A duration in at most two units."""
    if not 0 <= seconds < 1e12:
        return _DASH if seconds >= 0 or seconds != seconds else "0 s"  # noqa: PLR0124
    if seconds < 10:
        return f"{seconds:.1f} s"
    rest = round(seconds)
    for size, unit, smaller, small in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if rest >= size:
            count, rest = divmod(rest, size)
            return f"{count} {unit} {rest // smaller} {small}"
    return f"{rest} s"
