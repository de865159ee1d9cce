"""What PostgreSQL costs, and what several addresses hold in streams. See docs/performance.md.

python -m benchmarks.replicas costs
python -m benchmarks.replicas streams --addresses=1,2 --rates=10,30 --seconds=300 --lasting=300

The address counts of a rate run beside each other: whatever else the machine does, it does to all.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final
from uuid import UUID

import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import ACCOUNT, TOKEN, Program, free_port, running
from exporter.app.app import clocks
from exporter.budget.sliding_window import Limit
from exporter.interfaces.observations import Status
from exporter.ledger.forms import CounterName, Labels
from exporter.ledger.postgres.leases import know, take
from exporter.ledger.postgres.link import Link
from exporter.ledger.postgres.permits import PostgresPermits
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import Batch, Store
from exporter.ledger.totals import CounterTotal
from exporter.ledger.workflow import Workflow
from tests.postgres import DURABLE, Server, serving

FINISHED: Final[tuple[CounterName, Labels]] = ("finished", (ACCOUNT, "completed"))

TRIES: Final = 300
WARM_SECONDS: Final = 10.0
"""What ends before is left out: streams are only being opened."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("what", choices=["costs", "streams"])
    parser.add_argument("--addresses", default="1,2,4")
    parser.add_argument("--rates", default="10,30,100")
    parser.add_argument("--seconds", type=float, default=40.0, help="how long workflows come")
    parser.add_argument(
        "--lasting", type=float, default=20.0, help="seconds for which a workflow runs, median"
    )
    arguments = parser.parse_args()
    if arguments.what == "costs":
        costs()
        return
    counts = [int(addresses) for addresses in arguments.addresses.split(",")]
    for rate in map(float, arguments.rates.split(",")):
        with ThreadPoolExecutor(len(counts)) as pool:
            runs = [
                pool.submit(streams, addresses, rate, arguments.seconds, arguments.lasting)
                for addresses in counts
            ]
            for run in runs:
                print(run.result(), flush=True)


# What a settle and a grant cost -------------------------------------------------------------------


def costs() -> None:
    """One outcome in a transaction of its own, and one place in the window."""
    # Each commit is on the disk before it is answered, as users have it.
    with serving(DURABLE | {"fsync": "on"}) as server, tempfile.TemporaryDirectory() as folder:
        postgres = PostgresStore(Link(server.dsn), "the benchmark's", clocks)
        link = Link(server.dsn)
        with link.transaction() as cursor:
            know(cursor, [ACCOUNT])
            lease = take(cursor, ACCOUNT, "benchmark", 3600.0)
        assert lease is not None
        postgres.adopt(lease)
        sqlite = SqliteStore(Path(folder), clocks)
        sqlite.load()
        permits = PostgresPermits(link, "service", Limit(100_000, 10.0, 10.0, 0.0))
        # In turns: whatever else the machine does, it does to all of them.
        in_postgres, in_sqlite, grant = in_turns(settling(postgres), settling(sqlite), permits.take)
        ratio = in_postgres.middle / in_sqlite.middle
        print(f"a settle: PostgreSQL {in_postgres}; SQLite {in_sqlite}; ratio {ratio:.1f}")
        print(f"a grant: PostgreSQL {grant}; ratio to that {grant.middle / in_sqlite.middle:.1f}")
        permits.close()
        postgres.close()
        sqlite.close()


@dataclass(frozen=True)
class Spread:
    """Milliseconds."""

    middle: float
    worst: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ms (median), {self.worst:.2f} ms (p99)"


def in_turns(*each: Callable[[], object]) -> list[Spread]:
    """How long each of these takes."""
    took: list[list[float]] = [[] for _ in each]
    for _ in range(TRIES):
        for times, once in zip(took, each, strict=True):
            began = time.perf_counter()
            once()
            times.append((time.perf_counter() - began) * 1000)
    return [Spread(median(times), quantiles(times, n=100)[98]) for times in took]


def settling(store: Store) -> Callable[[], None]:
    """Keeps one workflow's end, and the total that it makes, at each call."""
    numbers = count(1)

    def settle() -> None:
        number, at = next(numbers), clocks()
        ended = Workflow(
            account=ACCOUNT,
            workflow_id=str(UUID(int=number)),
            source="listing",
            first_seen=at,
            last_seen=at,
            phase="settled",
            status=Status.COMPLETED,
            created_at=at.wall,
            ended_at=at.wall,
        )
        store.persist(
            Batch(
                workflows={(ACCOUNT, ended.workflow_id): ended},
                counters={FINISHED: CounterTotal(float(number))},
            )
        )
        store.sync()

    return settle


# What addresses hold ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """What so many addresses held, and how late outcomes were counted."""

    addresses: int
    rate: float
    streams: int
    """Most that were open at once."""
    open: int
    """Workflows that were open then."""
    counted: int
    late: float
    """Seconds from the end of a workflow until a scrape shows it, median."""
    latest: float
    """The same, of 95 % of them."""

    def __str__(self) -> str:
        return (
            f"{self.addresses} addresses, {self.rate:g} workflows a second: {self.streams} streams "
            f"of {self.open} open; {self.counted} counted, {self.late:.1f} s late (median), "
            f"{self.latest:.1f} s (p95)"
        )


def streams(addresses: int, rate: float, seconds: float, lasting: float) -> Held:
    """One replica at each address, and a service that gets so many workflows a second.

    Args:
        addresses: how many.
        rate: workflows a second.
        seconds: for which they come.
        lasting: seconds for which each runs, median.
    """
    with serving(DURABLE) as server, tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        simulator = stack.enter_context(simulating(folder, rate, lasting))
        ports = [
            stack.enter_context(replica(folder, server, simulator, f"127.0.0.{number + 2}"))
            for number in range(addresses)
        ]
        until(lambda: seen(ports, "comfycontrol_account_held") == 1)
        until(lambda: seen(ports, "comfycontrol_listing_last_success_timestamp_seconds") > 0)
        # Who holds the account settles before workflows come.
        time.sleep(8)
        requests.post(f"{simulator}/_simulator/resume", timeout=30)
        began = time.time()
        counted: list[tuple[float, float]] = []
        most = (0, 0)
        while time.time() < began + seconds:
            at, shown = time.time(), [scrape(port) for port in ports]
            counted.append((at, total(shown, "comfycontrol_workflows_finished_total")))
            now_open = int(total(shown, "comfycontrol_workflows"))
            most = max(most, (int(total(shown, "comfycontrol_streams")), now_open))
            time.sleep(0.5)
        truth = requests.get(f"{simulator}/_simulator/truth", timeout=60).json()["workflows"]
        # Those from before workflows came are not counted.
        ends = sorted(w["completed_ms"] / 1000 for w in truth if w["completed_ms"])
        ends = [end for end in ends if end >= began]
        late = [
            next(at for at, so_many in counted if so_many > number) - end
            for number, end in enumerate(ends)
            if end >= began + WARM_SECONDS and counted[-1][1] > number
        ]
        return Held(addresses, rate, *most, len(late), median(late), quantiles(late, n=20)[18])


@contextmanager
def simulating(folder: Path, rate: float, lasting: float) -> Iterator[str]:
    """A service that waits to be told to go on; where it is."""
    scenario = folder / "scenario.yml"
    scenario.write_text(
        yaml.safe_dump(
            {
                "accounts": [{"name": ACCOUNT, "tokens": [TOKEN]}],
                "arrivals": {"rate": rate},
                "runners": [{"name": "gpu", "count": int(rate * lasting * 3)}],
                "jobs": [
                    {
                        "name": "image",
                        "duration": {
                            "median": f"{lasting}s",
                            "sigma": 0.4,
                            "min": f"{lasting / 4}s",
                            "max": f"{lasting * 3}s",
                        },
                    }
                ],
            }
        )
    )
    port = free_port()
    command = ("exporter", "simulate")
    flags = {"scenario": scenario, "seed": 3, "listen-address": f"127.0.0.1:{port}"}
    with running(Program(command, flags, folder / "simulator.log")):
        url = f"http://127.0.0.1:{port}"
        until(lambda: requests.get(f"{url}/_simulator/truth", timeout=10).ok)
        requests.post(f"{url}/_simulator/pause", timeout=10)
        yield url


@contextmanager
def replica(folder: Path, server: Server, simulator: str, address: str) -> Iterator[int]:
    """A replica that asks from this address; its port."""
    account = {
        "name": ACCOUNT,
        "token": TOKEN,
        "base_url": simulator,
        "listing": {"interval": "5s"},
        "max_streams": 2000,
    }
    config, dsn, port = folder / f"{address}.yml", folder / "dsn", free_port()
    egress = {"address": f"nat-{address}", "bind": address}
    config.write_text(yaml.safe_dump({"accounts": [account], "egress": egress}))
    dsn.write_text(server.dsn())
    flags = {
        "config.file": config,
        "web.listen-address": f"127.0.0.1:{port}",
        "storage.postgres.dsn-file": dsn,
    }
    with running(Program(("exporter",), flags, folder / f"{address}.log")):
        until(lambda: bool(scrape(port)))
        yield port


Samples = list[tuple[str, float]]


def scrape(port: int) -> Samples:
    """What a replica shows now."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    return [(s.name, s.value) for f in text_string_to_metric_families(text) for s in f.samples]


def seen(ports: list[int], name: str) -> float:
    """The sum of a metric over all replicas."""
    return total([scrape(port) for port in ports], name)


def total(shown: list[Samples], name: str) -> float:
    """The same of what was scraped."""
    return sum(value for each in shown for found, value in each if found == name)


def until(holds: Callable[[], Any], seconds: float = 180.0) -> None:
    """Ask again until it holds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except requests.RequestException:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError("it has not come about in time")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
