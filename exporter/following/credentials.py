"""An account's token in use, and when to read it again."""

import logging

from exporter.config import TokenSource, TokenUnreadable
from exporter.config.stamps import Watched

log = logging.getLogger(__name__)


class Credentials:
    """Read once, and again when its file changes or the service refuses it.

    Args:
        account: the configured name.
        source: where the token comes from.

    Raises:
        TokenUnreadable: it cannot be read.
    """

    def __init__(self, account: str, source: TokenSource) -> None:
        self._account = account
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
        try:
            self._token = self._source.read()
        except TokenUnreadable as error:
            log.warning(
                "the token cannot be read again",
                extra={"account": self._account, "reason": error.reason},
            )
            return False
        return True

    def look(self) -> bool:
        """Read it again if its file has changed; whether there is another token now."""
        if self._file is None or not self._file.has_changed():
            return False
        before = self._token
        if not self.reload() or self._token == before:
            return False
        log.info("the token was changed", extra={"account": self._account})
        return True

    def change(self, source: TokenSource) -> bool:
        """Go on with another source; whether its token is another.

        Raises:
            TokenUnreadable: it cannot be read, and the one before stays.
        """
        file, token = _watched(source), source.read()
        before, self._token = self._token, token
        self._source, self._file = source, file
        return token != before


def _watched(source: TokenSource) -> Watched | None:
    return None if source.path is None else Watched(source.path)
