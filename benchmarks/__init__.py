"""Measurements that docs/performance.md quotes. Each is a program of its own."""
