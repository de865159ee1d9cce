"""The form of a workflow's id: a UUID in any of its usual spellings, all of one identity."""

import re
from typing import Final

_CANONICAL = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ANY = f"{_CANONICAL}|[0-9a-fA-F]{{32}}"

UUID_PATTERN: Final = rf"({_ANY}|\{{({_ANY})\}}|[uU][rR][nN]:[uU][uU][iI][dD]:({_ANY}))"
"""Of either case, with or without dashes, in braces or as a URN. Helm checks with Go's regular
expressions: nothing here that they lack."""

_UUID = re.compile(_CANONICAL)
_SPELLING = re.compile(UUID_PATTERN)
_URN = len("urn:uuid:")


def normalize_workflow_id(text: str) -> str:
    """The id in the one spelling that is compared, stored and sent: lower case, with dashes.

    Raises:
        ValueError: it is no UUID. The message does not repeat it.
    """
    if _UUID.fullmatch(text) is not None:
        return text.lower()
    if _SPELLING.fullmatch(text) is None:
        raise ValueError("not a workflow id")
    bare = text[_URN:] if ":" in text else text
    digits = bare.strip("{}").replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
