"""Chooses the format by the headers `Accept` and `Accept-Encoding`; any values get an answer."""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["openmetrics", "text", "text of old"]

_ESCAPINGS: Final = ("allow-utf-8", "underscores", "dots", "values")


@dataclass(frozen=True, slots=True)
class Format:
    """A format of the exposition.

    Attributes:
        kind: OpenMetrics 1.0.0, Prometheus text 1.0.0, or Prometheus text 0.0.4.
        escaping: How names that are not ASCII are written, if the client specified it.
    """

    kind: Kind
    escaping: str | None = None


PLAIN: Final = Format("text of old")


@dataclass(frozen=True, slots=True)
class _Range:
    """An entry of the header."""

    name: str
    parameters: dict[str, str]
    quality: float


def negotiate(accept: str) -> Format:
    """The known format that the client prefers.

    Named formats come before those covered by a wildcard, OpenMetrics before text. An unknown
    version is treated as the newest known one. If nothing matches, the format is plain text.
    """
    ranges = _ranges(accept)
    refused = {entry.name for entry in ranges if not entry.quality and not _version(entry)}
    best: tuple[float, int, int] | None = None
    found = PLAIN
    for entry in ranges:
        offer, is_named = _offer(entry, refused)
        if offer is None or not entry.quality:
            continue
        rank = (entry.quality, int(is_named), _LIKED.index(offer.kind))
        if best is None or rank > best:
            best, found = rank, offer
    return found


_LIKED: Final[tuple[Kind, ...]] = ("text of old", "text", "openmetrics")


def _offer(entry: _Range, refused: set[str]) -> tuple[Format | None, bool]:
    """The format for an entry, and whether it is named, not just covered by a wildcard."""
    escaping = entry.parameters.get("escaping", "underscores")
    if escaping not in _ESCAPINGS:
        escaping = "underscores"
    if entry.name == "application/openmetrics-text":
        return Format("openmetrics", escaping if _version(entry) else None), True
    if entry.name == "text/plain":
        is_new = _version(entry)[:1].isdigit() and not _version(entry).startswith("0")
        return (Format("text", escaping) if is_new else PLAIN), True
    if entry.name in {"*/*", "text/*"} and not refused & {"text/plain", "text/*"}:
        return PLAIN, False
    if entry.name in {"*/*", "application/*"} and "application/openmetrics-text" not in refused:
        return Format("openmetrics"), False
    return None, False


def _version(entry: _Range) -> str:
    return entry.parameters.get("version", "")


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an answer may be compressed; `q=0` says that it may not."""
    qualities = {entry.name: entry.quality for entry in _ranges(accept_encoding)}
    named = [qualities[name] for name in ("gzip", "x-gzip") if name in qualities]
    return max(named) > 0 if named else qualities.get("*", 0.0) > 0


def _ranges(header: str) -> list[_Range]:
    found = []
    for entry in header.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        named: dict[str, str] = {}
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            named.setdefault(key.strip().lower(), value.strip().strip('"'))
        if name:
            found.append(_Range(name.lower(), named, _quality(named.get("q", "1"))))
    return found


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    # A value that is not a number or is out of bounds is ignored.
    return quality if 0.0 <= quality <= 1.0 else 1.0
