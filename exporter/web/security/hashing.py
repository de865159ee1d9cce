"""`hash-password`: a hash for `basic_auth_users`, for users without htpasswd."""

import getpass
import sys
from typing import Final, TextIO

import bcrypt

COST: Final = 10
LONGEST: Final = 72
"""How many bytes of a password bcrypt uses."""


class HashError(Exception):
    """No hash was made. The message says why, and contains nothing of the password."""


def hash_password(stream: TextIO | None = None) -> str:
    """Ask twice for a password at a terminal, or read the first line of a pipe, and hash it.

    Raises:
        HashError: the password is empty, too long, or was not repeated correctly.
    """
    stream = stream or sys.stdin
    if stream.isatty():
        try:
            password = getpass.getpass("Password: ")
            if password != getpass.getpass("Once more: "):
                raise HashError("the two differ: nothing is hashed")
        except (EOFError, KeyboardInterrupt):
            raise HashError("no password was given") from None
    else:
        try:
            password = stream.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise HashError("the password is not UTF-8 text") from None
    data = password.encode("utf-8", "surrogateescape")
    if not data:
        raise HashError("the password is empty")
    if b"\0" in data or len(data) > LONGEST:
        raise HashError(f"bcrypt takes up to {LONGEST} bytes, and no NUL")
    return bcrypt.hashpw(data, bcrypt.gensalt(COST)).decode()
