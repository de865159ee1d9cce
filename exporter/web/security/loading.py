"""Reads the file: the result is a `Security`, or all errors at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from exporter.config.document import Data, Document, KeyPath, read_document
from exporter.config.errors import ConfigError, ErrorEntry, in_order
from exporter.files.plain import UnreadableError
from exporter.files.watching import Fingerprint
from exporter.web.security.files import FilesRead
from exporter.web.security.models import NO_VALUE, TlsServer, WebConfig
from exporter.web.security.passwords import Users
from exporter.web.security.rate import RequestRate
from exporter.web.security.settings import Security, Tls
from exporter.web.security.tls import ServeError, make_tls

_TLS: Final = "tls_server_config"

_CLOSING: Final = frozenset(((_TLS,), ("basic_auth_users",), (_TLS, "client_allowed_sans")))
"""Keys that restrict access. If their value is missing, they must not allow everybody."""

_SECTIONS: Final = frozenset((("http_server_config",), ("rate_limit",)))
"""Mappings that may be left empty."""

_START: Final = """\
Write what must be secured, such as:

      tls_server_config:
        cert_file: server.crt
        key_file: server.key

    or `{}` for nothing at all."""


@dataclass(frozen=True, slots=True)
class LoadedSecurity:
    """The result of reading the file.

    Attributes:
        security: The settings; None if there are errors.
        errors: All errors, in the order of the file.
        stamps: The state of every file that was opened, to notice changes.
    """

    security: Security | None
    errors: tuple[ErrorEntry, ...]
    stamps: Mapping[Path, Fingerprint]


def read(path: Path) -> LoadedSecurity:
    """Read and check the file, and the files that it names."""
    files = FilesRead(path.parent)
    document = _document(path, files)
    security: Security | None = None
    if not document.errors and document.data is None:
        # A file that is being written is empty for a moment. That must not remove the protection.
        document.errors.append(ErrorEntry("", "is empty", _START))
    elif isinstance(document.data, dict):
        document.data = _without_empty(document, document.data, ())
        security = _checked(document, files)
    elif not document.errors:
        document.errors.append(ErrorEntry("", "is not a mapping of keys", _START, 1))
    if document.errors:
        security = None
    return LoadedSecurity(security, in_order(document.errors), files.stamps)


def check(path: Path) -> tuple[int, str]:
    """Check a file for `check-web-config`.

    Returns:
        The exit code, 0 for a file that can be used (with or without warnings) and 1 for one that
        cannot, and the text for the terminal.
    """
    reading = read(path)
    if reading.security is None:
        return 1, str(ConfigError(reading.errors, str(path)))
    warnings = (f"  warning: {warning}" for warning in reading.security.warnings)
    return 0, "\n".join([f"{path}: valid: {reading.security}", *warnings])


def _document(path: Path, files: FilesRead) -> Document:
    hint = "Name a YAML file that this user can read."
    try:
        content = files.content(path.name)
        return read_document(content.decode("utf-8-sig"), as_written=True)
    except UnreadableError as error:
        return Document(errors=[ErrorEntry("", error.reason, hint)])
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Document(errors=[ErrorEntry("", "is not UTF-8 text", "Save it as UTF-8.", line)])


def _without_empty(document: Document, data: Data, path: KeyPath) -> Data:
    """Insert an empty value for each key without a value, or report an error.

    `basic_auth_users:` without a value must not mean that there are no users.
    """
    if isinstance(data, dict):
        return {k: _without_empty(document, v, (*path, k)) for k, v in data.items()}
    if isinstance(data, list):
        return [_without_empty(document, v, (*path, i)) for i, v in enumerate(data)]
    if data is None and path in _SECTIONS:
        return {}
    if data is None and not _must_have_value(path):
        return NO_VALUE
    if data is None:
        if not document.has_error(path):
            nothing = "; `{}` is nothing at all." if len(path) == 1 else "."
            document.add_error(path, "has no value", f"Write one, or take the key out{nothing}")
        # Later rules see that the key exists, and their errors at the same place are not reported.
        return ""
    return data


def _must_have_value(path: KeyPath) -> bool:
    """Whether a missing value could remove protection, or has no meaning at all."""
    return path in _CLOSING or path[0] == "basic_auth_users" or isinstance(path[-1], int)


def _checked(document: Document, files: FilesRead) -> Security | None:
    """Collect all errors that the models find, and those of the pair of key and certificate."""
    assert isinstance(document.data, dict)  # noqa: S101 - the caller has looked
    config: WebConfig | None = None
    try:
        config = WebConfig.model_validate(document.data, context=files)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            context = detail["ctx"]
            _add_error(document, detail["loc"], context["reason"], context["hint"])
    # This is checked separately, so that an error elsewhere in the file does not hide one of the
    # pair.
    tls_config = _tls_config(document.data.get(_TLS, {}), files)
    tls: Tls | None = None
    if tls_config is not None and tls_config.is_on:
        try:
            tls = make_tls(tls_config)
        except ServeError as error:
            _add_error(document, (_TLS, error.key), error.reason, error.hint)
    if config is None:
        return None
    return Security(
        tls=tls,
        users=Users(
            {
                user.encode(): hashed.get_secret_value().encode()
                for user, hashed in config.basic_auth_users.items()
            }
        ),
        headers=config.http_server_config.headers,
        rate_limit=RequestRate(config.rate_limit.interval, config.rate_limit.size),
        warnings=config.warnings(),
    )


def _tls_config(data: object, files: FilesRead) -> TlsServer | None:
    try:
        return TlsServer.model_validate(data, context=files)
    except ValidationError:
        return None


def _add_error(document: Document, loc: KeyPath, reason: str, hint: str) -> None:
    if not document.has_error(loc):
        document.add_error(loc, reason, hint)
