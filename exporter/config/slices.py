"""The `metrics.slices` of the file: labels that a user derives from tags or names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from exporter.config.bounds import WholeNumber
from exporter.config.errors import invalid
from exporter.config.section import Broken, Section

if TYPE_CHECKING:
    import re2

MOST_SLICES: Final = 4
MOST_VALUES: Final = 10_000
MOST_PATTERN: Final = 1_000
"""The largest length of a regular expression."""
MOST_LABEL: Final = 60
"""The largest length of a label's name."""
MOST_DEFAULT: Final = 128
"""The largest length of a default, as of all other label values."""
DEFAULT_COMBINATIONS: Final = 2_000

RESERVED_LABELS: Final = frozenset(
    {
        # Labels of workflow metrics. A test compares them with the catalogue.
        "account", "exception_type", "node_type", "phase", "result", "status",
        "workflow_id",
        # Labels of the exposition formats, and those that Prometheus and its alerts add.
        "le", "quantile", "instance", "job", "alertname", "alertstate", "severity",
    }
)  # fmt: skip
"""Label names that would conflict with existing ones."""

MADE_LABELS: Final = frozenset({"over", "reason", "series", "slice", "who", "whose"})
"""Label names that queries of dashboards and alerts create. A test compares them with these."""

_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_MEMORY: Final = 1 << 20
"""The largest size of a compiled expression in bytes."""


def compiled(pattern: str) -> re2._Regexp:
    """Compile an expression with RE2, which always takes time linear in the text.

    Raises:
        ValueError: it is not valid, or too large.
    """
    # Imported here because it takes 2.5 MiB, and only slices need it.
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.log_errors = False  # they would show the pattern on standard error
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError("no regular expression of RE2, or too large") from error


def _text(value: object) -> object:
    """Refuse values such as `no`, `12` and `1.5`, which YAML does not read as text."""
    if not isinstance(value, str):
        raise invalid("is not text", "Put it in quotes: YAML reads 12, 1:30 and `on` otherwise.")
    return value


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name) or len(name) > MOST_LABEL:
        raise invalid(
            "is no name of a label",
            f"Use letters, digits and `_`, no digit first, at most {MOST_LABEL} characters.",
        )
    if name.startswith("__"):
        raise invalid("begins with `__`", "Prometheus keeps such names for itself: take another.")
    if name in RESERVED_LABELS:
        raise invalid("clashes with a label that is there already", "Take another name.")
    if name in MADE_LABELS:
        raise invalid(
            "clashes with a label that the dashboards and alerts make", "Take another name."
        )
    return name


def _match(pattern: str) -> str:
    if len(pattern) > MOST_PATTERN:
        raise invalid(f"is longer than {MOST_PATTERN:,} characters", "Write a shorter expression.")
    try:
        groups = compiled(pattern).groups
    except ValueError:  # includes encoding errors
        groups = None
    if groups is None:
        raise invalid(
            "is no regular expression in RE2's syntax",
            "Look-arounds and back references do not exist there; see "
            "https://github.com/google/re2/wiki/Syntax.",
        )
    if groups != 1:
        raise invalid(
            "does not have exactly one group",
            "Put the part that becomes the value in parentheses, and write all others as `(?:…)`.",
        )
    return pattern


def _default(value: str) -> str:
    if not value.isprintable() or value.strip() != value or not 0 < len(value) <= MOST_DEFAULT:
        raise invalid(
            "is empty, too long, or has white space around it or invisible characters",
            f"Write a short word such as `none`, at most {MOST_DEFAULT} characters.",
        )
    return value


def _origin(value: str) -> str:
    if value not in {"tag", "name"}:
        raise invalid("is neither `tag` nor `name`", "Write `from: tag` or `from: name`.")
    return value


class Slice(Section):
    """A label on all workflow metrics; its value comes from a workflow's tags or name.

    For changed tags, too many values, and changes of slices see [slices.md](slices.md).
    """

    label: Annotated[str, BeforeValidator(_text), AfterValidator(_label)] = Field(
        description="Name of the label. Those that are on the metrics already are refused.",
        examples=["team"],
    )
    origin: Annotated[Literal["tag", "name"], BeforeValidator(_text), BeforeValidator(_origin)] = (
        Field(
            alias="from",
            description="`tag`: the first of the workflow's tags that matches; `name`: its name.",
            examples=["tag"],
        )
    )
    match: Annotated[str, BeforeValidator(_text), AfterValidator(_match)] = Field(
        description="Regular expression ([RE2](https://github.com/google/re2/wiki/Syntax)) with "
        "one group, which is the value. It may match anywhere: write `^` and `$` where it must "
        "not.",
        examples=["^team[:=](.+)$"],
    )
    values: Annotated[int, WholeNumber(1, MOST_VALUES)] = Field(
        default=20,
        description="Distinct values in each account; those beyond count as `other`. `default` "
        "and `other` come on top.",
        examples=[20],
    )
    default: Annotated[str, BeforeValidator(_text), AfterValidator(_default)] = Field(
        default="none",
        description="The value where nothing matches.",
        examples=["none"],
    )


def broken_slices(given: Mapping[str, object]) -> Iterator[Broken]:
    """Rules over several slices that a raw `metrics` section breaks."""
    slices = given.get("slices")
    if not isinstance(slices, list | tuple):
        return
    if len(slices) > MOST_SLICES:
        yield Broken(
            ("slices",),
            invalid(f"has more than {MOST_SLICES} entries", "Leave some out: series multiply."),
        )
    seen: dict[str, int] = {}
    for index, entry in enumerate(slices):
        label = _peek(entry, "label")
        if isinstance(label, str) and seen.setdefault(label, index) != index:
            yield Broken(
                ("slices", index, "label"),
                invalid(
                    f"is also the label of slices[{seen[label]}]",
                    "Give each slice a label of its own.",
                ),
            )
    most = _whole(given.get("max_slice_combinations", DEFAULT_COMBINATIONS))
    combinations = 1
    for entry in slices:
        combinations *= _whole(_peek(entry, "values", 20)) or 1
    if most is not None and combinations > most:
        yield Broken(
            ("slices",),
            invalid(
                f"can have {combinations:,} combinations of values, more than {most:,}",
                "Lower `values`, or raise `metrics.max_slice_combinations` if your Prometheus can "
                "take that many: `check-config --series` says what it comes to.",
            ),
        )


def _peek(entry: object, key: str, default: object = None) -> object:
    """A key of a section that may be raw data or already a model."""
    if isinstance(entry, Mapping):
        return entry.get(key, default)
    return getattr(entry, key, default)


def _whole(value: object) -> int | None:
    """An integer, converted like `WholeNumber` does; None: it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
