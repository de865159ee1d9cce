"""All results of a call to the service other than an answer.

The text of these errors consists of fixed phrases and numbers: it never contains a token, a URL, or
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


class BadRequestError(ServiceError):
    """400 by the service itself: a malformed id or parameter."""


class UnauthorizedError(ServiceError):
    """401: the token is missing, wrong, expired or revoked.

    With the code ``error``: the token cannot be put into a header, and nothing was asked.
    """


class ForbiddenError(ServiceError):
    """403 by the service itself: not allowed, or the limit of the account's tier."""


class NotFoundError(ServiceError):
    """404 by the service itself: no such workflow, deleted, or another account's."""


class RateLimitedError(ServiceError):
    """429: the rate limit."""


class ServerFaultError(ServiceError):
    """5xx, and every other status that no document of the service knows.

    A 400, 403 or 404 as well, where an edge in front of the service gave it: an HTML page, a line
    of text, or nothing at all.
    """


class RedirectedError(ServiceError):
    """3xx: redirects are not followed, for they would carry the token elsewhere."""


class UnusableError(ServiceError):
    """An answer that is none: another content type, a malformed document, or one too large."""


class TooLargeError(UnusableError):
    """An answer whose body is longer than is taken."""


class UnreachableError(ServiceError):
    """No whole answer arrived.

    Attributes:
        reason: ``dns``, ``connect``, ``proxy``, ``tls``, ``timeout``, ``broken`` (reset, or cut
            off) or ``protocol`` (what arrived was not HTTP, or its headers were endless).
    """

    def __init__(self, message: str, *, reason: str, code: str = NO_STATUS) -> None:
        super().__init__(message, code=code)
        self.reason = reason


class AbortedError(ServiceError):
    """The call was aborted from our side."""
