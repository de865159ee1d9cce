"""Connections that another thread can end in any phase, at any moment.

Neither ``response.close()`` (it waits for the reader) nor ``socket.close()`` (the reader keeps
waiting) ends a call from outside; ``shutdown`` on its socket does, at once. So each connection here
always tells its call which socket it uses: while it connects, through a proxy's tunnel and the TLS
handshake, while it waits for headers and reads, and when it comes out of the pool again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import requests.adapters
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.connection import allowed_gai_family
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.ssltransport import SSLTransport
from urllib3.util.wait import wait_for_write

from exporter.files.plain import UnreadableError, read_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LARGEST_BUNDLE = 16 * 1024 * 1024
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


class TrustError(ValueError):
    """The authorities that the environment names cannot be read.

    The text is for a person: the variable, the path and what is wrong.
    """


class CannotBindError(ValueError):
    """The local address to ask from cannot be used.

    The text is for a person: the key, the address, what is wrong and what would be right.
    """


def check_bind(address: str) -> None:
    """See to it that connections can be made from this local IP address.

    Raises:
        CannotBindError: this machine does not let us.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            why = (
                "this machine has no such address. Write one that it has (`ip address` shows them)"
            )
        else:
            why = f"{(error.strerror or 'error').lower()}. Write one that this process may use"
        raise CannotBindError(
            f"egress.bind: cannot ask from {address}: {why}, or leave it out for the one that the "
            "system chooses"
        ) from None


# Held for a few system calls that do not block: the one who shuts a socket down knows by it that
# the descriptor is still that socket's, and that the socket still works for the call that is meant.
# Re-entrant, for a collection within it may close sockets that nobody holds any longer.
_guard = threading.RLock()


class Call:
    """One call to the service, which any thread can abort.

    May serve for one call after another, but never for two at once. Once aborted it stays so, and
    further calls with it end before they begin.
    """

    __slots__ = ("__weakref__", "_aborted", "_expired", "_socket", "due", "ticket")

    def __init__(self) -> None:
        self.due: float | None = None
        self.ticket = 0
        self._aborted = False
        self._expired = False
        self._socket: _InterruptibleSocket | None = None

    @property
    def aborted(self) -> bool:
        """Whether it has been aborted."""
        return self._aborted

    @property
    def expired(self) -> bool:
        """Whether its deadline has ended it."""
        return self._expired

    @property
    def socket(self) -> socket.socket | None:
        """The socket that works for it now."""
        return self._socket

    def abort(self) -> None:
        """End the call, from any thread, at any moment. Never blocks; again is nothing.

        Anyone who waits in it comes back at once, unless he waits for the resolver of names: no
        system lets that be interrupted, and he comes back right after it.
        """
        with _guard:
            self._aborted = True
            self._interrupt()

    def expire(self, now: float) -> None:
        """End the call because its deadline has come, unless it was put off or lifted."""
        with _guard:
            if self.due is None or self.due > now:
                return
            self._expired = True
            self._interrupt()

    def begin(self) -> None:
        """Begin the next use of this call."""
        with _guard:
            self._expired = False
            self.due = None

    def finish(self) -> None:
        """End this use: what comes later finds nothing to end."""
        with _guard:
            self.due = None
            if self._socket is not None and self._socket.call is self:
                self._socket.call = None
            self._socket = None

    def adopt(self, sock: _InterruptibleSocket) -> bool:
        """Take a socket as the one that works for this call now.

        Returns:
            Whether the call still goes on; where it does not, the socket is not to be used.
        """
        with _guard:
            if self._aborted or self._expired:
                return False
            self._socket = sock
            sock.call = self
            return True

    def _interrupt(self) -> None:
        # A socket that went back to the pool may be at work for another call already.
        if self._socket is not None and self._socket.call is self:
            self._socket.interrupt()


class _InterruptibleSocket(socket.socket):
    """A socket that can be shut down while another thread uses it, or closes it."""

    call: Call | None = None

    def interrupt(self) -> None:
        """Wake anyone who waits on it; he finds it at its end. To be called under the guard."""
        # Not `self.shutdown`: that of a TLS socket also drops the TLS layer, and a reader would
        # take what is left for plain text. An error means that it is closed.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self, socket.SHUT_RDWR)

    def close(self) -> None:
        with _guard:
            super().close()

    def detach(self) -> int:
        with _guard:
            return super().detach()


class _InterruptibleTLSSocket(_InterruptibleSocket, ssl.SSLSocket):
    """The same over TLS, from before its handshake on."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        call = _current_call()
        if call is not None and not call.adopt(self):
            raise ConnectionAbortedError("the call is over")
        super().do_handshake(block)


_working = threading.local()


def _current_call() -> Call | None:
    """Return the call for which this thread works now."""
    return cast("Call | None", getattr(_working, "call", None))


class _InterruptibleConnection(urllib3.connection.HTTPConnection):
    """What the two kinds of connection have in common."""

    def _new_conn(self) -> socket.socket:
        """Connect. Unlike the inherited method, hands the socket to the call before it connects."""
        # The errors are those of the inherited method, which urllib3 builds upon.
        try:
            addresses = socket.getaddrinfo(
                self._dns_host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM
            )
        except (socket.gaierror, UnicodeError) as error:
            failure = error if isinstance(error, socket.gaierror) else socket.gaierror()
            raise urllib3.exceptions.NameResolutionError(self.host, self, failure) from error
        last_error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                sock = self._connect_to(family, kind, protocol, address)
            except ConnectionAbortedError as error:
                last_error = error
                break
            except OSError as error:
                last_error = error
            else:
                sys.audit("http.client.connect", self, self.host, self.port)
                return sock
        if isinstance(last_error, TimeoutError):
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from last_error
        raise urllib3.exceptions.NewConnectionError(self, "not connected") from last_error

    def _connect_to(
        self,
        family: int,
        kind: int,
        protocol: int,
        address: Any,  # noqa: ANN401 - as the resolver gave it; its shape hangs on the family
    ) -> socket.socket:
        """Connect to one address.

        Raises:
            ConnectionAbortedError: the call is over.
            TimeoutError: the address did not answer in time.
            OSError: it refused, or cannot be reached.
        """
        sock = _InterruptibleSocket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            if self.source_address:
                sock.bind(self.source_address)
            self._reach(sock, address)
            sock.settimeout(self.timeout)
        except BaseException:
            sock.close()
            raise
        return sock

    def _reach(self, sock: _InterruptibleSocket, address: Any) -> None:  # noqa: ANN401 - as above
        call = _current_call()
        sock.setblocking(False)
        with _guard:
            # Adopting and setting out must not be parted: a socket that has not set out yet cannot
            # be shut down, and an abort in between would be lost.
            if call is not None and not call.adopt(sock):
                raise ConnectionAbortedError("the call is over")
            refusal = sock.connect_ex(address)
        if refusal in _ON_ITS_WAY:
            if not wait_for_write(sock, self.timeout):
                raise TimeoutError("timed out")
            refusal = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if call is not None and (call.aborted or call.expired):
            raise ConnectionAbortedError("the call is over")
        if refusal:
            raise OSError(refusal, os.strerror(refusal))

    @property
    def is_connected(self) -> bool:
        """Whether a connection out of the pool can still be used.

        urllib3 asks this of every connection that it takes out of its pool. So the call takes it
        over here, before all else: if the call that had it last was aborted a moment ago, that
        shows below, and from now on that call has no power over it.
        """
        call = _current_call()
        sock: object = self.sock
        while isinstance(sock, SSLTransport):  # TLS to the service within TLS to a proxy
            sock = sock.socket
        if call is not None and isinstance(sock, _InterruptibleSocket) and not call.adopt(sock):
            return False
        return super().is_connected


class _PlainConnection(_InterruptibleConnection):
    pass


class _TLSConnection(_InterruptibleConnection, urllib3.connection.HTTPSConnection):
    pass


# What `connect_ex` says of a connection that is still being made.
_ON_ITS_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


class _PlainPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TLSPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _PlainPool, "https": _TLSPool}


def make_tls_context(environment: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Make the TLS context that all connections of a client share.

    The authorities that it trusts are those of the first of these that is set:
    ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` (each a file or a directory), ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR`` together; else the bundle that comes with ``requests``. Building one costs some
    25 ms, which is why no connection does it by itself.

    Raises:
        TrustError: what the environment names cannot be read as certificates.
    """
    environment = os.environ if environment is None else environment
    context = create_urllib3_context()
    context.sslsocket_class = _InterruptibleTLSSocket
    for names in (("REQUESTS_CA_BUNDLE",), ("CURL_CA_BUNDLE",), ("SSL_CERT_FILE", "SSL_CERT_DIR")):
        paths = {name: environment[name] for name in names if environment.get(name)}
        if paths:
            for name, path in paths.items():
                _trust(context, name, path)
            return context
    context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    return context


def _trust(context: ssl.SSLContext, name: str, path: str) -> None:
    try:
        if name == "SSL_CERT_DIR":
            for folder in filter(None, path.split(os.pathsep)):
                _trust_folder(context, folder)
        elif os.path.isdir(path):  # noqa: PTH112 - the path goes on to OpenSSL as text
            _trust_folder(context, path)
        else:
            _trust_file(context, path)
    except UnreadableError as error:
        # The working directory of the process decides where a relative path leads.
        whole = os.path.abspath(path) if os.pathsep not in path else path  # noqa: PTH100 - as above
        reason = f"{name} names {whole!r}, which {error.reason}"
    else:
        return
    raise TrustError(f"{reason}. Name a PEM file with the certificates of the authorities.")


def _trust_file(context: ssl.SSLContext, path: str) -> None:
    content = read_plain(path, _LARGEST_BUNDLE).content
    try:
        context.load_verify_locations(cafile=path)
    except OSError:  # also `ssl.SSLError`
        has_any = b"-----BEGIN CERTIFICATE-----" in content
        raise UnreadableError(
            "holds a certificate that cannot be read"
            if has_any
            else "holds no certificate in PEM form"
        ) from None


def _trust_folder(context: ssl.SSLContext, path: str) -> None:
    try:
        names = os.listdir(path)  # noqa: PTH208 - as above
    except OSError as error:
        raise UnreadableError(f"cannot be read: {(error.strerror or 'error').lower()}") from None
    if not any(_HASHED.fullmatch(name) for name in names):
        raise UnreadableError(
            "is a directory without certificates that are named by their hash (`openssl rehash` "
            "names them so)"
        )
    context.load_verify_locations(capath=path)


class Adapter(requests.adapters.HTTPAdapter):
    """The adapter of `requests` for connections that can be interrupted, over one TLS context."""

    def __init__(
        self, tls_context: ssl.SSLContext, pool_size: int, bind: str | None = None
    ) -> None:
        """Start without connections.

        Args:
            tls_context: for all connections, to the service as to a proxy.
            pool_size: how many connections are kept for further use, per server.
            bind: the local IP address of all connections; None: the one that the system chooses.
        """
        self._source: dict[str, Any] = {} if bind is None else {"source_address": (bind, 0)}
        self._tls_context = tls_context
        self._proxy_lock = threading.Lock()
        super().__init__(pool_maxsize=pool_size, max_retries=0, pool_block=False)

    @contextlib.contextmanager
    def working_for(self, call: Call) -> Iterator[None]:
        """Have what this thread asks in the meantime work for a call."""
        _working.call = call
        try:
            yield
        finally:
            _working.call = None

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - as inherited
        **pool_kwargs: Any,  # noqa: ANN401 - as inherited
    ) -> None:
        """Make the pools for direct connections."""
        super().init_poolmanager(
            connections,
            maxsize,
            block,
            ssl_context=self._tls_context,
            **self._source,
            **pool_kwargs,
        )
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401
        """Make the pools for connections through a proxy, or return those that there are."""
        # Under a lock, for others can use the manager as soon as the inherited method knows it.
        with self._proxy_lock:
            manager = super().proxy_manager_for(
                proxy,
                ssl_context=self._tls_context,
                proxy_ssl_context=self._tls_context,
                **self._source,
                **proxy_kwargs,
            )
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401
        """Do nothing: the shared context verifies.

        The inherited method would set a path of certificates on the pool, to be read into the
        context again for each connection.
        """
