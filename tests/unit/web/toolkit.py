"""Web configurations, and what a program with Prometheus' exporter-toolkit in it says of them."""

import json
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from exporter.web.security.loading import read

RECORDED: Final = Path(__file__).parent / "testdata" / "toolkit.yml"
REAL: Final = os.environ.get("NODE_EXPORTER")
"""A real program with the toolkit, where there is one."""

_PEM: Final = re.compile(r"PEM\(([a-z.]+)\)")
_ADDRESS: Final = re.compile(r"msg=\"Listening on\" address=(?P<host>127\.0\.0\.1):(?P<port>\d+)")


@dataclass(frozen=True, slots=True)
class Configuration:
    """One of the table.

    Attributes:
        text: The file; `PEM(name)` stands for the content of that file, in quotes.
        toolkit: Whether the toolkit takes it.
        why: Where ours says otherwise: the row of docs/security.md that has the reason.
    """

    name: str
    text: str
    toolkit: bool
    why: str = ""

    @property
    def ours(self) -> bool:
        """Whether ours must take it."""
        return self.toolkit != bool(self.why)


def recorded() -> list[Configuration]:
    """The table."""
    return [
        Configuration(c["name"], c["config"], c["toolkit"] == "taken", c.get("why", ""))
        for c in yaml.safe_load(RECORDED.read_text("utf-8"))["configurations"]
    ]


def write(text: str, folder: Path) -> Path:
    """The file, beside the certificates that it names."""
    file = folder / "of-others.yml"
    filled = _PEM.sub(lambda pem: json.dumps((folder / pem[1]).read_text()), text)
    file.write_bytes(filled.encode())
    return file


def ours_takes(file: Path) -> bool:
    """Whether `check-web-config` would."""
    return read(file).security is not None


def toolkit_takes(program: str, file: Path) -> bool:
    """Whether the real one serves with it, or ends."""
    with subprocess.Popen(
        [
            program,
            f"--web.config.file={file}",
            "--web.listen-address=127.0.0.1:0",
            "--collector.disable-defaults",
            "--web.disable-exporter-metrics",
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if address := _ADDRESS.search(line):
                    return _is_served(address["host"], int(address["port"]))
        finally:
            process.kill()
    raise AssertionError("it never listened")


def _is_served(host: str, port: int) -> bool:
    # It listens before it has looked into the file: only an answer tells. With TLS it is a 400.
    try:
        with socket.create_connection((host, port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(client.recv(1))
    except ConnectionError:
        return False
