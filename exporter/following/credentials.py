"""An account's token in use, and when to read it again."""

import logging
import threading
from contextlib import suppress

from exporter.config import TokenSource, TokenUnreadableError
from exporter.files.watching import WatchedState

log = logging.getLogger(__name__)


class Credentials:
    """Read once, and again when its file changes or the service refuses it.

    Args:
        account: the configured name.
        source: where the token comes from.

    Raises:
        TokenUnreadableError: it cannot be read.
    """

    def __init__(self, account: str, source: TokenSource) -> None:
        self._account = account
        # Held while the source and its token change together; never while a file is read.
        self._changing = threading.Lock()
        self._source = source
        self._file = _watched(source)
        self._token = source.read()

    def token(self) -> str:
        """The token in use."""
        return self._token

    def reload(self) -> bool:
        """Read it again from where it comes from; False when that failed, and the old one stays."""
        if self._file is not None:
            self._file.note_read()
        source = self._source
        try:
            token = source.read()
        except TokenUnreadableError as error:
            log.warning(
                "cannot reload the token",
                extra={"account": self._account, "reason": error.reason},
            )
            return False
        with self._changing:
            if source is self._source:
                # Else another source was taken over while this one was read.
                self._token = token
        return True

    def look(self) -> bool:
        """Read it again if its file has changed; whether there is another token now."""
        if self._file is None or not self._file.has_changed():
            return False
        before = self._token
        if not self.reload() or self._token == before:
            return False
        log.info("token changed", extra={"account": self._account})
        return True

    def change(self, source: TokenSource, token: str) -> bool:
        """Go on with another source, of which `token` was read; whether that is another token."""
        file = _watched(source)
        # Once more: a change of the file before it was watched would never be noticed. It could
        # be read a moment ago, so where it cannot now, what was read then is as good.
        with suppress(TokenUnreadableError):
            token = source.read()
        with self._changing:
            before, self._token = self._token, token
            self._source, self._file = source, file
        return token != before


def _watched(source: TokenSource) -> WatchedState | None:
    return None if source.path is None else WatchedState([source.path])
