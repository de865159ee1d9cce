"""Everything that a call to the service can come to, other than an answer.

The text of these errors is made of fixed phrases and of numbers: it never holds a token, a URL, or
anything that a peer wrote.
"""

from __future__ import annotations

NO_STATUS = "error"
"""The code of a call that was over before a status had arrived."""


class ServiceError(Exception):
    """A call to the service that brought no usable answer.

    Attributes:
        code: the status of the answer as text, or ``error`` where there was none.
        retry_after: seconds to wait, as the answer says; None where it does not.
    """

    def __init__(
        self, message: str, *, code: str = NO_STATUS, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class BadRequest(ServiceError):  # noqa: N818 - named as HTTP names it, like those below
    """400 by the service itself: a malformed id or parameter."""


class Unauthorized(ServiceError):  # noqa: N818
    """401: the token is missing, wrong, expired or revoked.

    With the code ``error``: the token cannot be put into a header, and nothing was asked.
    """


class Forbidden(ServiceError):  # noqa: N818
    """403 by the service itself: not allowed, or the limit of the account's tier."""


class NotFound(ServiceError):  # noqa: N818
    """404 by the service itself: no such workflow, deleted, or another account's."""


class RateLimited(ServiceError):  # noqa: N818
    """429: the rate limit."""


class ServerFault(ServiceError):  # noqa: N818
    """5xx, and every other status that no document of the service knows.

    A 400, 403 or 404 as well, where an edge in front of the service gave it: an HTML page, a line
    of text, or nothing at all.
    """


class Redirected(ServiceError):  # noqa: N818
    """3xx: redirects are not followed, for they would carry the token elsewhere."""


class Unusable(ServiceError):  # noqa: N818
    """An answer that is none: another content type, a malformed document, or one too large."""


class TooLarge(Unusable):
    """An answer whose body is longer than is taken."""


class Unreachable(ServiceError):  # noqa: N818
    """No whole answer arrived.

    Attributes:
        reason: ``dns``, ``connect``, ``proxy``, ``tls``, ``timeout``, ``broken`` (reset, or cut
            off) or ``protocol`` (what arrived was not HTTP, or its headers were endless).
    """

    def __init__(self, message: str, *, reason: str, code: str = NO_STATUS) -> None:
        super().__init__(message, code=code)
        self.reason = reason


class Aborted(ServiceError):  # noqa: N818
    """The call was aborted from our side."""
