"""Values from the environment: `${VAR}` in any text of the file."""

import re
from collections.abc import Mapping

from exporter.config.document import Data, Document, KeyPath
from exporter.config.errors import shown

TOKEN: str = "COMFYCONTROL_TOKEN"  # noqa: S105 - the name of a variable
"""The variable with the token of one account; it alone is enough to start."""

TOKEN_FILE: str = "COMFYCONTROL_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""The variable that names a file with the token instead; it is read again when it changes."""

BASE_URL: str = "COMFYCONTROL_BASE_URL"
"""Variable with the service's address for a start without a file."""

_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?")

# A placeholder where an error was reported: later rules see that the key exists, and their errors
# at the same place are not reported.
_STAND_IN = ""


def substitute(document: Document, environ: Mapping[str, str]) -> None:
    """Replace `${VAR}` in every text of a document, and `$$` by a dollar sign.

    This happens after YAML is parsed, so that a value cannot add structure; inserted values are not
    substituted again. Regular expressions are not changed, because a dollar sign is part of their
    syntax. An unset variable, a stray dollar sign and a key without a value
    become errors of the document.
    """
    document.data = _replaced(document, document.data, (), environ)


def _replaced(document: Document, data: Data, path: KeyPath, environ: Mapping[str, str]) -> Data:
    if isinstance(data, dict):
        return {k: _replaced(document, v, (*path, k), environ) for k, v in data.items()}
    if isinstance(data, list):
        return [_replaced(document, v, (*path, i), environ) for i, v in enumerate(data)]
    if isinstance(data, str):
        if _is_expression(path):
            return data
        return _text(document, data, path, environ)
    if data is None:
        if not document.has_error(path):
            # `listing:` with nothing behind could mean its defaults or no listing: do not guess.
            hint = "Write one, or take the key out; `{}` takes the defaults of a section."
            document.add_error(path, "has no value", hint)
        return _STAND_IN
    return data


def _is_expression(path: KeyPath) -> bool:
    match path:
        case ("metrics", "slices", int(), "match"):
            return True
    return False


def _text(document: Document, text: str, path: KeyPath, environ: Mapping[str, str]) -> Data:
    unset: dict[str, None] = {}
    stray = False

    def value(match: re.Match[str]) -> str:
        nonlocal stray
        if match["dollar"]:
            return "$"
        if not (name := match["name"]):
            stray = True
        elif name not in environ:
            unset[name] = None
        return environ.get(name or "", "")

    replaced = _DOLLAR.sub(value, text)
    if stray:
        document.add_error(
            path,
            "has a `$` that starts no variable",
            "Write `${NAME}` for a variable of the environment, or `$$` for a dollar sign.",
        )
    for name in unset:
        which = f"variable {shown(name) or '(name not shown)'}"
        document.add_error(
            path, f"needs the environment {which}, which is not set", "Set it, or write the value."
        )
    return _STAND_IN if stray or unset else replaced
