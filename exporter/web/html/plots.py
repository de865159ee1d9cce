"""Small plots as paths of inline SVG, and what they show as text, for screen readers."""

from dataclasses import dataclass
from typing import Final

from exporter.interfaces.views import Plot
from exporter.web.html.words import number, span

WIDTH: Final = 240
HEIGHT: Final = 48


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plot, ready for the template.

    Attributes:
        name: What it shows.
        figure: The number that summarises the plot, as text.
        alternative: The content in one sentence, for screen readers.
        values: One bar for each bucket with a known value.
        unknown: A line at the bottom for buckets without a known value.
        top: The value at the top of the plot.
        reach: How far back the plot goes.
    """

    name: str
    figure: str
    alternative: str
    values: str
    unknown: str
    top: str
    reach: str


def draw(plot: Plot) -> Drawn:
    """Draw bars of at most `HEIGHT`; the highest value fills the plot."""
    known = [value for value in plot.values if value is not None]
    top = max(known, default=0.0)
    step = WIDTH / max(1, len(plot.values))
    gap = min(1.0, step / 4)
    values, unknown = "", ""
    for place, value in enumerate(plot.values):
        left = f"{place * step:.4g}"
        width = f"{step - gap:.3g}"
        if value is None:
            unknown += f"M{left} {HEIGHT - 1}h{width}"
        elif value > 0:
            # At least one pixel, so that a small value differs from zero.
            height = max(1.0, value / top * (HEIGHT - 2))
            values += f"M{left} {HEIGHT}v-{height:.3g}h{width}v{height:.3g}z"
    return Drawn(
        name=plot.name,
        figure=_figure(plot, known),
        alternative=_alternative(plot, known, top),
        values=values,
        unknown=unknown,
        top=_value(plot, top) if top else "",
        reach=span(plot.bucket_seconds * len(plot.values)),
    )


def _figure(plot: Plot, known: list[float]) -> str:
    if not known:
        return "no data"
    if plot.unit == "count":
        return number(sum(known))
    return f"latest {span(known[-1])}"


def _alternative(plot: Plot, known: list[float], top: float) -> str:
    bucket, reach = span(plot.bucket_seconds), span(plot.bucket_seconds * len(plot.values))
    if not known:
        return f"{plot.name}, last {reach}: nothing is known."
    missing = len(plot.values) - len(known)
    said = f"{plot.name}, last {reach}, by {bucket}: highest {_value(plot, top)}"
    said += f", latest {_value(plot, known[-1])}"
    if missing:
        said += f", nothing known of {missing} of {len(plot.values)}"
    return f"{said}."


def _value(plot: Plot, value: float) -> str:
    return number(value) if plot.unit == "count" else span(value)
