"""The pages for people, rendered from invented views: what they say, and never do."""

import time
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.interfaces.views import Plot, WorkflowQuery, WorkflowStory
from exporter.web.html import addresses, words
from exporter.web.html.assets import load_assets
from exporter.web.html.plots import draw
from exporter.web.html.rendering import Pages
from exporter.web.html.summary import summarize
from tests.unit.web import scenes
from tests.unit.web.scenes import LINKS, NOW, SCENES, Scene

TAGS_OF_OURS = {
    "a", "b", "bdi", "body", "button", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
    "form", "h1", "h2", "h3", "head", "header", "html", "input", "label", "li", "link", "main",
    "meta", "meter", "nav", "option", "p", "path", "script", "section", "select", "small", "span",
    "strong", "svg", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
}  # fmt: skip


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def every_page(scene: Scene) -> dict[str, str]:
    """Each page that a scene has, whole."""
    pages = Pages(scene, load_assets(), LINKS)
    bodies = {"overview": pages.overview("./")}
    for phase in ("open", "settled"):
        query = addresses.parse([("phase", phase)])
        bodies[phase] = pages.workflows("./", query, NOW)
        bodies[f"filters {phase}"] = pages.filters("./", query)
    for row in scene.rows[:20]:
        body = pages.workflow("../", row.id, NOW)
        assert body is not None
        bodies[f"story {row.id}"] = body
    bodies["unknown"] = pages.unknown("../", scenes.HOSTILE[0])
    return {
        name: pages.page(
            body, root="./", near="./", at=NOW, title=words.foreign(name), current="", live=True
        )
        for name, body in bodies.items()
    }


def overview_of(scene: Scene) -> Seen:
    return Seen(Pages(scene, load_assets(), LINKS).overview("./"))


def test_what_is_not_queued_yet_waits_as_well() -> None:
    scene = scenes.busy()
    waiting = scene.shown.accounts[0]
    open_ = {"accepted": 5, "uploaded": 2, "queued": 1, "running": 0, "other": 0}
    scene.shown = replace(scene.shown, accounts=(replace(waiting, open=open_),))
    assert "8 waiting, 0 running" in " ".join(overview_of(scene).text.split())


@pytest.mark.parametrize("name", SCENES)
def test_whatever_stands_in_a_page_is_text(name: str) -> None:
    for page in every_page(SCENES[name]()).values():
        seen = Seen(page)
        assert {tag for tag, _ in seen.tags} <= TAGS_OF_OURS
        assert sum(tag == "script" for tag, _ in seen.tags) == 1
        for tag, attributes in seen.tags:
            assert not [key for key in attributes if key.startswith("on") or key == "style"], tag
            for key in ("href", "src", "action"):
                target = attributes.get(key, "")
                assert ":" not in target.partition("/")[0] or target in (
                    "data:,",
                    LINKS[-1].target,
                )
        # Nothing turns the direction of what follows, or cannot be seen.
        labels = "".join(attributes.get("aria-label", "") for _, attributes in seen.tags)
        assert not {"\u202e", "\u2066", "\x00", "\x1b"} & set(seen.text + labels)


@pytest.mark.parametrize("name", SCENES)
def test_all_links_are_relative_so_that_a_proxy_may_put_a_path_in_front(name: str) -> None:
    for page in every_page(SCENES[name]()).values():
        for _, attributes in Seen(page).tags:
            for key in ("href", "src", "action"):
                assert not attributes.get(key, "").startswith("/")


def test_ids_are_unique_in_a_page() -> None:
    for name in SCENES:
        for page in every_page(SCENES[name]()).values():
            ids = [attributes["id"] for _, attributes in Seen(page).tags if "id" in attributes]
            assert len(ids) == len(set(ids))


def test_no_problems_are_said_in_words() -> None:
    assert "No problems" in overview_of(scenes.idle()).text
    assert "Yes The list was read completely 2 s ago" in overview_of(scenes.idle()).text.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_the_first_page_of_an_outage_tells_what_fails_what_is_stuck_and_whether_to_believe() -> (
    None
):
    text = overview_of(scenes.outage()).text.replace("\N{NO-BREAK SPACE}", " ")
    start, rest = text.split("What fails?")
    assert (
        "2 problems now Critical, agency : The account is down: the service answers 503." in start
    )
    fails, rest = rest.split("What is stuck?")
    assert "41 of 748 in the last hour (5.5 %)" in fails
    assert "31 \N{MULTIPLICATION SIGN} KSampler : torch.OutOfMemoryError studio" in fails
    assert "Unknown for agency ." in fails
    stuck, belief = rest.split("Can I believe it?")[:2]
    assert f"1 h 13 min waits the longest {scenes.uuid(7)} studio" in stuck
    assert "Not all of it agency: not reached for 6 min 50 s" in belief


def test_numbers_that_are_not_known_are_not_shown_as_none() -> None:
    summary = summarize(scenes.blind().shown)
    assert summary.believable is False
    assert summary.waiting is None
    text = overview_of(scenes.blind()).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "What fails? Not known" in text
    assert "What is stuck? Not known" in text
    assert "Nothing waits" not in text
    assert "14 outcomes of the service not counted yet" in text


def test_a_difference_to_the_totals_is_a_reason_for_doubt() -> None:
    calm = scenes.account()
    for belief, believable in (
        (calm.belief, True),
        (replace(calm.belief, difference=1), False),
        (replace(calm.belief, listing_lag_seconds=301.0), False),
        (replace(calm.belief, stalest_seconds=301.0), False),
        (replace(calm.belief, listing_lag_seconds=None), None),
    ):
        shown = scenes.overview(replace(calm, belief=belief))
        assert summarize(shown).believable is believable
    assert summarize(scenes.overview()).believable is None


def test_why_is_this_one_not_counted() -> None:
    scene = scenes.busy()
    row = scene.rows[0]
    reason = "It had ended before the exporter was first started."
    scene.stories = {row.id: WorkflowStory(row, (), not_counted_because=reason)}
    body = Pages(scene, load_assets()).workflow("../", row.id, NOW)
    assert body is not None
    assert f"Not counted Why is this not counted? {reason}" in Seen(body).text


def test_a_table_is_sorted_for_eyes_and_ears() -> None:
    pages = Pages(scenes.busy(), load_assets())
    seen = Seen(pages.workflows("./", WorkflowQuery(sort="status", descending=False), NOW))
    sorted_by = [attributes for tag, attributes in seen.tags if "aria-sort" in attributes]
    assert [attributes["aria-sort"] for attributes in sorted_by] == ["ascending"]
    assert "Status ▲" in seen.text


def test_the_column_of_slices_is_there_where_there_are_some() -> None:
    scene = scenes.busy()
    pages = Pages(scene, load_assets())
    assert ">Slices</th>" in pages.workflows("./", WorkflowQuery(), NOW)
    scene.rows = [replace(row, slices={}) for row in scene.rows]
    for query in (WorkflowQuery(), WorkflowQuery(phase="settled")):
        table = pages.workflows("./", query, NOW)
        assert "<tbody>" in table
        assert "Slices" not in table


def test_who_searches_an_id_among_the_wrong_ones_is_shown_the_others() -> None:
    pages = Pages(scenes.busy(), load_assets())
    prefix = scenes.uuid(100_000)[:8]
    text = Seen(pages.workflows("./", WorkflowQuery(prefix=prefix), NOW)).text
    assert "0 workflows open" in text
    assert "1 workflow ended recently with an id that begins like this" in text


def test_every_choice_of_a_filter_is_in_the_form() -> None:
    pages = Pages(scenes.busy(), load_assets())
    query = addresses.parse(
        [("account", "gone"), ("slice.team", "film"), ("sort", "-seen"), ("phase", "settled")]
    )
    seen = Seen(pages.filters("./", query))
    chosen = {
        attributes["value"]
        for tag, attributes in seen.tags
        if tag == "option" and "selected" in attributes
    }
    # What the address asks for stays chosen, even where there is no such thing.
    assert chosen == {"gone", "film"}
    kept = {
        attributes["name"]: attributes["value"]
        for tag, attributes in seen.tags
        if attributes.get("type") == "hidden"
    }
    assert kept == {"phase": "settled", "sort": "-seen"}


def test_ten_thousand_open_workflows_take_no_longer_to_render_than_a_page() -> None:
    scene = scenes.busy()
    page = scene.workflows(WorkflowQuery(per_page=addresses.PER_PAGE))
    scene.table = replace(page, total=10_000, pages=200)
    pages = Pages(scene, load_assets(), LINKS)
    pages.workflows("./", WorkflowQuery(), NOW)
    spent = []
    for _ in range(5):
        began = time.process_time()
        pages.workflows("./", WorkflowQuery(), NOW)
        pages.overview("./")
        spent.append(time.process_time() - began)
    assert min(spent) < 0.05


def test_style_and_script_are_small_and_named_by_what_is_in_them() -> None:
    assets = load_assets()
    assert sum(len(asset.content) for asset in assets.values()) < 16_000
    for asset in assets.values():
        assert asset.path.startswith("static/")
        assert asset.integrity.startswith("sha384-")
        assert b"http" not in asset.content
        assert b"@import" not in asset.content


# Addresses, numbers, plots ----------------------------------------------------------------------

_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50).map(str.strip).filter(bool)
_QUERIES = st.builds(
    WorkflowQuery,
    account=st.none() | _TEXT,
    status=st.none() | _TEXT,
    phase=st.sampled_from(["open", "settled"]),
    node_type=st.none() | _TEXT,
    slices=st.dictionaries(_TEXT, _TEXT, max_size=3),
    prefix=st.just("") | _TEXT,
    sort=st.sampled_from(["age", "status", "position", "run", "seen", "ended"]),
    descending=st.booleans(),
    page=st.integers(1, 1000),
    per_page=st.integers(1, addresses.MOST_PER_PAGE),
)


@given(_QUERIES)
def test_an_address_that_is_sent_to_a_colleague_shows_him_the_same(query: WorkflowQuery) -> None:
    assert addresses.parse(parse_qsl(addresses.unparse(query))) == query


@given(st.lists(st.tuples(st.text(), st.text())))
def test_no_address_is_an_error(pairs: list[tuple[str, str]]) -> None:
    query = addresses.parse(pairs)
    assert 1 <= query.per_page <= addresses.MOST_PER_PAGE
    assert query.page >= 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"), (-3.0, "0 s"), (0.4, "0 s"), (59.6, "1 min"),
        (200.0, "3 min 20 s"), (3600.0, "1 h"), (3605.0, "1 h"), (7500.0, "2 h 5 min"),
        (90_000.0, "1 d 1 h"), (float("inf"), "2932896 d 23 h"),
    ],
)  # fmt: skip
def test_spans(seconds: float | None, text: str) -> None:
    assert words.span(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("part", "text"),
    [
    (0, "0 %"), (1, "100 %"), (0.0004, "< 0.1 %"), (0.9996, "> 99.9 %"), (0.125, "12 %"),
    (0.055, "5.5 %"), (0.996, "99.6 %"),
    ],
)  # fmt: skip
def test_shares_never_say_nothing_of_something(part: float, text: str) -> None:
    assert words.share(part).replace("\N{NO-BREAK SPACE}", " ") == text


@given(st.text(max_size=500))
def test_foreign_strings_are_short_and_can_be_seen(text: str) -> None:
    shown = words.foreign(text)
    assert len(shown) <= words.LONGEST
    assert not {"\u202e", "\u2066", "\n", "\x00"} & set(shown)
    shown.encode("utf-8")


@given(st.floats())
def test_every_stamp_can_be_shown(wall: float) -> None:
    assert words.stamp(wall).endswith("Z")
    assert words.clock(wall, NOW)


_VALUES = st.lists(st.none() | st.floats(0, 1e300), max_size=80).map(tuple)


@given(st.sampled_from(["count", "seconds"]), _VALUES)
def test_every_plot_can_be_drawn_and_told(unit: str, values: tuple[float | None, ...]) -> None:
    drawn = draw(Plot("Failed", unit, 60.0, values))  # type: ignore[arg-type]
    assert drawn.values.count("z") == sum(bool(value) for value in values)
    assert drawn.unknown.count("M") == sum(value is None for value in values)
    assert "nan" not in drawn.values
    assert drawn.alternative.startswith("Failed, last ")


def test_a_plot_in_words() -> None:
    drawn = draw(Plot("Failed", "count", 60.0, (None, 0.0, 3.0, 1.0)))
    said = drawn.alternative.replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Failed, last 4 min, by 1 min: highest 3, latest 1, nothing known of 1 of 4."
    assert drawn.figure == "4"


def test_nothing_a_view_holds_could_be_a_message_a_prompt_or_an_address_of_a_file() -> None:
    names = {
        field.name
        for kind in vars(__import__("exporter.interfaces.views", fromlist=["*"])).values()
        if is_dataclass(kind)
        for field in fields(kind)
    }
    assert not {
        name for name in names if any(word in name for word in ("message", "prompt", "url"))
    }
