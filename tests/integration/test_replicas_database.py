"""What replicas do while their database is full, full of connections, locked or stopped.

Nothing is counted that cannot be committed, nothing that was shown is taken back, a metric tells,
and once the database is back every outcome is counted once.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.programs import Stage, metrics_page
from tests.integration.test_replicas import (
    REPLICAS,
    SCENARIO,
    SPEED,
    Story,
)
from tests.postgres import Server

SECONDS = float(os.environ.get("REPLICA_OUTAGE", "14"))
"""How long it fails: longer than a lease, and so long that an account would be taken over."""
WORKFLOWS = 50
LASTING: dict[str, Any] = {
    **SCENARIO,
    "arrivals": {"rate": WORKFLOWS / (SECONDS + 6) / SPEED, "max_workflows": WORKFLOWS},
}
USER = "unprivileged"
"""The limit of a role's connections does not hold for a superuser."""

_FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON comfycontrol_workflow
    EXECUTE FUNCTION full_disk();
"""


@contextmanager
def full(server: Server) -> Iterator[None]:
    """The disk has no room for another page."""
    server.query(_FULL)
    yield
    server.query("DROP FUNCTION full_disk CASCADE")


@contextmanager
def refused(server: Server) -> Iterator[None]:
    """All connections are taken."""
    server.query(f"ALTER ROLE {USER} CONNECTION LIMIT 0")
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
    server.query(ended)
    yield
    server.query(f"ALTER ROLE {USER} CONNECTION LIMIT -1")


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Somebody holds a lock on the accounts."""
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("LOCK TABLE comfycontrol_account")
        yield


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """It is shut down in good order, as for an upgrade."""
    server.stop()
    yield
    server.start()


def told(port: int) -> dict[str, float]:
    """What a replica tells of itself."""
    text = metrics_page(f"http://127.0.0.1:{port}")
    names = {"comfycontrol_exporter_replicas", "comfycontrol_exporter_ledger_errors_total"}
    found = {
        sample.name.removeprefix("comfycontrol_exporter_"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in names
    }
    assert len(found) == len(names)
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("fails", "is_reached", "reason"),
    [
        (full, True, "the server's disk is full"),
        (refused, False, "the server has no connection left"),
        (locked, False, "another session holds a lock"),
        (stopped, False, "nothing listens at the server's address"),
    ],
)
def test_a_database_that_fails_and_comes_back(
    stage: Stage,
    server: Server,
    fails: Callable[[Server], Any],
    is_reached: bool,
    reason: str,
) -> None:
    server.query(f"CREATE ROLE {USER} LOGIN")
    server.query(f"GRANT CREATE ON SCHEMA public TO {USER}")
    story = Story(stage, server, LASTING)
    for number in range(REPLICAS):
        story.connect(number, user=USER)
    story.begin()
    replicas = story.replicas
    stage.until(
        "something is counted",
        lambda: any(value for key, value in replicas.look().items() if "finished" in key[0]),
    )
    with ExitStack() as failing:
        failing.enter_context(fails(server))
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            replicas.look()
            time.sleep(0.2)
        now = [told(port) for port in replicas.ports]
        held = [number for who in replicas.holders().values() for number in who]
        if is_reached:
            # Who holds an account goes on, and cannot keep what it learns.
            assert {each["replicas"] for each in now} == {REPLICAS}
            assert held
            assert all(now[number]["ledger_errors_total"] > 0 for number in held)
        else:
            assert {each["replicas"] for each in now} == {0}
            assert held == []
            for port in replicas.ports:
                url = f"http://127.0.0.1:{port}/api/v1/workflows"
                # What a replica still knows may be another's by now.
                for asked in (url, f"{url}/{story.ours()[0]['id']}"):
                    assert requests.get(asked, timeout=10).status_code == 503
    stage.until("everything is counted", story.is_all_known, seconds=120)
    story.check_truth()
    assert reason in "".join(process.output for process in replicas.processes.values())
    stage.until(
        "all reach it", lambda: {told(port)["replicas"] for port in replicas.ports} == {REPLICAS}
    )
