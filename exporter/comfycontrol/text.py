"""Cleans strings from the service: the only place where untrusted strings become trusted."""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 128
"""The largest length of a cleaned string in characters."""

# Only this many characters are cleaned. Later ones could only remain after the cut to MAX_LENGTH if
# thousands of invisible characters came first, and cleaning a megabyte of those would be slow.
_LOOK_AT = 4096

_SPACED = frozenset({"Cc", "Zl", "Zp"})


def clean(text: str) -> str:
    """Make a string from the service safe for a label, a page and a log.

    Control characters and line separators become spaces. Invisible format characters, such as those
    that change the writing direction, are removed. Lone surrogates become U+FFFD. Surrounding white
    space is removed, and the result is cut to ``MAX_LENGTH`` characters. Cleaning a cleaned string
    does not change it. Never raises; the result can be empty.
    """
    if len(text) <= MAX_LENGTH and text.isprintable():
        return text.strip()
    return "".join(map(_clean_character, text[:_LOOK_AT])).strip()[:MAX_LENGTH].rstrip()


def has_control_characters(text: str) -> bool:
    """Whether a string has control characters, which no name of a node or an exception has."""
    return not text.isprintable() and any(
        unicodedata.category(character) == "Cc" for character in text[:_LOOK_AT]
    )


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
