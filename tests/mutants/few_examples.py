"""A plugin of pytest: no property test draws more examples than this, whatever it asks for.

A mutant that a property notices, it notices early as a rule; one that survives is paid in full.
And no mutant counts as noticed because it is slow, or because mutmut runs a test twice.
"""

from typing import Final

import pytest
from hypothesis import HealthCheck, settings

MOST: Final = 40

_SETTINGS: Final = "_hypothesis_internal_use_settings"
"""Where Hypothesis keeps what `@settings` says; there is no public way to change it afterwards."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lower what was asked for, and leave out Hypothesis' checks of health."""
    for item in items:
        test = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)
        asked = getattr(test, _SETTINGS, None)
        if isinstance(asked, settings):
            most = min(asked.max_examples, MOST)
            lowered = settings(asked, max_examples=most, suppress_health_check=tuple(HealthCheck))
            setattr(test, _SETTINGS, lowered)
