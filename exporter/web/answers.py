"""The error answers of the JSON interface."""

from typing import Final

from starlette.responses import JSONResponse

_HEADERS: Final = {
    401: {"WWW-Authenticate": "Bearer"},
    # By then, ids that the service does not know have been dropped.
    429: {"Retry-After": "30"},
    503: {"Retry-After": "10"},
}


class RefusedError(Exception):
    """The request is refused with this answer. No message repeats what was sent."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = JSONResponse(
            {"status": status, "message": message},
            status,
            headers=_HEADERS.get(status),
        )
