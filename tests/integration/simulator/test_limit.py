"""The edge's limit over loopback."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Service = Any


def test_past_the_limit_every_call_is_refused_until_the_cooldown_is_over(
    start: Callable[..., Service],
) -> None:
    service = start("limit: {requests: 5, per: 10s, cooldown: 1s}", speed=1000.0)
    codes = [service.get("/v1/workflow").status_code for _ in range(5)]
    assert codes == [200] * 5
    refused = service.get("/v1/workflow")
    closed = time.monotonic()
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    assert refused.json()["status"] == 429
    # Every call, even one that would be refused for another reason, and those of another account.
    assert service.get("/v1/runner").status_code == 429
    assert service.get("/v1/workflow/x", headers={"Authorization": "no"}).status_code == 429

    truth = service.simulator.truth()
    assert truth.refusals == {"list": 1, "runners": 1, "get": 1}
    assert truth.requests == {"list": 6, "runners": 1, "get": 1}
    assert truth.busiest_window == 6

    # The simulator's own calls neither count nor are refused.
    assert service.get("/_simulator/truth").status_code == 200
    while service.get("/v1/workflow").status_code == 429:
        assert time.monotonic() - closed < 5
    assert time.monotonic() - closed > 0.9


def test_the_documented_limit_is_the_usual_one(start: Callable[..., Service]) -> None:
    service = start("{}", speed=1000.0)
    codes = [service.get("/v1/workflow").status_code for _ in range(41)]
    assert codes == [200] * 40 + [429]


def test_the_edge_can_refuse_with_html(start: Callable[..., Service]) -> None:
    service = start("limit: {requests: 1, body: html}")
    service.get("/v1/workflow")
    refused = service.get("/v1/workflow")
    assert refused.status_code == 429
    assert refused.headers["Content-Type"].startswith("text/html")
    assert refused.headers["Retry-After"] == "10"
