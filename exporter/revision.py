"""The revision of the code: recorded by the build, or read from git in a clone."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"

_GIT_SECONDS: Final = 2.0
"""Seconds that git may take: a clone may be on a slow disk, and this must not delay the start."""


@cache
def revision() -> str:
    """The revision; `unknown` if it cannot be found. It is read once."""
    try:
        # Only packages have this file: hatch_build.py writes it.
        from exporter._revision import (  # type: ignore[import-not-found] # noqa: PLC0415
            REVISION,
        )
    except ModuleNotFoundError:
        return of_clone(Path(__file__).resolve().parents[1]) or UNKNOWN
    return str(REVISION)


def of_clone(root: Path, git: str = "git") -> str | None:
    """The short hash of the commit that is checked out in a folder.

    None: the folder is not the top of a work tree, or git is missing, fails or takes too long.
    """
    if not (root / ".git").exists():
        return None
    command = [git, f"--git-dir={root / '.git'}", f"--work-tree={root}"]
    try:
        found = subprocess.run(  # noqa: S603 - nothing of anybody else's is in it
            [*command, "rev-parse", "--short", "HEAD"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return found.stdout.strip() or None
