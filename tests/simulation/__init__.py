"""The whole exporter in simulated time, by seed. docs/reliability.md says what it tries."""
