"""What the exporter does not load, and how that is kept from its libraries."""

import subprocess
import sys

import pytest

from exporter.spared_imports import without

SPARED = (
    "rich",
    "greenlet",
    "chardet",
    "charset_normalizer",
    "re2",
    "psycopg",
    "exporter.simulator",
)


def test_a_running_exporter_has_not_loaded_what_it_does_not_use() -> None:
    program = (
        "import sys, exporter.cli, exporter.app.running\n"
        f"print([name for name in {SPARED} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert not done.stderr


def test_what_was_spared_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("colorsys", "this_is_none"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with without("colorsys", "this_is_none"):
        with pytest.raises(ImportError):
            import colorsys  # noqa: PLC0415
        with pytest.raises(ImportError):
            __import__("this_is_none")
    import colorsys  # noqa: PLC0415

    assert colorsys.rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    assert "this_is_none" not in sys.modules


def test_what_is_loaded_already_stays() -> None:
    with without("subprocess"):
        assert sys.modules["subprocess"] is subprocess
    assert sys.modules["subprocess"] is subprocess
