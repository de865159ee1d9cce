"""Build hook: what is packaged knows the revision that it was built from.

Into wheel and sdist goes an `exporter/_revision.py` that the working tree never holds. The revision
comes from the variable COMFYCONTROL_EXPORTER_REVISION, else from git; a wheel that is built from
the sdist takes over the sdist's.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = "exporter/_revision.py"


class RevisionHook(BuildHookInterface[Any]):
    """Adds the module to a build."""

    PLUGIN_NAME = "custom"

    _folder: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the module, and say where it belongs."""
        root = Path(self.root)
        # An editable install runs the tree, whose revision changes with every commit.
        if version == "editable" or (root / MODULE).exists():
            return
        self._folder = tempfile.mkdtemp()
        module = Path(self._folder) / "_revision.py"
        module.write_text(
            f'"""Written by the build."""\n\nREVISION = {_revision(root)!r}\n', encoding="utf-8"
        )
        module.chmod(0o644)
        build_data["force_include"][str(module)] = MODULE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Tidy up."""
        del version, build_data, artifact_path
        if self._folder is not None:
            shutil.rmtree(self._folder)


def _revision(root: Path) -> str:
    if given := os.environ.get("COMFYCONTROL_EXPORTER_REVISION"):
        return given
    # This very tree's, not that of a repository around it.
    command = ["git", f"--git-dir={root / '.git'}", f"--work-tree={root}"]
    command += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
