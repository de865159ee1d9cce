"""Renders the templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from exporter.interfaces.views import SortKey, Views, WorkflowQuery, WorkflowStory
from exporter.web.html import addresses, words
from exporter.web.html.assets import Asset
from exporter.web.html.plots import HEIGHT, WIDTH, draw
from exporter.web.html.summary import doubts, failed_of, is_unseen, summarize, waiting_of

OPEN_COLUMNS: Final[Sequence[tuple[str, SortKey | None]]] = (
    ("Workflow", None),
    ("Account", None),
    ("Status", "status"),
    ("Place", "position"),
    ("Age", "age"),
    ("Runs for", "run"),
    ("Seen", "seen"),
    ("Next", None),
    ("Slices", None),
)
SETTLED_COLUMNS: Final[Sequence[tuple[str, SortKey | None]]] = (
    ("Workflow", None),
    ("Account", None),
    ("Outcome", "status"),
    ("Cause", None),
    ("Waited", None),
    ("Ran", "run"),
    ("Ended", "ended"),
    ("Slices", None),
)

_CHOICES: Final = ("account", "status", "node_type")
_HIDDEN_FIRST: Final = 500
"""How many values a list of choices shows."""

MARKS: Final = {
    "completed": "✓",
    "failed": "✕",
    "invalid": "✕",
    "cancelled": "\N{EN DASH}",
    "running": "▶",
}
"""Symbols that are shown next to a word, never alone."""


@dataclass(frozen=True, slots=True)
class PageLink:
    """A link in the footer: relative to the first page, or to another site."""

    target: str
    title: str
    meaning: str

    @property
    def elsewhere(self) -> bool:
        """Whether it leads to another site."""
        return "://" in self.target


@dataclass(frozen=True, slots=True)
class Choice:
    """A list of values that a table can be filtered by."""

    field: str
    label: str
    values: tuple[str, ...]
    chosen: str


class Pages:
    """Renders pages, and the changing parts of pages.

    Args:
        views: What is shown.
        assets: The stylesheet and the script.
        links: The links in the footer.
        home: Whether the first page is available: `/` may show the metrics instead.
    """

    def __init__(
        self,
        views: Views,
        assets: Mapping[str, Asset],
        links: Sequence[PageLink] = (),
        *,
        home: bool = True,
    ) -> None:
        self._views = views
        self._environment = Environment(
            loader=PackageLoader("exporter.web.html"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            span=words.span,
            stamp=words.stamp,
            clock=words.clock,
            share=words.share,
            number=words.number,
            foreign=words.foreign,
            path_part=words.path_part,
        )
        self._environment.globals.update(
            count=words.count,
            draw=draw,
            doubts=doubts,
            failed_of=failed_of,
            waiting_of=waiting_of,
            is_unseen=is_unseen,
            address=addresses.unparse,
            query_of=WorkflowQuery,
            marks=MARKS,
            style=assets["style.css"],
            script=assets["live.js"],
            links=tuple(links),
            home=home,
            plot_width=WIDTH,
            plot_height=HEIGHT,
        )

        for name in self._environment.list_templates():
            # The template is compiled now; otherwise the first rendering would seem too expensive.
            self._environment.get_template(name)

    def page(  # noqa: PLR0913 - what a page is made of
        self,
        body: str,
        *,
        root: str,
        near: str,
        at: float,
        title: str,
        current: str,
        above: str = "",
        live: bool = True,
    ) -> str:
        """Render a whole page.

        Args:
            body: The rendered part that changes.
            root: The prefix of links: the relative path to the first page, or its full URL.
            near: The relative path from this page to the first one, for addresses that are not
                links.
            at: When the body was rendered, in Unix seconds.
            title: The title of the page.
            current: The entry of the navigation for this page.
            above: The part above the body, which does not change.
            live: Whether the script fetches the body again regularly.
        """
        return self._template("page.html").render(
            body=Markup(body),  # noqa: S704 - our own templates' work
            above=Markup(above),  # noqa: S704
            root=root,
            near=near,
            at=at,
            title=title,
            current=current,
            live=live,
        )

    def overview(self, root: str) -> str:
        """The changing part of the first page, which is its whole content."""
        overview = self._views.overview()
        return self._template("overview.html").render(
            root=root, overview=overview, now=overview.at, summary=summarize(overview)
        )

    def workflows(self, root: str, query: WorkflowQuery, now: float) -> str:
        """The changing part of a table's page: the table."""
        table = self._views.workflows(query)
        settled = query.phase == "settled"
        other = addresses.in_phase(query, settled=not settled)
        return self._template("table.html").render(
            root=root,
            now=now,
            query=query,
            table=table,
            elsewhere=self._views.elsewhere(),
            columns=SETTLED_COLUMNS if settled else OPEN_COLUMNS,
            turned=addresses.turned,
            at_page=addresses.at_page,
            other=other,
            # The user has an id and does not know whether the workflow has ended.
            in_other=0 if table.total or not query.prefix else self._views.workflows(other).total,
        )

    def filters(self, root: str, query: WorkflowQuery) -> str:
        """The part above the table, which does not change with the table."""
        known = self._views.filters()
        given: dict[str, str | None] = {
            "account": query.account,
            "status": query.status,
            "node_type": query.node_type,
        }
        choices = [
            _choice(
                name, name.replace("_", " ").capitalize(), known.get(name, ()), given[name] or ""
            )
            for name in _CHOICES
            if known.get(name) or given[name]
        ]
        labels = [label for label in known if label not in _CHOICES]
        labels += [label for label in query.slices if label not in known]
        choices += [
            _choice(f"slice.{label}", label, known.get(label, ()), query.slices.get(label, ""))
            for label in labels
        ]
        return self._template("filters.html").render(
            root=root,
            query=query,
            choices=choices,
            kept=addresses.fields(query),
            phases=(
                (
                    "Open",
                    query if query.phase == "open" else addresses.in_phase(query, settled=False),
                ),
                (
                    "Ended recently",
                    query if query.phase == "settled" else addresses.in_phase(query, settled=True),
                ),
            ),
            plain=WorkflowQuery(phase=query.phase, sort=query.sort, per_page=query.per_page),
        )

    def workflow(self, root: str, workflow_id: str, now: float) -> str | None:
        """The history of one workflow; None: nothing is known of it."""
        story = self._views.workflow(workflow_id)
        return None if story is None else self._story(root, story, now)

    def unknown(self, root: str, workflow_id: str) -> str:
        """The text for an unknown id."""
        return self._template("unknown.html").render(
            root=root, workflow_id=workflow_id, elsewhere=self._views.elsewhere()
        )

    def _story(self, root: str, story: WorkflowStory, now: float) -> str:
        return self._template("workflow.html").render(
            root=root, story=story, row=story.row, now=now
        )

    def _template(self, name: str) -> Template:
        return self._environment.get_template(name)


def _choice(field: str, label: str, values: Sequence[str], chosen: str) -> Choice:
    shown = tuple(values[:_HIDDEN_FIRST])
    if chosen and chosen not in shown:
        # The value in the URL is shown as selected, even if no workflow has it.
        shown = (chosen, *shown)
    return Choice(field, label, shown, chosen)
