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
"""The default for the largest number of clients at a time."""

BACKLOG: Final = 1024
"""How many connections may wait to be accepted: many of them must not make a scrape fail."""

_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""The errors of a kernel that was started without IPv6."""


_FIRST_HANDED_IN: Final = 3
"""The first file descriptor that systemd passes: lower ones are the standard streams."""

_HANDED_IN: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
"""Environment variables by which systemd announces passed sockets. They are only for this process:
see sd_listen_fds(3)."""


class ListenError(Exception):
    """The address is in use, not local or not allowed, or no usable socket was passed.

    The message is one line for users.
    """


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An address to listen on. An empty host means all addresses of the machine, IPv6 and IPv4."""

    host: str
    port: int

    def __str__(self) -> str:
        """The address as written on the command line."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Read `:10871`, `127.0.0.1:10871` or `[::1]:10871`.

    Raises:
        ValueError: the text has another form; the message says which forms are valid.
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
        # The reason is taken from the error number, because the error's text repeats the address.
        reason = os.strerror(error.errno) if error.errno else str(error)
        is_taken = error.errno == errno.EADDRINUSE
        hint = "; name another with --web.listen-address" if is_taken else ""
        raise ListenError(f"cannot listen on {address}: {reason}{hint}") from error


def handed_in(environ: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    """Take over the sockets that systemd has opened for this process.

    Args:
        environ: the environment variables. Those from systemd are removed, so that programs started
            by this one do not use them.

    Raises:
        ListenError: no socket was passed, or one that cannot be used here.
    """
    said = {name: environ.pop(name, "") for name in _HANDED_IN}
    count = said["LISTEN_FDS"]
    # If a shell or a wrapper starts the exporter, it is not the process for which the sockets were
    # meant.
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
    """Open a socket for each address, or none at all.

    Raises:
        ListenError: with the first address that cannot be used, and the reason.
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
    # The protocol is given explicitly: asyncio disables Nagle's algorithm only if the socket says
    # TCP. With Nagle's algorithm, an answer in two writes waits for the client's delayed
    # acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "All addresses" includes IPv4, as in other Prometheus programs.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not _is_every(where[0]))
        sock.bind(where)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
