"""The pages have words for every value that they may show."""

from collections.abc import Mapping
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from exporter.history import words

TEXTS = {
    name: mapping
    for name, (mapping,) in (
        (name, get_args(hint)) for name, hint in get_type_hints(words).items() if get_args(hint)
    )
    if get_origin(mapping) is Mapping and get_origin(get_args(mapping)[0]) is Literal
}


def test_they_are_found() -> None:
    assert "SOURCES" in TEXTS


@pytest.mark.parametrize("name", TEXTS)
def test_there_are_words_for_every_value_and_for_no_other(name: str) -> None:
    assert set(getattr(words, name)) == set(get_args(get_args(TEXTS[name])[0]))
