"""Prometheus exporter for workflows hosted on ComfyControl."""

__version__ = "0.1.0"

try:
    # Only what was packaged has it: hatch_build.py writes it.
    from exporter._revision import REVISION  # type: ignore[import-not-found]
except ModuleNotFoundError:
    REVISION = "unknown"

__revision__: str = REVISION
