"""50 scrapers without a pause: how long each waits, and whether following goes on.

    python -m benchmarks.scrapers --seconds 60

Within the limits of the chart's defaults, over TLS with connections that are kept, as Prometheus
does it. The scrapers, the exporter and the simulator share the machine.
"""

import argparse
import asyncio
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.metrics import Metrics
from benchmarks.soak import one_by_one
from benchmarks.soak.attacks import Target

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"


def main() -> int:
    """Run it, and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scrapers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--scrapers", type=int, default=50)
    parser.add_argument("--accounts", type=int, default=42, help="that have series, but no service")
    arguments = parser.parse_args()
    attack = one_by_one.Attack("scrapers", idle_accounts=arguments.accounts)
    with (
        tempfile.TemporaryDirectory() as folder,
        one_by_one.service(attack, Path(folder)) as (base_url, token),
        one_by_one.exporter(attack, base_url, token, Path(folder)) as target,
    ):
        session = target.session()
        one_by_one.until_answered(target, session)
        one_by_one.until_listed(target, session)
        for count in (0, arguments.scrapers):
            _measure(target, count, arguments.seconds)
    return 0


def _measure(target: Target, scrapers: int, seconds: float) -> None:
    session = target.session()
    text, _ = one_by_one.scrape(target, session)
    pages, cpu = _pages(text), one_by_one.cpu_seconds(target)
    took, oldest = asyncio.run(_scrape_all(target, scrapers, seconds))
    used = (one_by_one.cpu_seconds(target) - cpu) / seconds
    text, _ = one_by_one.scrape(target, session)
    series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    waits = ""
    if took:
        cuts = statistics.quantiles(took, n=100)
        waits = (
            f"{len(took) / seconds:.0f} scrapes/s, median {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, "
            f"most {max(took):.2f} s; "
        )
    print(
        f"{scrapers} scrapers, {series:,} series: {waits}list pages in 10 s "
        f"{(_pages(text) - pages) / seconds * 10:.1f}, list at most {oldest:.1f} s old, "
        f"{used:.0%} of a core, memory at most {one_by_one.status(target)['VmHWM']:.0f} MiB",
        flush=True,
    )


def _pages(text: str) -> float:
    return Metrics(text).total("listing_pages_total")


async def _scrape_all(target: Target, count: int, seconds: float) -> tuple[list[float], float]:
    """Seconds that each scrape took, and the greatest age of the list."""
    context = ssl.create_default_context(cafile=str(target.authority))
    until = time.monotonic() + seconds
    took: list[float] = []
    scrapers = [_scrape(target, context, until, took) for _ in range(count)]
    age, _ = await asyncio.gather(_watch_list(target, until), asyncio.gather(*scrapers))
    return took, age


async def _watch_list(target: Target, until: float) -> float:
    """Look at the age of the list every five seconds."""
    session = target.session()
    oldest = 0.0
    while time.monotonic() < until:
        text, _ = await asyncio.to_thread(one_by_one.scrape, target, session)
        listed = Metrics(text).total("listing_last_success_timestamp_seconds")
        oldest = max(oldest, time.time() - listed)
        await asyncio.sleep(5)
    return oldest


async def _scrape(target: Target, context: ssl.SSLContext, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=context, server_hostname="localhost", limit=1 << 20
    )
    while time.monotonic() < until:
        began = time.monotonic()
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError("a scrape was not answered")
        length = next(
            int(line.partition(b":")[2])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        took.append(time.monotonic() - began)
    writer.close()


if __name__ == "__main__":
    sys.exit(main())
