"""Imports without what a library would load for features that are not used here.

Each costs megabytes in every process, and a part of a second at its start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Have imports in this block not find these modules, which their importers can do without.

    What is loaded already stays in use. Later imports find all of them. For the main thread, while
    it imports: another one that imports meanwhile would not find them either.
    """
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))  # this is how Python marks what must not be imported
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
