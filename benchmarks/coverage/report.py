"""The results as a Markdown table."""

from collections.abc import Iterable, Sequence
from statistics import quantiles

from benchmarks.coverage.day import Day
from benchmarks.coverage.measures import Spread
from benchmarks.coverage.run import Followed

HEAD = (
    "workflows a second",
    "follower",
    "counted of finished",
    "counted wrongly",
    "refusals",
    "late, s: median / p95 / most",
    "causes",
    "cause late, s: median / p95 / most",
    "last cause, s after the last arrival",
    "requests per finished",
    "CPU, % of a core",
    "memory, MiB",
)


def table(runs: Iterable[tuple[Day, Sequence[Followed]]]) -> str:
    """One line for each follower of each run."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    lines += [_line(_cells(day, each)) for day, followed in runs for each in followed]
    return "\n".join(lines) + "\n"


def _cells(day: Day, followed: Followed) -> list[str]:
    measures, cost = followed.measures, followed.cost
    share = measures.counted / max(1, measures.finished)
    return [
        f"{day.rate:g} for {day.seconds:g} s",
        followed.follower,
        f"{measures.counted} of {measures.finished} ({share:.1%})",
        str(measures.wrong),
        str(measures.refusals),
        _spread(measures.lateness),
        f"{measures.causes} of {measures.failed}",
        _spread(measures.cause_lateness),
        "" if measures.last_cause is None else f"{measures.last_cause:.0f}",
        f"{measures.requests_per_finished:.2f}",
        f"{cost.cpu_seconds / followed.wall_seconds:.1%}",
        f"{cost.memory_most_mib:.0f}",
    ]


def remarks(followed: Followed) -> str:
    """What has no place in the table."""
    asked = ", ".join(f"{name} {count}" for name, count in followed.measures.requests.items())
    text = f"{followed.follower}: asked: {asked}; most in 10 s: {followed.measures.busiest_window}"
    if followed.agrees is not None:
        text += f"; its metrics {'agree' if followed.agrees else 'DISAGREE'} with the truth"
    if len(followed.scrapes) > 1:
        cuts = quantiles(followed.scrapes, n=20)
        text += f"; scrapes, ms: median {cuts[9] * 1000:.0f}, p95 {cuts[18] * 1000:.0f}"
    return text


def _spread(spread: Spread) -> str:
    values = (spread.median, spread.p95, spread.most)
    return " / ".join("-" if value is None else f"{value:.1f}" for value in values)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
