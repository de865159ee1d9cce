"""No word is stored without a step of the schema that brought it."""

from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints
from zlib import crc32

import pytest

from exporter.ledger.facts import Fact
from exporter.ledger.forms import COUNTERS, HISTOGRAMS
from exporter.ledger.schema import MIGRATIONS
from exporter.ledger.words import (
    WORDS,
    unknown_of,
    words_of_total,
    words_until,
)
from exporter.ledger.workflow import Workflow

RELEASED = {1: (2_504_155_824, 444_400_310)}
"""By step of the schema that users have on their disks, the checksums of its text and its words.
A release adds the newest step here; none is ever changed."""


def test_what_the_code_stores_is_what_the_steps_have_brought() -> None:
    """Fails for a new source, phase, status, reason, total or label.

    Add it to the newest step in `exporter/ledger/steps.py`, or to a new step if the newest was
    released.
    """
    assert words_until(len(MIGRATIONS)) == WORDS


@pytest.mark.parametrize("stored", [Workflow, *get_args(Fact)])
def test_every_closed_set_of_values_is_one_of_words(stored: type) -> None:
    """A field that can only have certain values has them in the list, under whatever kind."""
    kinds = {word.rsplit(" ", 1)[0] for word in WORDS}
    hints = get_type_hints(stored)
    for name in (field.name for field in fields(stored)):
        hint = hints[name]
        for part in (hint, *get_args(hint)):
            if get_origin(part) is Literal:
                values = [str(value) for value in get_args(part)]
            elif isinstance(part, type) and issubclass(part, Enum):
                values = [str(member.value) for member in part]
            else:
                continue
            assert any({f"{kind} {v}" for v in values} <= WORDS for kind in kinds), name


@pytest.mark.parametrize("step", RELEASED)
def test_a_released_step_is_never_changed(step: int) -> None:
    text, words = MIGRATIONS[step - 1], repr(sorted(words_until(step)))
    assert (crc32(text.encode()), crc32(words.encode())) == RELEASED[step]


def test_the_first_step_is_the_one_that_users_have() -> None:
    dump = Path(__file__).with_name("schema_1.sql").read_text("utf-8")
    for statement in MIGRATIONS[0].split(";"):
        assert statement.strip() in dump


def test_every_label_that_is_known_beforehand_is_a_word() -> None:
    forms = [("counter", str(name), form) for name, form in COUNTERS.items()]
    forms += [("histogram", str(name), form) for name, form in HISTOGRAMS.items()]
    for kind, name, form in forms:
        for labels in form.initial:
            words = words_of_total(kind, name, ("studio", *labels))
            assert unknown_of(words) is None
            assert len(words) == 1 + len(labels)


def test_a_word_that_is_not_known_is_named() -> None:
    counted = words_of_total("counter", "discovered", ("studio", "webhook"))
    assert unknown_of(counted) == "source webhook"
    more = words_of_total("counter", "discovered", ("studio", "pushed", "team-a"))
    assert unknown_of(more) == "counter discovered with other labels"
