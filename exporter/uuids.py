"""The form of a workflow's id: a UUID in its usual 36 characters."""

import re
from typing import Final

UUID_PATTERN: Final = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""Of either case. Helm checks with Go's regular expressions: nothing here that they lack."""

_UUID = re.compile(UUID_PATTERN)


def normalize_workflow_id(text: str) -> str:
    """The id as the service writes it: in lower case.

    Raises:
        ValueError: it is no UUID. The message does not repeat it.
    """
    if _UUID.fullmatch(text) is None:
        raise ValueError("not a workflow id")
    return text.lower()
