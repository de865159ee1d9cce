"""Files that a configuration names, seen from the folder of its own file."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from exporter.config.faults import fault
from exporter.config.tokens import TokenSource, TokenUnreadable


@dataclass(frozen=True, slots=True)
class Loading:
    """The context in which a file is validated, as against models built in Python.

    With it, relative paths start from the folder of the file, token files must be readable now, and
    durations must have units.
    """

    folder: Path


def _checked_path(value: str) -> str:
    if not value.strip():
        raise fault("is empty", "Write the path of a file.")
    if "\0" in value:
        raise fault("has a character that no path has", "Write the path of a file.")
    return value


def _located(value: object, info: ValidationInfo) -> object:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise fault("is not text", "Write the path of a file.")
    path = Path(_checked_path(value))
    return info.context.folder / path if isinstance(info.context, Loading) else path


def _readable(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Loading):
        try:
            TokenSource.file(path).read()
        except TokenUnreadable as error:
            # The path is not told: some write the token where its file should be named.
            reason, remedy = f"names a token file that {error.reason}", error.remedy
        else:
            return path
        raise fault(reason, remedy)
    return path


def _located_glob(pattern: str, info: ValidationInfo) -> str:
    _checked_path(pattern)
    if not isinstance(info.context, Loading):
        return pattern
    # The folder is meant literally, even where its name has a star in it.
    return str(Path(glob.escape(str(info.context.folder))) / pattern)


TokenFile = Annotated[Path, BeforeValidator(_located), AfterValidator(_readable)]
"""The path of a file that holds a token."""

Glob = Annotated[str, AfterValidator(_located_glob)]
"""The path of one file or, with `*`, `?` and `**`, of many; whether any is there is not asked."""
