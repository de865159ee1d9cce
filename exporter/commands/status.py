"""`comfycontrol-exporter status`: the first page of a running exporter, in a terminal."""

import base64
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final, TextIO

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.live import Live

from exporter.comfycontrol.text import clean
from exporter.commands.terminal import page
from exporter.interfaces.views import Overview

EXIT_OK: Final = 0
EXIT_NO_ANSWER: Final = 1
EXIT_PROBLEMS: Final = 2

REFRESH_SECONDS: Final = 2.0
TIMEOUT_SECONDS: Final = 5.0
PLAIN_WIDTH: Final = 120
MOST_BYTES: Final = 16 * 1024 * 1024
_PATH: Final = "/api/v1/accounts"
_OVERVIEW: Final = TypeAdapter(Overview)


class ShowStatusError(Exception):
    """The page cannot be shown. The text says why, and contains no secret."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach an exporter."""

    url: str
    """The URL of the exporter; its path is one that a proxy adds."""
    user: str | None = None
    password: str = ""
    ca: Path | None = None
    """PEM file of the CA certificates; None: those that the system trusts."""
    cert: Path | None = None
    """PEM file of the client certificate."""
    key: Path | None = None


def show_status(way: Way, out: TextIO | None = None) -> int:
    """Show the page; if `out` is a terminal, update it every two seconds. Return the exit code.

    0: fine; 1: no answer; 2: there was a critical problem at the last update.
    """
    out = sys.stdout if out is None else out
    try:
        context = _context(way)
        overview = fetch(way, context)
        if out.isatty():
            overview = _live(lambda: fetch(way, context), overview, out)
        else:
            console(out).print(page(overview))
    except ShowStatusError as error:
        print(clean(str(error)), file=sys.stderr)  # noqa: T201 - for the user of the command
        return EXIT_NO_ANSWER
    return EXIT_PROBLEMS if is_critical(overview) else EXIT_OK


def is_critical(overview: Overview) -> bool:
    """Whether there is a critical problem."""
    return any(problem.level == "critical" for problem in overview.problems)


def console(out: TextIO) -> Console:
    """A console, with a fixed width if it is not a terminal."""
    width = None if out.isatty() else PLAIN_WIDTH
    return Console(file=out, width=width, highlight=False, markup=False, emoji=False)


def _live(fetch: Callable[[], Overview], overview: Overview, out: TextIO) -> Overview:
    with Live(page(overview), console=console(out), auto_refresh=False) as live:
        try:
            while True:
                live.refresh()
                time.sleep(REFRESH_SECONDS)
                overview = fetch()
                live.update(page(overview))
        except KeyboardInterrupt:
            return overview


def fetch(way: Way, context: ssl.SSLContext | None = None) -> Overview:
    """Send one request.

    Raises:
        ShowStatusError: there is no usable answer.
    """
    url = way.url.rstrip("/") + _PATH
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked
    if way.user is not None:
        pair = base64.b64encode(f"{way.user}:{way.password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {pair}")
    opener = urllib.request.build_opener(
        # No proxy, which is for outside requests; no redirects, which could send the password
        # elsewhere.
        urllib.request.ProxyHandler({}),
        _NoRedirect(),
        urllib.request.HTTPSHandler(context=context or _context(way)),
    )
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            body = answer.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        raise ShowStatusError(f"{way.url}: {_refusal(error.code)}") from None
    except urllib.error.URLError as error:
        raise ShowStatusError(f"{way.url}: no answer: {_reason(error.reason)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise ShowStatusError(f"{way.url}: no answer: {_reason(error)}") from None
    try:
        return _OVERVIEW.validate_json(body)
    except ValidationError:
        raise ShowStatusError(f"{way.url}: the answer is not from this exporter") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Do not follow a redirect: its status is the result."""


def _refusal(code: int) -> str:
    if code == 401:
        return "the password is missing or wrong: give --user and --password-file"
    if code == 404:
        return "nothing found there: is it an exporter of this version, and is the path correct?"
    return f"it answers {code}"


def _reason(reason: object) -> str:
    if isinstance(reason, ssl.SSLError):
        return f"TLS: {(reason.reason or 'failed').replace('_', ' ').lower()}"
    if isinstance(reason, OSError):
        return reason.strerror or type(reason).__name__
    return type(reason).__name__


def _context(way: Way) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if way.ca is None else str(way.ca))
        if way.cert is not None:
            context.load_cert_chain(way.cert, way.key, password="")
    except ssl.SSLError as error:
        said = (error.reason or "not PEM").replace("_", " ").lower()
        raise ShowStatusError(f"certificates cannot be used: {said}") from None
    except OSError as error:
        raise ShowStatusError(f"certificates cannot be read: {error.strerror}") from None
    return context
