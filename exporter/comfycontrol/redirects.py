"""Which redirects may be followed. Pure.

A redirect is followed only if the token stays where it is sent anyway, and the answer is certain to
be about what was requested: the same origin, the same resource at the end of the path, and the same
parameters. This allows for another prefix, or a slash at the end. A page that an edge sends
everybody to is not requested at all, so its refusals are not taken for those of the service.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_HOPS: Final = 3
"""The largest number of redirects that are followed for one answer."""

FOLLOWED: Final = frozenset({301, 302, 307, 308})
"""The statuses that say that the same request is answered at another place."""

# Parsers of URLs disagree about all other characters.
_LOCATION: Final = re.compile(r"[!-\[\]-~]{1,2048}", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}


def redirect_target(
    asked: str, location: str | None, *, resource: str, parameters: Mapping[str, str]
) -> str | None:
    """The URL to request instead; None: this redirect is not followed.

    Args:
        asked: the URL that was requested.
        location: the header of the answer; it may be relative to that URL.
        resource: how the path of a URL for the same thing ends.
        parameters: the query that must be in the URL, whatever else it has.
    """
    if location is None or _LOCATION.fullmatch(location) is None:
        return None
    try:
        before = urlsplit(asked)
        target = urlsplit(urljoin(asked, location))
        is_safe = _origin(before) == _origin(target) and target.username is None
        is_same = is_safe and _is_about(target, resource, parameters)
    except ValueError:
        return None
    # The same URL would only be answered in the same way.
    if not is_same or (target.path, target.query) == (before.path, before.query):
        return None
    return urlunsplit(target._replace(fragment=""))


def _is_about(url: SplitResult, resource: str, parameters: Mapping[str, str]) -> bool:
    """Whether a URL is that of this resource. Raises ValueError if its query has no end."""
    query = parse_qs(url.query, keep_blank_values=True, max_num_fields=100)
    return url.path.removesuffix("/").endswith(resource) and all(
        query.get(name) == [value] for name, value in parameters.items()
    )


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port. Raises ValueError for a port that is none."""
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
