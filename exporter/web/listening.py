"""The sockets of the web side: opened, or taken from systemd, before anything else starts."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

MOST_CLIENTS: Final = 512
"""Clients at a time, where nothing else is said."""

BACKLOG: Final = 1024
"""Connections that wait to be taken in: a flood of them must not make a scrape try again."""

_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a kernel says that was started without IPv6."""


_FIRST_HANDED_IN: Final = 3
"""The lowest file descriptor that systemd hands in: those below are the standard streams."""

_HANDED_IN: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
"""Variables by which systemd says so. They are for this process alone: see sd_listen_fds(3)."""


class ListenError(Exception):
    """The address is in use, not ours or not allowed, or no socket of use was handed in.

    The text is one line for a person.
    """


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen. An empty host is every address of the machine, IPv6 and IPv4."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Read `:10871`, `127.0.0.1:10871` or `[::1]:10871`.

    Raises:
        ValueError: it is none of these; the text says what is right.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address goes in brackets, as in [::1]:10871")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, as in :10871 or 127.0.0.1:10871")
    return ListenAddress(host, int(port))


def listen(address: ListenAddress) -> socket.socket:
    """Open the socket.

    Raises:
        ListenError: with the reason.
    """
    try:
        if address.host:
            found = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, _, _, _, where = found[0]
            return _bound(family, where)
        if socket.has_dualstack_ipv6():
            try:
                return _bound(socket.AF_INET6, ("", address.port))
            except OSError as error:
                if error.errno not in _NO_IPV6:
                    raise
        return _bound(socket.AF_INET, ("", address.port))
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {address}: the host is not known") from error
    except OSError as error:
        # By the number: the text that comes along names the address once more.
        reason = os.strerror(error.errno) if error.errno else str(error)
        is_taken = error.errno == errno.EADDRINUSE
        remedy = "; name another with --web.listen-address" if is_taken else ""
        raise ListenError(f"cannot listen on {address}: {reason}{remedy}") from error


def handed_in(environ: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    """Take over the sockets that systemd has opened for this process.

    Args:
        environ: where systemd says so. What it says is taken out, so that no program that this one
            starts believes that it is meant.

    Raises:
        ListenError: none was handed in, or one that is of no use here.
    """
    said = {name: environ.pop(name, "") for name in _HANDED_IN}
    count = said["LISTEN_FDS"]
    # A service that a shell or a wrapper starts is another process than the one that was meant.
    if said["LISTEN_PID"] != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        count = "0"
    last = _FIRST_HANDED_IN + int(count)
    sockets = tuple(_taken_over(number) for number in range(_FIRST_HANDED_IN, last))
    if not sockets:
        raise ListenError(
            "no socket was handed in: with --web.systemd-socket the exporter is started by systemd "
            "along with a socket unit"
        )
    return sockets


def _taken_over(number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        raise ListenError(f"file descriptor {number}, handed in, is no socket") from error
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        reason = "is not of TCP: ListenStream= with a port is what serves HTTP"
    elif not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        reason = "does not listen: the socket unit needs Accept=no, as is the default"
    else:
        sock.set_inheritable(False)
        return sock
    sock.close()
    raise ListenError(f"socket {number}, handed in, {reason}")


def listen_on(addresses: Iterable[ListenAddress]) -> tuple[socket.socket, ...]:
    """Open a socket for each, or none at all.

    Raises:
        ListenError: with the first that cannot be read, and the reason.
    """
    with ExitStack() as opened:
        sockets = tuple(opened.enter_context(listen(address)) for address in addresses)
        opened.pop_all()
    return sockets


def _is_every(host: object) -> bool:
    try:
        return not host or ipaddress.ip_address(str(host).partition("%")[0]).is_unspecified
    except ValueError:
        return False


def _bound(family: socket.AddressFamily | int, where: tuple[object, ...]) -> socket.socket:
    # The protocol is named: asyncio turns Nagle's algorithm off only where it reads TCP there, and
    # with it on an answer in two writes waits for the client's delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Every address is those of IPv4 as well, as other programs of Prometheus have it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not _is_every(where[0]))
        sock.bind(where)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
