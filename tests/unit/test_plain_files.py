"""What a user's path may name, wherever one is read: regular files alone, and bounded."""

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.files.plain import UnreadableError, read_plain

Make = Callable[[Path], object]


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _link_to_pipe(path: Path) -> None:
    os.mkfifo(f"{path}.pipe")
    path.symlink_to(f"{path}.pipe")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _missing(path: Path) -> None:
    path.with_name("none").unlink(missing_ok=True)


SPECIAL: dict[str, tuple[Make, str]] = {
    "pipe": (os.mkfifo, "is a named pipe, not a regular file"),
    "link to a pipe": (
        _link_to_pipe,
        "is a named pipe, not a regular file",
    ),
    "socket": (_socket, "is a socket, not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "is a device, not a regular file"),
    "directory": (Path.mkdir, "is a directory"),
    "loop": (lambda path: path.symlink_to(path), "cannot be read: too many levels of symbolic"),
    "nothing": (_missing, "does not exist"),
    "sparse": (_sparse, "is larger than "),
}

WHERE = {
    "config": "{path}",
    "token": "accounts: [{{name: a, token_file: '{path}', listing: {{}}}}]",
    "push token": (
        "accounts: [{{name: a, token: cfc_a, listing: {{}}, push: {{token_file: '{path}'}}}}]"
    ),
    "ids": "accounts: [{{name: a, token: cfc_a, workflow_files: ['{path}']}}]",
    "web config": "{path}",
    "certificate": "tls_server_config: {{cert_file: '{path}', key_file: '{path}'}}",
}


@pytest.mark.parametrize(("make", "reason"), SPECIAL.values(), ids=SPECIAL)
@pytest.mark.timeout(10)
def test_only_a_regular_file_is_read(make: Make, reason: str, tmp_path: Path) -> None:
    make(tmp_path / "file")
    with pytest.raises(UnreadableError) as caught:
        read_plain(tmp_path / "file", 1000)
    assert caught.value.reason.startswith(reason)
    assert caught.value.is_missing is (reason == "does not exist")


def test_a_file_is_read_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 4096)
    (tmp_path / "link").symlink_to("file")
    read = read_plain(tmp_path / "link", 4096)
    assert read.content == b"x" * 4096
    assert stat.S_ISREG(read.status.st_mode)
    with pytest.raises(UnreadableError, match=r"^is larger than 3 KiB$"):
        read_plain(tmp_path / "file", 3 * 1024)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.timeout(60)
def test_the_checkers_say_so_wherever_it_stands(where: str, tmp_path: Path) -> None:
    for kind, (make, reason) in SPECIAL.items():
        if kind == "nothing" and where == "ids":
            continue  # files may come later: that is told in other words
        place = tmp_path / kind.replace(" ", "-")
        make(place)
        text = WHERE[where].format(path=place)
        file = tmp_path / "config.yml"
        file.write_text(text)
        command = "check-web-config" if where in {"web config", "certificate"} else "check-config"
        began = time.monotonic()
        checked = subprocess.run(
            [sys.executable, "-m", "exporter", command, place if text == str(place) else file],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            timeout=30,
            check=False,
        )
        assert time.monotonic() - began < 20
        assert checked.returncode == (0 if where == "ids" else 1), checked
        assert reason in checked.stdout + checked.stderr
