"""Recognises texts that are not tokens, to explain why they are refused. Pure.

Most invalid tokens were copied with something around them. The result never contains any part of
the text.
"""

import re
from typing import Final

_PAIRED: Final = re.compile(r"""(["'`]).*\1|<.*>""")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=[^=].*")
_FIELD: Final = re.compile(r"[A-Za-z_]+:.+")
_VARIABLE: Final = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|%[A-Za-z_][A-Za-z0-9_]*%")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.IGNORECASE)


def shape_of(token: str) -> str | None:
    """What it looks like, to be written after "the token"; None: like a token."""
    shapes = (
        (_PAIRED.fullmatch(token) is not None, "has quotes or brackets around it"),
        (token[:1] in tuple("{["), "looks like JSON"),
        (_ASSIGNMENT.fullmatch(token) is not None, "looks like `KEY=value`"),
        (_VARIABLE.fullmatch(token) is not None, "looks like a variable that was not filled in"),
        (_URL.fullmatch(token) is not None, "looks like a URL"),
        (_FIELD.fullmatch(token) is not None, "looks like `key: value`"),
        (token.startswith("/"), "looks like the path of a file"),
        (token.startswith("-----"), "looks like a PEM file"),
        (token[:1] in tuple("\"'`"), "begins with a quote"),
        (token[-1:] in tuple("\"'`"), "ends with a quote"),
        ("\\" in token, "has a backslash in it"),
        (any(c.isspace() for c in token), "has white space or a line break inside"),
    )
    return next((text for fits, text in shapes if fits), None)
