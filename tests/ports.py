"""Ports for programs that a test starts."""

import random
import socket
from typing import Final

_RANGE: Final = range(15_000, 32_000)
"""Below those that a system gives to who asks for any port, for instance to each connection. A
port of those would be free now, and another's before the program is there."""

_TRIES: Final = 100

_GIVEN: Final[set[int]] = set()
_DICE: Final = random.SystemRandom()  # processes that begin alike draw different ports


def free_port() -> int:
    """A port of this machine that is free now, and that no other call in this process gave.

    Raises:
        RuntimeError: none was found.
    """
    for _ in range(_TRIES):
        port = _DICE.choice(_RANGE)
        if port not in _GIVEN and _is_free(port):
            _GIVEN.add(port)
            return port
    raise RuntimeError("no free port found")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
