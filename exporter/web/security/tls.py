"""TLS: from the configuration to the context of the listening socket."""

import ipaddress
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Self

from exporter.web.security import go_names
from exporter.web.security.models import TlsServer
from exporter.web.security.settings import Tls

_NOT_TLS_SAID: Final = b"This port speaks HTTPS, and the request was plain HTTP.\n"
_NOT_TLS: Final = (
    b"HTTP/1.0 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"%b" % (len(_NOT_TLS_SAID), _NOT_TLS_SAID)
)


class ServeError(Exception):
    """OpenSSL does not accept the certificate and the key.

    Attributes:
        key: The configuration key of the one that the error is about.
        reason: What is wrong, as the rest of a sentence that begins with the key.
        hint: How to fix it, in full sentences.
    """

    def __init__(self, key: str, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason
        self.hint = hint


def make_tls(config: TlsServer) -> Tls:
    """Create the TLS settings.

    Raises:
        ServeError: key and certificate do not match, or are too weak.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = Handshake
    suites = [
        go_names.CIPHER_SUITES[name]
        for name in config.cipher_suites or go_names.DEFAULT_CIPHER_SUITES
        if name in go_names.CIPHER_SUITES
    ]
    lowest = go_names.VERSIONS[config.min_version]
    if suites:
        context.set_ciphers(":".join(suites))
    else:
        # Only TLS 1.3 suites are named, so TLS 1.2 has none.
        lowest = ssl.TLSVersion.TLSv1_3
    context.minimum_version = lowest
    context.maximum_version = go_names.VERSIONS[config.max_version]
    # Repeated handshakes would be cheap for a client, but not for us.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if config.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    if config.curve_preferences:
        context.set_ecdh_curve(go_names.CURVES[go_names.offered_curve(config.curve_preferences)])
    _load_certificate(context, config)
    _verify_clients(context, config)
    sans = config.client_allowed_sans
    return Tls(context, None if sans is None else frozenset(_as_compared(san) for san in sans))


def _load_certificate(context: ssl.SSLContext, config: TlsServer) -> None:
    content = config.certificates + config.private_key.get_secret_value()
    reason = None
    try:
        with _as_file(content) as path:
            # This must never prompt for a password at a terminal; keys with a password were refused
            # before.
            context.load_cert_chain(path, password="")
    except ssl.SSLError as error:
        reason = error.reason or ""
    if reason is None:
        return
    key = "key" if config.key_file is None else "key_file"
    certificate = "cert" if config.cert_file is None else "cert_file"
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        raise ServeError(
            key,
            f"is not the key of the certificate in `{certificate}`",
            "Name the two that were made together; the server's own certificate comes first "
            "in its file, before those of authorities.",
        )
    if reason.endswith(("TOO_SMALL", "TOO_WEAK")):
        raise ServeError(
            certificate,
            "is too weak for OpenSSL",
            "Make one with a key of 2048 bits RSA or 256 bits EC at least, signed with SHA-256.",
        )
    # The reason is a constant of OpenSSL, such as UNSUPPORTED, and contains nothing of the key.
    says = reason and f", which says {reason.replace('_', ' ').lower()}"
    raise ServeError(
        key, f"is not taken by OpenSSL{says}", "Look at it with `openssl pkey -noout -check`."
    )


def _verify_clients(context: ssl.SSLContext, config: TlsServer) -> None:
    context.verify_mode = go_names.CLIENT_AUTH_TYPES[config.client_auth_type]
    if config.authority is None or context.verify_mode == ssl.CERT_NONE:
        return
    context.load_verify_locations(cadata=config.authority.decode())
    # As in Go, each of these certificates is trusted, whether it is a root or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session would not be verified again, so each connection must show its certificate.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Python's OpenSSL accepts certificate and key only by path, but ours may not be in files.

    If the system has memory files with a path, nothing is written to disk.
    """
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


class Handshake(ssl.SSLObject):
    """TLS of one connection, with additions to OpenSSL's handshake."""

    allowed_sans: frozenset[str] | None = None
    outgoing: ssl.MemoryBIO | None = None
    _answered = False

    def do_handshake(self) -> None:
        """Continue the handshake; a client that is refused or does not use TLS gets an answer."""
        if self._answered:
            raise ssl.SSLError("no TLS, or none that will do, and told so")
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if self.outgoing is None:
                raise
            if error.reason == "HTTP_REQUEST":
                self.outgoing.read()
                self.outgoing.write(_NOT_TLS)
            elif not self.outgoing.pending:
                raise
            # The buffer contains that answer, or OpenSSL's alert, which asyncio would drop. The
            # error "wants to read" makes asyncio send it; the next event ends the connection.
            self._answered = True
            raise ssl.SSLWantReadError from None
        if self.allowed_sans is not None and self.allowed_sans.isdisjoint(self._sans()):
            raise ssl.SSLCertVerificationError("no allowed name in the client's certificate")

    def _sans(self) -> set[str]:
        certificate = self.getpeercert() or {}
        names = certificate.get("subjectAltName", ())
        assert isinstance(names, tuple)  # noqa: S101 - as documented; the stub cannot say it
        return {
            _as_compared(str(name[1]).strip())
            for name in names
            if name[0] in ("DNS", "email", "IP Address", "URI")
        }


def _as_compared(san: str) -> str:
    """Normalise a name for comparison: an IPv6 address can be written in many ways."""
    try:
        return str(ipaddress.ip_address(san))
    except ValueError:
        return san


class RenewedContext(ssl.SSLContext):
    """The context of the listening socket: each handshake uses the TLS settings of that moment.

    `sni_callback` could change only the certificate, not the versions and authorities.
    """

    def __new__(cls, current: Callable[[], Tls]) -> Self:
        """Python's SSL contexts are made by `__new__`."""
        del current
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, current: Callable[[], Tls]) -> None:
        self._current = current

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as it is in the base class
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a handshake; asyncio calls this once for each connection."""
        tls = self._current()
        begun = tls.context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(begun, Handshake):
            begun.allowed_sans = tls.allowed_sans
            begun.outgoing = outgoing
        return begun
