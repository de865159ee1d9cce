"""The service's address: checked, and written in one way, so that equals are equal texts."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

from exporter.config.faults import fault

DEFAULT_BASE_URL: str = "https://api.comfycontrol.app"
"""The hosted service, as its documentation gives it."""

_REMEDY = f"Write it as `{DEFAULT_BASE_URL}`."
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*\.?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _base_url(text: str) -> str:
    """A base URL with scheme and host in lower case, without a default port or a last slash.

    One address has one request budget, so two ways to write it must not make two of it.
    """
    if not _VISIBLE.fullmatch(text):
        raise fault("is empty or has characters that no URL has", _REMEDY)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise fault("is not a URL", _REMEDY) from None
    if url.scheme not in _DEFAULT_PORTS:
        raise fault("does not begin with https:// or http://", _REMEDY)
    if "@" in url.netloc:
        raise fault(
            "holds a user name or a password",
            "Take it out: use `token` or `token_file` for secrets.",
        )
    if "?" in text or "#" in text:
        raise fault("has a query or a fragment", "Take out what follows `?` or `#`.")
    host = url.hostname or ""
    if port == 0 or not _is_host(host):
        raise fault("has no valid host and port", _REMEDY)
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


def sends_in_clear(base_url: str) -> bool:
    """Whether a token sent there crosses a network unencrypted: plain HTTP to another machine."""
    url: SplitResult = urlsplit(base_url)
    host = url.hostname or ""
    if url.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


BaseUrl = Annotated[
    str,
    AfterValidator(_base_url),
    Field(json_schema_extra={"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^@?#]+$"}),
]
"""The service's address in a model."""
