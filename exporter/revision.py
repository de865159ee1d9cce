"""The revision of the code: recorded by the build, or else what git says of a clone."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"

_GIT_SECONDS: Final = 2.0
"""How long git may take: a clone may lie on a slow disk, and nothing waits for its name."""


@cache
def revision() -> str:
    """The revision; `unknown` where nobody can tell. Read once."""
    try:
        # Only what was packaged has it: hatch_build.py writes it.
        from exporter._revision import (  # type: ignore[import-not-found] # noqa: PLC0415
            REVISION,
        )
    except ModuleNotFoundError:
        return of_clone(Path(__file__).resolve().parents[1]) or UNKNOWN
    return str(REVISION)


def of_clone(root: Path, git: str = "git") -> str | None:
    """The short name of the commit that is checked out in a folder.

    None where the folder is no work tree's own (a folder below one is not), or git is not there,
    refuses or takes too long.
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
