"""Texts that are kept in files, beside what the code says now: `make goldens` writes them again."""

import os
from pathlib import Path
from typing import Final

REWRITE: Final = "REWRITE_GOLDENS"
"""The variable of the environment that `make goldens` sets."""


def check_golden(path: Path, text: str) -> None:
    """Fail where the file holds another text, or write it there: then look at the difference."""
    if os.environ.get(REWRITE):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"run `make goldens` and look at {path.name}"
