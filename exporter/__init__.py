"""Prometheus exporter for workflows hosted on ComfyControl."""

__version__ = "0.1.0"
