"""Build hooks: the package knows its revision, and its readme leads somewhere from everywhere.

Into wheel and sdist goes an `exporter/_revision.py` that the working tree never holds. The revision
comes from the variable COMFYCONTROL_EXPORTER_REVISION, else from git; a wheel that is built from
the sdist takes over the sdist's.

README.md has links into the repository, which PyPI shows as they are and which lead nowhere there:
in the metadata they lead to the tag of this version.

Why not hatch-vcs and hatch-fancy-pypi-readme: the version is written by hand, in
`exporter/__init__.py`, and what is told here is the revision, also for a container that is built
without `.git`, and with `-dirty`, which hatch-vcs knows as part of a version alone. The other
replaces by regular expressions in pyproject.toml; a picture within a link needs two that depend on
each other, and here they have a test (`tests/unit/test_readme.py`). Both would be two more packages
that run in each build.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

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


class ReadmeHook(MetadataHookInterface):
    """Gives the readme."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Put it in."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        text = absolute(text, metadata["urls"]["Source"], f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """Markdown whose links into the repository are absolute: images as files, the rest as pages."""

    def link(match: re.Match[str]) -> str:
        image, name, target = match.groups()
        place = "raw" if image else "blob"
        return f"{image}[{name}]({repository}/{place}/{tag}/{target})"

    # An image is often itself the name of a link, so names with brackets come last.
    for name in (r"[^][]*", r"!\[[^][]*\]\([^()]*\)"):
        text = re.sub(rf"(!?)\[({name})\]\((?![a-z]+:|[#/])([^()\s]+)\)", link, text)
    return text


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
