"""What the exporter's metrics say, as far as the benchmarks need it."""

from prometheus_client.parser import text_string_to_metric_families


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def total(self, name: str) -> float:
        """The sum of all series of a metric, whose name is given without `comfycontrol_`."""
        return sum(s.value for s in self._samples if s.name == f"comfycontrol_{name}")

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums of a metric's series by one label."""
        sums: dict[str, float] = {}
        for sample in self._samples:
            if sample.name == f"comfycontrol_{name}":
                value = sample.labels[label]
                sums[value] = sums.get(value, 0.0) + sample.value
        return sums
