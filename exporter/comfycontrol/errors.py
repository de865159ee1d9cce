"""All results of a call to the service other than an answer.

The text of these errors consists of fixed phrases and numbers: it never contains a token, a URL, or
anything that a peer wrote.
"""

from __future__ import annotations

NO_STATUS = "error"
"""The code of a call that ended before a status had arrived."""


class ServiceError(Exception):
    """A call to the service that brought no usable answer.

    Attributes:
        code: the status of the answer as text, or ``error`` if there was none.
        retry_after: seconds to wait, as the answer says; None if it does not say.
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

    With the code ``error``: the token cannot be put into a header, and no request was sent.
    """


class ForbiddenError(ServiceError):
    """403 by the service itself: not allowed, or the limit of the account's tier."""


class NotFoundError(ServiceError):
    """404 by the service itself: no such workflow, deleted, or another account's."""


class RateLimitedError(ServiceError):
    """429: the rate limit."""


class ServerFaultError(ServiceError):
    """5xx, and every other status that the service's documents do not name.

    This includes a 400, 403 or 404 from a proxy in front of the service: an HTML page, a line of
    text, or an empty body.
    """


class RedirectedError(ServiceError):
    """3xx. This client does not follow redirects: each request waits for its turn.

    Attributes:
        target: the URL to request instead, if that is safe. Most often it is None: a redirect to
            another server would give that the token.
    """

    target: str | None = None


class UnusableError(ServiceError):
    """An unusable answer.

    A wrong content type, a malformed document, or a body that is too large.
    """


class TooLargeError(UnusableError):
    """An answer whose body is larger than the limit."""


class UnreachableError(ServiceError):
    """No complete answer arrived.

    Attributes:
        reason: ``dns``, ``connect``, ``proxy``, ``tls``, ``timeout``, ``broken`` (reset, or cut
            off) or ``protocol`` (what arrived was not HTTP, or its headers were endless).
    """

    def __init__(self, message: str, *, reason: str, code: str = NO_STATUS) -> None:
        super().__init__(message, code=code)
        self.reason = reason


class AbortedError(ServiceError):
    """The call was aborted from our side."""
