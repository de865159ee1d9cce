"""What is done to a running exporter, each by a thread of its own until the end."""

import contextlib
import os
import random
import signal
import socket
import ssl
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

SILENT_CLIENTS: Final = 600
SCRAPERS: Final = 20
PUSHED_AT_ONCE: Final = 200

_GARBAGE: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x00" * 400,
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"POST /api/v1/workflows HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"GET /" + b"a" * 70_000,
)


@dataclass
class Target:
    """What is attacked."""

    host: str
    port: int
    pid: int
    authority: Path
    """Whose certificate it shows."""
    push_token: str
    account: str
    id_files: Path
    """The folder where it looks for files of ids."""
    memory_figures: Path = Path("/dev/null")
    """Where it writes what its memory is made of."""
    over: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    """How often each thing was done, and how it was answered."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"https://{self.host}:{self.port}"

    def session(self) -> requests.Session:
        """One that trusts its certificate alone, whatever the environment says."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.authority)
        return session


def nothing(target: Target) -> None:
    """The attack is in how things are."""
    target.over.wait()


def connect(target: Target) -> socket.socket | None:
    """Connect, and say nothing; None: that failed."""
    try:
        client = socket.create_connection((target.host, target.port), 5)
    except OSError:
        return None
    target.done["silent clients"] += 1
    return client


def silent_clients(target: Target) -> None:
    """Connect without a word, and come back when let go."""
    sockets: list[socket.socket] = []
    while not target.over.wait(0.02):
        with contextlib.suppress(OSError):
            client = socket.create_connection((target.host, target.port), 5)
            client.setblocking(False)
            sockets.append(client)
            target.done["silent clients"] += 1
        if len(sockets) >= SILENT_CLIENTS:
            sockets.pop(random.randrange(len(sockets))).close()
    for client in sockets:
        client.close()


def slow_clients(target: Target) -> None:
    """Send a request a byte at a time, through TLS."""
    context = ssl.create_default_context(cafile=str(target.authority))
    while not target.over.wait(0.1):
        with contextlib.suppress(OSError, ValueError):
            plain = socket.create_connection((target.host, target.port), 5)
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                for byte in b"GET /metrics HTTP/1.1\r\nHost: a\r\n":
                    if target.over.wait(0.5):
                        return
                    client.send(bytes([byte]))
        target.done["slow clients"] += 1


def garbage(target: Target) -> None:
    """Send what is no request, in clear and through TLS."""
    context = ssl.create_default_context(cafile=str(target.authority))
    while not target.over.wait(0.01):
        with contextlib.suppress(OSError, ValueError):
            client = socket.create_connection((target.host, target.port), 5)
            with client:
                if random.random() < 0.5:
                    client = context.wrap_socket(client, server_hostname="localhost")
                client.sendall(random.choice(_GARBAGE))
                client.settimeout(1)
                client.recv(100)
        target.done["garbage"] += 1


def scraper(target: Target) -> None:
    """Scrape without a pause."""
    with target.session() as session:
        while not target.over.is_set():
            try:
                code = session.get(f"{target.url}/metrics", timeout=30).status_code
                target.done[f"scrapes without a pause: {code}"] += 1
            except requests.RequestException:
                target.done["scrapes without a pause: none"] += 1
                target.over.wait(0.1)


def pusher(target: Target) -> None:
    """Push ids that nobody ever saw."""
    with target.session() as session:
        session.headers["Authorization"] = f"Bearer {target.push_token}"
        while not target.over.wait(0.2):
            ids = [str(uuid.uuid4()) for _ in range(PUSHED_AT_ONCE)]
            try:
                code = session.post(
                    f"{target.url}/api/v1/workflows",
                    json={"account": target.account, "workflows": ids},
                    timeout=30,
                ).status_code
                target.done[f"pushes of {PUSHED_AT_ONCE} unknown ids: {code}"] += 1
            except requests.RequestException:
                target.done["pushes: no answer"] += 1


def odd_files(target: Target) -> None:
    """Put what is no file of ids where files of ids are looked for."""
    nested = "[" * 100_000
    aliases = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    odd = target.id_files / "odd.yml"
    turn = 0
    while not target.over.wait(2):
        with contextlib.suppress(OSError):
            odd.unlink()
        match turn % 6:
            case 0:
                os.mkfifo(odd)
            case 1:
                odd.symlink_to("/dev/zero")
            case 2:
                odd.write_text(nested, encoding="utf-8")
            case 3:
                odd.write_text(aliases, encoding="utf-8")
            case 4:
                odd.write_bytes(os.urandom(100_000))
            case 5:
                odd.write_text("\n".join(f"- {uuid.uuid4()}" for _ in range(5)), encoding="utf-8")
        turn += 1
        target.done["odd files"] += 1


def reloader(target: Target) -> None:
    """Ask for a reload."""
    while not target.over.wait(5):
        with contextlib.suppress(ProcessLookupError):
            os.kill(target.pid, signal.SIGHUP)
        target.done["reloads"] += 1


ATTACKS: Final[Sequence[tuple[Callable[[Target], None], int]]] = (
    (silent_clients, 2),
    (slow_clients, 4),
    (garbage, 2),
    (scraper, SCRAPERS),
    (pusher, 1),
    (odd_files, 1),
    (reloader, 1),
)
"""Each, and by how many threads."""


def begin(target: Target) -> list[threading.Thread]:
    """Start them all."""
    threads = [
        threading.Thread(target=attack, args=(target,), daemon=True)
        for attack, count in ATTACKS
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads
