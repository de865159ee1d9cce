"""`--web.systemd-socket`: served on sockets that somebody else has opened."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.programs import EXPORTER, program
from tests.ports import free_port

PATIENCE = 30.0
"""Seconds that a busy machine may take for what is done in a moment."""

ACTIVATE = """\
import os, sys
count, numbers = int(sys.argv[1]), [int(n) for n in sys.argv[2].split(",") if n]
# First out of the way of each other, then to where systemd puts them.
for target in (50, 3):
    for i, number in enumerate(numbers):
        os.dup2(number, target + i)
        os.close(number)
        numbers[i] = target + i
os.environ["LISTEN_FDS"] = str(count)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""
"""What systemd does between its fork and the program, which keeps the id of the process."""


def command(*more: str, folder: Path) -> list[str]:
    return [EXPORTER, "--web.systemd-socket", f"--storage.path={folder / 'data'}", *more]


def environment(**more: str) -> dict[str, str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith(("COMFYCONTROL_", "LISTEN_"))}
    # Nobody is asked: the port is never open.
    service = {"COMFYCONTROL_TOKEN": "cfc_a", "COMFYCONTROL_BASE_URL": "http://127.0.0.1:1"}
    return {**base, **service, **more}


def activated(
    handed: Sequence[socket.socket],
    arguments: Sequence[str],
    *,
    count: int | None = None,
    **more: str,
) -> subprocess.Popen[str]:
    numbers = [sock.fileno() for sock in handed]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            ACTIVATE,
            str(len(handed) if count is None else count),
            ",".join(map(str, numbers)),
            *arguments,
        ],
        pass_fds=numbers,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def listening_on(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")


def url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def test_each_socket_is_served_and_a_restart_turns_nobody_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        handed = [stack.enter_context(listening_on(host)) for host in ("127.0.0.1", "::1")]
        arguments = command(folder=tmp_path)
        for _ in range(2):
            # They wait in the socket from before it starts.
            with ended(activated(handed, arguments)) as process:
                for sock in handed:
                    answer = requests.get(f"{url_of(sock)}/-/healthy", timeout=PATIENCE)
                    assert answer.text == "healthy\n"
                process.terminate()
                _, log = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
            assert f"listening={','.join(url_of(s).removeprefix('http://') for s in handed)}" in log


def test_without_a_socket_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        command(folder=tmp_path),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert re.fullmatch("no socket was handed in: .* along with a socket unit\n", done.stderr)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("count", "more"),
    [
        (1, {"LISTEN_PID": "1"}),  # meant for another process
        (0, {}),
    ],
)
def test_a_socket_that_is_not_for_it_is_left_alone(
    tmp_path: Path, count: int, more: Mapping[str, str]
) -> None:
    with listening_on("127.0.0.1") as sock:
        process = activated([sock], command(folder=tmp_path), count=count, **more)
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert log.startswith("no socket was handed in")


def test_what_is_no_listening_tcp_socket_is_refused(tmp_path: Path) -> None:
    with (
        listening_on("127.0.0.1") as server,
        socket.create_connection(server.getsockname()) as connection,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        for handed, says in (
            ([connection], "socket 3, handed in, does not listen"),
            ([server, udp], "socket 4, handed in, is not of TCP"),
            ([unix], "socket 3, handed in, is not of TCP"),
        ):
            process = activated(handed, command(folder=tmp_path))
            _, log = process.communicate(timeout=PATIENCE)
            assert process.returncode == 2
            assert log.startswith(says)
            assert log.count("\n") == 1
        process = activated([server], command(folder=tmp_path), count=2)
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert log == "file descriptor 4, handed in, is no socket\n"


@pytest.mark.parametrize("before", [[], ["demo"]])
def test_two_ways_to_listen_are_one_too_many(before: list[str]) -> None:
    done = subprocess.run(
        [EXPORTER, *before, "--web.systemd-socket", "--web.listen-address=:0"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "--web.systemd-socket: not allowed together with --web.listen-address" in done.stderr


def first_answer(url: str, process: subprocess.Popen[str]) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return requests.get(url, timeout=PATIENCE).text
        except requests.ConnectionError:
            assert process.poll() is None
            assert time.monotonic() < deadline


def test_systemds_own_activator_starts_it_at_the_first_request(tmp_path: Path) -> None:
    activator = program("systemd-socket-activate")
    port = free_port()
    passed = [f"--setenv={name}" for name in ("COMFYCONTROL_TOKEN", "COMFYCONTROL_BASE_URL")]
    with ended(
        subprocess.Popen(
            [activator, f"--listen=127.0.0.1:{port}", *passed, *command(folder=tmp_path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    ) as process:
        # It becomes the exporter, under the same process id.
        page = first_answer(f"http://127.0.0.1:{port}/metrics", process)
        assert "comfycontrol_exporter_build_info{" in page
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert f"listening=127.0.0.1:{port}" in log
