"""Cleans strings from the service: the only place where untrusted strings become trusted."""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 128
"""Characters that a cleaned string has at most."""

# Nothing beyond this can survive the cut to MAX_LENGTH unless it is preceded by thousands of
# invisible characters, and a megabyte of those is not worth a pass over each.
_LOOK_AT = 4096

_SPACED = frozenset({"Cc", "Zl", "Zp"})


def clean(text: str) -> str:
    """Make a string from the service safe for a label, a page and a log.

    Control characters and line separators become spaces, invisible format characters (among them
    those that turn the direction of writing) vanish, lone surrogates become U+FFFD, white space
    around is dropped, and what is longer than ``MAX_LENGTH`` characters is cut. Cleaning twice is
    cleaning once. Never raises; the result can be empty.
    """
    if len(text) <= MAX_LENGTH and text.isprintable():
        return text.strip()
    return "".join(map(_clean_character, text[:_LOOK_AT])).strip()[:MAX_LENGTH].rstrip()


def _clean_character(character: str) -> str:
    if character.isprintable():
        return character
    category = unicodedata.category(character)
    if category in _SPACED:
        return " "
    if category == "Cf":
        return ""
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return character
