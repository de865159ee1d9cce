"""Connections that another thread can end in any phase, at any moment.

Another thread cannot end a call with ``response.close()`` (it waits for the reader) or
``socket.close()`` (the reader keeps waiting), but ``shutdown`` on the socket ends it at once. So
each connection here always tells its call which socket it uses: while it connects, during a proxy's
tunnel and the TLS handshake, while it waits for headers and reads, and when it is taken from the
pool again.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
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
    """The certificate authorities that the environment names cannot be read.

    The message is for users: the variable, the path and what is wrong.
    """


class CannotBindError(ValueError):
    """The configured local address cannot be used.

    The message is for users: the key, the address, what is wrong and what would be right.
    """


def check_bind(address: str) -> None:
    """Check that connections can be made from this local IP address.

    Raises:
        CannotBindError: the system does not allow it.
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


# Held for a few system calls that do not block. With it, the thread that shuts a socket down knows
# that the descriptor still belongs to that socket, and that the socket still works for that call.
# The lock is re-entrant, because garbage collection while it is held may close unreferenced
# sockets.
_guard = threading.RLock()


class Call:
    """One call to the service, which any thread can abort.

    It can be used for several calls in sequence, but never for two at once. After an abort it stays
    aborted, and further calls with it end before they begin.
    """

    __slots__ = ("__weakref__", "_aborted", "_expired", "_socket", "due", "target", "ticket")

    def __init__(self, target: str | None = None) -> None:
        """Begin.

        Args:
            target: the URL to which the service has redirected this request; None: its own one.
        """
        self.target = target
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
        """Whether the call was ended by its deadline."""
        return self._expired

    @property
    def socket(self) -> socket.socket | None:
        """The socket that the call uses now; None: it uses none."""
        return self._socket

    def abort(self) -> None:
        """End the call, from any thread, at any moment.

        Never blocks; calling it again does nothing. A thread that waits in the call returns at
        once, unless it waits for name resolution: that cannot be interrupted, and the thread
        returns right after it.
        """
        with _guard:
            self._aborted = True
            self._interrupt()

    def expire(self, now: float) -> None:
        """End the call because its deadline has come, unless the deadline was moved or removed."""
        with _guard:
            if self.due is None or self.due > now:
                return
            self._expired = True
            self._interrupt()

    def begin(self) -> None:
        """Begin the next request with this call."""
        with _guard:
            self._expired = False
            self.due = None

    def finish(self) -> None:
        """End this request: a later abort or deadline finds nothing to end."""
        with _guard:
            self.due = None
            if self._socket is not None and self._socket.call is self:
                self._socket.call = None
            self._socket = None

    def adopt(self, sock: _InterruptibleSocket) -> bool:
        """Set the socket that this call uses now.

        Returns:
            Whether the call still continues; if not, the socket must not be used.
        """
        with _guard:
            if self._aborted or self._expired:
                return False
            self._socket = sock
            sock.call = self
            return True

    def _interrupt(self) -> None:
        # A socket that went back to the pool may already be used by another call.
        if self._socket is not None and self._socket.call is self:
            self._socket.interrupt()


class _InterruptibleSocket(socket.socket):
    """A socket that can be shut down while another thread uses or closes it."""

    call: Call | None = None

    def interrupt(self) -> None:
        """Wake a thread that waits for this socket; it reads the end of data.

        Call it under the guard.
        """
        # `self.shutdown` is not used: on a TLS socket it also removes the TLS layer, and a reader
        # would treat the remaining bytes as plain text. An error means that the socket is closed.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self, socket.SHUT_RDWR)

    def close(self) -> None:
        with _guard:
            super().close()

    def detach(self) -> int:
        with _guard:
            return super().detach()


class _InterruptibleTLSSocket(_InterruptibleSocket, ssl.SSLSocket):
    """The same for TLS, from before the handshake."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        call = _current_call()
        if call is not None and not call.adopt(self):
            raise ConnectionAbortedError("the call is over")
        super().do_handshake(block)


_working = threading.local()


def _current_call() -> Call | None:
    """Return the call for which this thread works now."""
    return cast("Call | None", getattr(_working, "call", None))


class _FinalResponse(http.client.HTTPResponse):
    """Skips interim answers such as `103 Early Hints`, as RFC 9110, 15.2 demands.

    The inherited class skips `100 Continue` only.
    """

    def begin(self) -> None:
        super().begin()
        while 100 < self.status < 200 and self.status != http.client.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment]
            super().begin()  # without headers, it begins again


class _InterruptibleConnection(urllib3.connection.HTTPConnection):
    """The common part of the two kinds of connection."""

    response_class = _FinalResponse

    def _new_conn(self) -> socket.socket:
        """Connect.

        Unlike the inherited method, it gives the socket to the call before connecting.
        """
        # It raises the same errors as the inherited method, because urllib3 relies on them.
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
            ConnectionAbortedError: the call was aborted.
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
            # Adopting the socket and starting to connect must happen under one lock: a socket that
            # has not started to connect cannot be shut down, and an abort in between would be lost.
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
        """Whether a connection from the pool can still be used.

        urllib3 calls this for every connection that it takes from its pool. So the call adopts it
        here, first of all: if the previous call was aborted a moment ago, the check below shows it,
        and from now on that call can no longer end this connection.
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


# The results of `connect_ex` for a connection that is still being established.
_ON_ITS_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


class _EmptyPool(urllib3.connectionpool.HTTPConnectionPool):
    """A pool that begins empty.

    The inherited one begins with a placeholder for each connection that it may hold, here some
    10,000, which takes 10 ms and more at the first request of a process and again when it closes
    the pool. Only a pool that makes requests wait for a connection needs them; this one does not.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        maxsize: int = 1,
        **options: Any,  # noqa: ANN401 - as inherited
    ) -> None:
        super().__init__(host, port, maxsize=0, **options)
        if self.pool is not None:
            self.pool.maxsize = maxsize


class _PlainPool(_EmptyPool):
    ConnectionCls = _PlainConnection


class _TLSPool(_EmptyPool, urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _PlainPool, "https": _TLSPool}


def make_tls_context(environment: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Create the TLS context that all connections of a client share.

    It trusts the authorities named by the first of these variables that is set:
    ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` (each a file or a directory), ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR`` together; otherwise the bundle that comes with ``requests``. Creating a context
    takes about 25 ms, so connections do not create their own.

    Raises:
        TrustError: the files that the environment names cannot be read as certificates.
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
        # A relative path starts at the working directory of the process.
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
            tls_context: the context of all connections, to the service and to a proxy.
            pool_size: how many connections are kept in the pool, per server.
            bind: the local IP address of all connections; None: the system chooses one.
        """
        self._source: dict[str, Any] = {} if bind is None else {"source_address": (bind, 0)}
        self._tls_context = tls_context
        self._proxy_lock = threading.Lock()
        super().__init__(pool_maxsize=pool_size, max_retries=0, pool_block=False)

    @contextlib.contextmanager
    def working_for(self, call: Call) -> Iterator[None]:
        """While inside, all requests of this thread belong to this call."""
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
        """Create the pools for direct connections."""
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
        """Create the pools for connections through a proxy, or return existing ones."""
        # A lock is needed, because other threads can use the manager as soon as the inherited
        # method has stored it.
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

        The inherited method would set a certificate path on the pool, which would be loaded into
        the context again for each connection.
        """
