"""What a client gets for what it says that it takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.metrics.exposition import Page
from exporter.metrics.negotiation import accepts_gzip, negotiate
from tests.unit.metrics.test_exposition import reading

OM = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OLD = "text/plain; version=0.0.4; charset=utf-8"
NEW = "text/plain; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", OLD),
        ("*/*", OLD),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", OLD),
        ("text/plain", OLD),
        ("text/plain;version=0.0.4", OLD),
        ("text/plain;version=1.0.0", NEW + "; escaping=underscores"),
        (PROMETHEUS_3, OM + "; escaping=allow-utf-8"),
        ("application/openmetrics-text", OM),
        ("Application/OpenMetrics-Text ; Version=1.0.0", OM + "; escaping=underscores"),
        # The newest that we know, and named as that.
        ("application/openmetrics-text;version=2.0.0", OM + "; escaping=underscores"),
        ("application/openmetrics-text;version=9.7.3", OM + "; escaping=underscores"),
        ("application/openmetrics-text;version=abc", OM + "; escaping=underscores"),
        ("application/openmetrics-text;version=0.0.1", OM + "; escaping=underscores"),
        ("application/openmetrics-text;q=0", OLD),
        ("application/openmetrics-text;version=1.0.0;q=0,text/plain;q=0.1", OLD),
        ("application/openmetrics-text;q=0.0, */*", OLD),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", OLD),
        ("text/plain;q=0.2,application/openmetrics-text;q=0.9", OM),
        ("text/plain,application/openmetrics-text", OM),
        ("text/plain;q=0, */*", OM),
        ("application/*", OM),
        ("application/vnd.google.protobuf;proto=x;q=0.9,application/openmetrics-text;q=0.1", OM),
        # Nothing that we have: text all the same.
        ("image/png", OLD),
        ("*/*;q=0", OLD),
    ],
)
def test_the_format(accept: str, content_type: str) -> None:
    assert Page(CollectorRegistry(), reading).render(accept).content_type == content_type


@given(st.text(alphabet='apliction/openmrs-tx;,=*q.01 "v', max_size=80) | st.text(max_size=40))
def test_any_header_is_understood_somehow(header: str) -> None:
    negotiate(header)
    accepts_gzip(header)


@given(st.floats(0.001, 1), st.floats(0.001, 1))
def test_the_better_liked_one(text: float, openmetrics: float) -> None:
    chosen = negotiate(f"text/plain;q={text:.3f},application/openmetrics-text;q={openmetrics:.3f}")
    is_openmetrics = round(openmetrics, 3) >= round(text, 3)
    assert (chosen.kind == "openmetrics") is is_openmetrics


@pytest.mark.parametrize(
    ("header", "accepts"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("gzip, deflate, br", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0.001", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("br", False),
        ("notgzip", False),
    ],
)
def test_compression(header: str, *, accepts: bool) -> None:
    assert accepts_gzip(header) is accepts
