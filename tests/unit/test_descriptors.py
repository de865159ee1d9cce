"""Who gets how many of the files that the process may have open."""

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.app.app import App
from exporter.app.descriptors import KEPT_FREE, raise_limit, shares
from exporter.config import Config
from exporter.interfaces.observations import Tracked


@given(st.integers(0, 1 << 20))
def test_streams_and_clients_leave_room_for_the_rest(limit: int) -> None:
    found = shares(limit)
    assert found.streams >= 1
    assert found.clients >= 1
    if limit >= KEPT_FREE + 2:
        assert found.streams + found.clients <= limit - KEPT_FREE


@pytest.mark.parametrize(
    ("limit", "streams", "clients"), [(100, 27, 9), (1024, 720, 240), (4096, 3520, 512)]
)
def test_shares_of_usual_limits(limit: int, streams: int, clients: int) -> None:
    found = shares(limit)
    assert (found.streams, found.clients) == (streams, clients)


def test_the_soft_limit_is_raised_to_the_hard_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before, 256), hard))
    try:
        raise_limit().log()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
    (line,) = caplog.records
    assert line.message == "limit of open files"


def test_streams_that_descriptors_do_not_allow_are_told() -> None:
    accounts: list[dict[str, object]] = [
        {"name": name, "token": f"cfc_{name}", "listing": {}} for name in ("a", "b")
    ]
    app = App(
        Config.model_validate({"accounts": accounts}), fresh_services=True, stream_descriptors=20
    )
    try:
        for number in range(30):
            workflow_id = f"00000000-0000-4000-8000-{number:012x}"
            app._ledger.track(Tracked("a", workflow_id, "pushed", app._now()))
        # The other account needs none of the 20.
        assert app.read().streams_held_back["descriptors"] == 10
    finally:
        app.stop()
