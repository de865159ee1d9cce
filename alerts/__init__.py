"""The rules for Prometheus, as data. `python -m alerts.build` writes the rule files beside it."""
