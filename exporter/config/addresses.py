"""The service's address: checked and normalized, so that equal addresses are equal texts."""

import ipaddress
import re
import socket
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from exporter.config.errors import invalid

DEFAULT_BASE_URL: str = "https://api.comfycontrol.app"
"""The hosted service, as its documentation gives it."""

_HINT = f"Write it as `{DEFAULT_BASE_URL}`."
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*\.?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

THIS_MACHINE: Final = "localhost"
"""The host that replaces every address of the machine itself."""
_ITS_NAMES: Final = frozenset(
    {"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_ITS_DOMAINS: Final = (".localhost", ".localdomain", ".localdomain4", ".localdomain6")


def _base_url(text: str) -> str:
    """A base URL with scheme and host in lower case, without a default port or a last slash.

    Otherwise the spelling of the host stays, because certificates are checked against it.
    """
    if not _VISIBLE.fullmatch(text):
        raise invalid("is empty or has characters that no URL has", _HINT)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise invalid("is not a URL", _HINT) from None
    if url.scheme not in _DEFAULT_PORTS:
        raise invalid("does not begin with https:// or http://", _HINT)
    if "@" in url.netloc:
        raise invalid(
            "holds a user name or a password",
            "Take it out: use `token` or `token_file` for secrets.",
        )
    if "?" in text or "#" in text:
        raise invalid("has a query or a fragment", "Take out what follows `?` or `#`.")
    host = url.hostname or ""
    if port == 0 or not _is_host(host):
        raise invalid("has no valid host and port", _HINT)
    address = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[url.scheme]:
        address += f":{port}"
    return f"{url.scheme}://{address}{url.path.rstrip('/')}"


def _is_host(host: str) -> bool:
    if _HOST_NAME.fullmatch(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def address_of(base_url: str) -> str:
    """The address to which a request budget belongs: the same for all spellings of one service.

    Args:
        base_url: a URL checked by this module. So it has no user, and its host is ASCII and not
            percent-encoded: international names are in their `xn--` form.

    Returns:
        `host`, or `host:port` if the port is neither 80 nor 443. These two share a budget, because
        the service counts requests by client, whether they use HTTP or HTTPS. If they are two
        services after all, sharing only slows them down, whereas two budgets for one service
        would lead to refusals.
    """
    url = urlsplit(base_url)
    port = url.port or _DEFAULT_PORTS[url.scheme]
    host = _one_host(url.hostname or "")
    return host if port in _DEFAULT_PORTS.values() else f"{host}:{port}"


def _one_host(host: str) -> str:
    """Normalise a host: a name in lower case without a final dot, an IP address in its usual form.

    Different names of one machine stay different, and so do a name and its IP address.
    """
    name = host.lower().removesuffix(".")
    number = _number(name)
    if number is None:
        first, _, domain = name.partition(".")
        its_own = first in _ITS_NAMES and f".{domain}" in (".", *_ITS_DOMAINS)
        return THIS_MACHINE if its_own or name.endswith(".localhost") else name
    if number.is_loopback or number.is_unspecified:
        # A connection to the unspecified address reaches the machine itself.
        return THIS_MACHINE
    return f"[{number}]" if number.version == 6 else str(number)


def _number(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address, if the host is one in any spelling; None: it is a name."""
    if ":" in name:
        # Whether two spellings of a zone are the same cannot be known.
        number = ipaddress.IPv6Address(name.partition("%")[0])
        return number.ipv4_mapped or number
    try:
        # All forms that the resolver accepts as IPv4: 127.1, 0x7f000001, 0177.0.0.1, 2130706433.
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError:
        return None


def sends_in_clear(base_url: str) -> bool:
    """Whether a token sent there crosses a network unencrypted: plain HTTP to another machine."""
    url = urlsplit(base_url)
    return url.scheme != "https" and _one_host(url.hostname or "") != THIS_MACHINE


BaseUrl = Annotated[
    str,
    AfterValidator(_base_url),
    Field(json_schema_extra={"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^@?#]+$"}),
]
"""The service's address in a model."""
