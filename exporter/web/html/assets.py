"""The stylesheet and the script, under names that change with their content."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

FOLDER: Final = "static"

_TYPES: Final = {"css": "text/css", "js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that a page loads.

    Attributes:
        path: Relative to the first page, with a hash of the content, so browsers may cache it for
            ever.
        integrity: The value of the HTML attribute of that name.
    """

    path: str
    media_type: str
    content: bytes
    integrity: str


def load_assets() -> Mapping[str, Asset]:
    """All assets, by file name."""
    return {name: _asset(name) for name in ("style.css", "live.js")}


def _asset(name: str) -> Asset:
    content = files("exporter.web.html").joinpath("static", name).read_bytes()
    stem, _, extension = name.partition(".")
    short = hashlib.sha256(content).hexdigest()[:12]
    digest = base64.b64encode(hashlib.sha384(content).digest()).decode("ascii")
    return Asset(
        path=f"{FOLDER}/{stem}.{short}.{extension}",
        media_type=_TYPES[extension],
        content=content,
        integrity=f"sha384-{digest}",
    )
