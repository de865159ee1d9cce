"""Certificates and keys in PEM form, from a file or from the configuration itself."""

import re
import ssl
from typing import Annotated, Final

from pydantic import PlainValidator, SecretBytes, ValidationInfo

from exporter.config.errors import invalid
from exporter.files.plain import UnreadableError
from exporter.web.security.files import FilesRead

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
)
_KEY: Final = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )?PRIVATE KEY)-----\s.*?-----END \1-----", re.DOTALL
)
_BEGINNING: Final = "-----BEGIN"


def _text(value: object, _: ValidationInfo) -> bytes:
    if not isinstance(value, str):
        raise invalid("is not text", "Write the PEM text below the key, after a `|`.")
    return value.encode()


def _file(value: object, info: ValidationInfo) -> bytes:
    if not isinstance(value, str):
        raise invalid("is not text", "Write the path of a file.")
    if not value.strip():
        raise invalid("is blank", "Write the path of a file.")
    if _BEGINNING in value:
        raise invalid(
            "holds PEM text where a path belongs", "Move it to the key without `_file` at its end."
        )
    assert isinstance(info.context, FilesRead)  # noqa: S101 - nothing else reads these models
    try:
        return info.context.content(value)
    except UnreadableError as error:
        reason = error.reason
    # The path is not shown: some users write the key itself instead of its file name.
    raise invalid(f"names a file that {reason}", "Name a PEM file that this user can read.")


def _certificates(content: bytes) -> bytes:
    """All certificates of the text, one after the other, without the text in between."""
    found = b"\n".join(_CERTIFICATE.findall(content)) + b"\n"
    if not found.strip():
        raise invalid(
            "holds no certificate in PEM form",
            "PEM begins with `-----BEGIN CERTIFICATE-----`; convert DER with "
            "`openssl x509 -inform DER`.",
        )
    readable = True
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=found.decode())
    except ssl.SSLError:
        readable = False
    if not readable:
        raise invalid(
            "holds a certificate that cannot be read",
            "Look at it with `openssl x509 -text`, and write it again.",
        )
    return found


def _key(content: bytes) -> SecretBytes:
    """The first private key of the text."""
    found = _KEY.search(content)
    if found is None:
        raise invalid(
            "holds no private key in PEM form",
            "PEM begins with `-----BEGIN PRIVATE KEY-----`; convert DER with "
            "`openssl pkey -inform DER`.",
        )
    if b"ENCRYPTED" in found[0]:
        raise invalid(
            "holds a private key that is encrypted",
            "Nobody is there to type its password: decrypt it with `openssl pkey`, in a file that "
            "this user alone can read.",
        )
    return SecretBytes(found[0] + b"\n")


Certificates = Annotated[
    bytes, PlainValidator(lambda value, info: _certificates(_text(value, info)))
]
"""Certificates written into the configuration."""

CertificatesFile = Annotated[
    bytes, PlainValidator(lambda value, info: _certificates(_file(value, info)))
]
"""Certificates from a file; the configuration has its path."""

PrivateKey = Annotated[SecretBytes, PlainValidator(lambda value, info: _key(_text(value, info)))]
"""A private key that the configuration contains itself, as PEM text."""

PrivateKeyFile = Annotated[
    SecretBytes, PlainValidator(lambda value, info: _key(_file(value, info)))
]
"""A key in a file that the configuration names."""
