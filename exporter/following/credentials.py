"""Holds an account's token, and reads it again when needed."""

import logging
import threading
from contextlib import suppress

from exporter.config import TokenSource, TokenUnreadableError
from exporter.files.watching import WatchedState

log = logging.getLogger(__name__)


class Credentials:
    """An account's token: read once, and again when its file changes or the service refuses it.

    Args:
        account: the configured name.
        source: where the token comes from.

    Raises:
        TokenUnreadableError: the token cannot be read.
    """

    def __init__(self, account: str, source: TokenSource) -> None:
        self._account = account
        # Held while the source and its token change together, but not while a file is read.
        self._changing = threading.Lock()
        self._source = source
        self._file = _watched(source)
        self._token = source.read()

    def token(self) -> str:
        """The token in use."""
        return self._token

    def reload(self) -> bool:
        """Read the token again from its source.

        Return False, and keep the old one, if that failed.
        """
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
                # Otherwise another source was set while this one was read.
                self._token = token
        return True

    def reload_if_changed(self) -> bool:
        """Read the token again if its file has changed.

        Return whether the token is different now.
        """
        if self._file is None or not self._file.has_changed():
            return False
        before = self._token
        if not self.reload() or self._token == before:
            return False
        log.info("token changed", extra={"account": self._account})
        return True

    def change(self, source: TokenSource, token: str) -> bool:
        """Use another source, from which `token` was read.

        Return whether the token is different.
        """
        file = _watched(source)
        # Read it once more, because a change before the file was watched would never be noticed. It
        # was readable a moment ago: if it is not now, the token from then is used.
        with suppress(TokenUnreadableError):
            token = source.read()
        with self._changing:
            before, self._token = self._token, token
            self._source, self._file = source, file
        return token != before


def _watched(source: TokenSource) -> WatchedState | None:
    return None if source.path is None else WatchedState([source.path])
