"""`comfycontrol-exporter health`: asks a running exporter whether it is alive.

For a container's health check, without a shell or curl. It uses only the standard library, so that
each check is cheap.
"""

import ipaddress
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

TIMEOUT_SECONDS: Final = 3.0

_CERTIFICATE_WANTED: Final = (
    "a client certificate is required: give one with --cert, and --key if its key is another file"
)
_ALERTS_WITHOUT_CERTIFICATE: Final = frozenset(
    # The alert of TLS 1.3; and that of TLS 1.2, which has other reasons too.
    {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
)


class HealthCheckError(Exception):
    """The certificate or key cannot be used. The text names the file and the reason."""


class _NoAnswerError(Exception):
    """There was no answer; the text says why."""


def check_health(url: str, cert: Path | None = None, key: Path | None = None) -> tuple[bool, str]:
    """Send one request; return whether the answer was 200, and a line for users.

    If a plain HTTP URL of this machine answers 400, it is tried again over TLS: a TLS port answers
    plain HTTP so, and a container's health check need not know whether TLS is used.

    Args:
        url: the URL that answers 200 if all is well.
        cert: PEM file of the client certificate, if the server requires one.
        key: PEM file of its key; None: it is in the same file.

    Raises:
        HealthCheckError: the certificate or key cannot be used.
    """
    context = _context(url, cert, key)
    is_healthy, text = _asked(url, context, has_certificate=cert is not None)
    parts = urlsplit(url)
    refused = text == f"{url}: 400"
    if refused and parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        secured = urlunsplit(parts._replace(scheme="https"))
        is_healthy, said = _asked(secured, context, has_certificate=cert is not None)
        text = said if is_healthy else f"{text}; {said}"
    return is_healthy, text


def _context(url: str, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """The TLS context for this URL.

    The certificate of a loopback address is not verified: it was issued for another name, and only
    this machine can answer there.
    """
    context = ssl.create_default_context()
    if _is_loopback(urlsplit(url).hostname or ""):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is None:
        return context
    files = str(cert) if key is None else f"{cert} and {key}"
    try:
        # An empty password prevents a prompt at the terminal.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        # The reason is a constant of OpenSSL and contains nothing of the key.
        said = (error.reason or "not PEM").replace("_", " ").lower()
        raise HealthCheckError(f"{files}: no certificate with its key: {said}") from None
    except OSError as error:
        raise HealthCheckError(f"{files}: {error.strerror}") from None
    return context


def _asked(url: str, context: ssl.SSLContext, *, has_certificate: bool) -> tuple[bool, str]:
    try:
        code = _code(url, context)
    except _NoAnswerError as error:
        return False, f"{url}: no answer: {error}"
    except ssl.SSLError as error:
        reason = error.reason or "TLS failed"
        if not has_certificate and reason in _ALERTS_WITHOUT_CERTIFICATE:
            return False, f"{url}: no answer: {_CERTIFICATE_WANTED}"
        return False, f"{url}: no answer: TLS: {reason.replace('_', ' ').lower()}"
    return code == 200, f"{url}: {code}"


def _code(url: str, context: ssl.SSLContext) -> int:
    """The status of the answer; raises `_NoAnswerError`, or `ssl.SSLError` if TLS fails."""
    opener = urllib.request.build_opener(
        # Without a proxy: proxies are for requests to the outside.
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
    )
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            code: int = answer.status
            return code
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            raise error.reason from None
        raise _NoAnswerError(str(error.reason)) from None
    except ssl.SSLError:
        raise
    except (OSError, HTTPException) as error:
        raise _NoAnswerError(str(error) or type(error).__name__) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
