"""Imports without what a library would load for features that are not used here.

Each costs megabytes in every process, and a part of a second at its start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
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


@contextmanager
def standing_in(name: str, *contents: str) -> Iterator[None]:
    """Have imports in this block find an empty module instead of this one.

    For a module that its package imports only to show what it contains. `contents` are the names
    that the package takes from it; they are None there. Afterwards the module itself can be
    imported. For the main thread, as above.
    """
    if name in sys.modules:
        yield
        return
    module = ModuleType(name)
    vars(module).update(dict.fromkeys(contents))
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
