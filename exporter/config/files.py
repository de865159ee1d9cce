"""Files that a configuration names, relative to the folder of its own file."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from exporter.config.errors import invalid, shown
from exporter.config.tokens import TokenSource, TokenUnreadableError


@dataclass(frozen=True, slots=True)
class Loading:
    """The context in which a file is validated, as against models built in Python.

    With it, relative paths start from the folder of the file, token files must be readable now, and
    durations must have units.
    """

    folder: Path


def nameable(path: Path, folder: Path) -> str | None:
    """The whole path, if it may be shown: some write the token where its file should be named.

    Args:
        path: As it was located.
        folder: Where relative paths start, which nobody wrote into the value.
    """
    written = path.relative_to(folder) if path.is_relative_to(folder) else path
    parts = [part for part in written.parts if part not in {"/", ".", ".."}]
    plain = (part.replace("-", "_").lstrip("._") for part in parts)
    is_path = len(written.parts) > 1 or bool(written.suffix)
    has_few_digits = shown("x" + "".join(c for c in str(written) if c.isdigit())) is not None
    if not is_path or not has_few_digits or not all(shown(part) for part in plain):
        return None
    return str(path.absolute())


def _checked_path(value: str) -> str:
    if not value.strip():
        raise invalid("is empty", "Write the path of a file.")
    if "\0" in value:
        raise invalid("has a character that no path has", "Write the path of a file.")
    return value


def located(value: object, info: ValidationInfo) -> object:
    """A path as it was written, seen from the folder of the configuration file."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise invalid("is not text", "Write the path of a file.")
    path = Path(_checked_path(value))
    return info.context.folder / path if isinstance(info.context, Loading) else path


def _readable(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Loading):
        try:
            TokenSource.file(path).read()
        except TokenUnreadableError as error:
            name = nameable(path, info.context.folder)
            which = "a token file" if name is None else f"the token file {name}"
            reason = (
                f"names {which}{',' if name else ''} {'which' if name else 'that'} {error.reason}"
            )
            hint = error.hint
        else:
            return path
        raise invalid(reason, hint)
    return path


def _located_glob(pattern: str, info: ValidationInfo) -> str:
    _checked_path(pattern)
    if not isinstance(info.context, Loading):
        return pattern
    # The folder is meant literally, even where its name has a star in it.
    return str(Path(glob.escape(str(info.context.folder))) / pattern)


TokenFile = Annotated[Path, BeforeValidator(located), AfterValidator(_readable)]
"""The path of a file that holds a token."""

Glob = Annotated[str, AfterValidator(_located_glob)]
"""The path of one file or, with `*`, `?` and `**`, of many; whether any is there is not asked."""
