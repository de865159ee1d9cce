"""Measurements that docs/performance.md quotes. Each module is a program: `python -m benchmarks.…`."""
