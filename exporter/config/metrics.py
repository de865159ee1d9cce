"""The `metrics` of the file: limits, buckets and slices."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from exporter.config.bounds import Number, WholeNumber
from exporter.config.errors import invalid
from exporter.config.section import Broken, Section
from exporter.config.slices import DEFAULT_COMBINATIONS, Slice, broken_slices

_MOST_BUCKETS: Final = 100


def _buckets(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if not bounds:
        raise invalid("is empty", "Write at least one bound, or leave the key out for the default.")
    if len(bounds) > _MOST_BUCKETS:
        raise invalid(
            f"has more than {_MOST_BUCKETS} bounds", "Leave some out: each is a series per account."
        )
    if any(low >= high for low, high in itertools.pairwise(bounds)):
        raise invalid("is not strictly increasing", "Sort the bounds, and give each once.")
    return bounds


Buckets = Annotated[
    tuple[Annotated[float, Number()], ...],
    AfterValidator(_buckets),
    Field(json_schema_extra={"minItems": 1, "maxItems": _MOST_BUCKETS, "uniqueItems": True}),
]
"""Upper bounds of a histogram; the last one, +Inf, is added when it is rendered."""


class Metrics(Section):
    """How detailed the metrics are, and so how many series there can be."""

    per_workflow_series: Annotated[int, WholeNumber(0, 10_000)] = Field(
        default=500,
        description="Most open workflows of an account with a series of their own, the queue "
        "position. 0 turns these series off.",
        examples=[500],
    )
    node_types: Annotated[int, WholeNumber(1, 10_000)] = Field(
        default=200,
        description="Distinct values of the `node_type` label; those beyond count as `other`.",
        examples=[200],
    )
    exception_types: Annotated[int, WholeNumber(1, 10_000)] = Field(
        default=50,
        description="Distinct values of the `exception_type` label; those beyond count as `other`.",
        examples=[50],
    )
    run_duration_buckets: Buckets = Field(
        default=(1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
        description="Upper bounds, in seconds, of `comfycontrol_workflow_run_duration_seconds`.",
        examples=[[1, 10, 60, 600, 3600]],
    )
    time_to_start_buckets: Buckets = Field(
        default=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
        description="Upper bounds, in seconds, of `comfycontrol_workflow_time_to_start_seconds` "
        "and of its parts, `comfycontrol_workflow_phase_duration_seconds`.",
        examples=[[1, 10, 60, 600, 3600]],
    )
    entry_queue_position_buckets: Buckets = Field(
        default=(1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000),
        description="Upper bounds, in places, of `comfycontrol_workflow_entry_queue_position`.",
        examples=[[1, 5, 10, 50, 100]],
    )
    slices: tuple[Slice, ...] = Field(
        default=(),
        description="Labels on every metric of workflows that tell whose or which they are, at "
        "most 4: [`metrics.slices[]`](#metricsslices).",
        examples=[[{"label": "team", "from": "tag", "match": "^team[:=](.+)$"}]],
    )
    max_slice_combinations: Annotated[int, WholeNumber(1, 1_000_000)] = Field(
        default=DEFAULT_COMBINATIONS,
        description="What the `values` of all slices may multiply to. `check-config --series` "
        "tells how many series that makes at most.",
        examples=[DEFAULT_COMBINATIONS],
    )

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """Labels of slices are unique, and the product of their values is limited."""
        yield from broken_slices(given)
