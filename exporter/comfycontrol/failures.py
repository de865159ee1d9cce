"""Describes errors below HTTP in our own words: errors of libraries contain URLs and headers."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
"""The exceptions that sending a request and reading its answer can raise.

After one of these, do not continue reading: the next read would look like a clean end.
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no complete answer arrived.

    Attributes:
        reason: one of those that ``UnreachableError`` lists.
        text: a phrase for a log.
    """

    reason: str
    text: str


# The most specific kinds come first: a refused connection is also a broken one.
_KINDS: tuple[tuple[tuple[type[BaseException], ...], str, str], ...] = (
    (
        (requests.exceptions.InvalidSchema,),
        "proxy",
        "the environment names a proxy of a kind that is not supported",
    ),
    (
        (requests.exceptions.InvalidProxyURL,),
        "proxy",
        "the environment names a proxy by something that is no URL",
    ),
    (
        (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError),
        "proxy",
        "the proxy could not be used",
    ),
    (
        (ssl.SSLError, urllib3.exceptions.SSLError),
        "tls",
        "no TLS connection could be made, or it broke",
    ),
    (
        (socket.gaierror, urllib3.exceptions.NameResolutionError),
        "dns",
        "the name of the host could not be resolved",
    ),
    (
        (urllib3.exceptions.NewConnectionError,),
        "connect",
        "no connection could be made",
    ),
    (
        (urllib3.exceptions.ConnectTimeoutError,),
        "timeout",
        "connecting took too long",
    ),
    (
        (TimeoutError, urllib3.exceptions.ReadTimeoutError),
        "timeout",
        "nothing arrived for too long",
    ),
    (
        (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError),
        "broken",
        "the connection broke",
    ),
)

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b", re.ASCII)


def describe_failure(error: BaseException) -> Failure:
    """Say what an error of `requests` or `urllib3` means. Nothing of its text is repeated."""
    errors = list(_walk(error))
    for one in errors:
        # Python's error for a refused tunnel has only a text, and parts of it come from the proxy.
        if type(one) is OSError and (match := _TUNNEL.match(str(one))):
            return Failure("proxy", f"the proxy refused a tunnel with status {match[1]}")
        if isinstance(one, ssl.SSLCertVerificationError):
            # This text comes from OpenSSL itself.
            return Failure("tls", f"the certificate cannot be verified: {one.verify_message}")
    for kinds, reason, text in _KINDS:
        if any(isinstance(one, kinds) for one in errors):
            return Failure(reason, text + _system_reason(errors))
    return Failure("protocol", "what arrived was not HTTP as it should be")


def _walk(error: BaseException) -> Iterator[BaseException]:
    """Go through an error and all errors that it contains or that caused it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting.extend(item for item in inner if isinstance(item, BaseException))


def _system_reason(errors: list[BaseException]) -> str:
    """Describe the failure in the system's words, which contain no text from the peer."""
    for error in errors:
        # Errors of name resolution and of TLS have their own error numbers.
        if isinstance(error, socket.gaierror | ssl.SSLError):
            return ""
        if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno > 0:
            return f": {os.strerror(error.errno).lower()}"
    return ""
