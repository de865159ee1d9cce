"""`comfycontrol-exporter health`: asks a running exporter whether it lives.

For a container's health check, where there is neither a shell nor curl. The standard library does,
so that it costs little each time.
"""

import ipaddress
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 3.0


def check_health(url: str) -> tuple[bool, str]:
    """Ask once: whether the answer was 200, and a line for a person.

    The certificate of a loopback address is not verified: it was made for another name, and nobody
    but this machine answers there.
    """
    context = ssl.create_default_context()
    if _is_loopback(urlsplit(url).hostname or ""):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        # A proxy is for the way out, not for the exporter next door.
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
    )
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            code: int = answer.status
    except urllib.error.HTTPError as error:
        error.close()
        code = error.code
    except urllib.error.URLError as error:
        return False, f"{url}: no answer: {error.reason}"
    except (OSError, HTTPException) as error:
        return False, f"{url}: no answer: {str(error) or type(error).__name__}"
    return code == 200, f"{url}: {code}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
