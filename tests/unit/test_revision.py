"""Which revision a clone is."""

import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.revision import of_clone

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    (folder / "below").mkdir(parents=True)
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=first")
    return folder


@needs_git
def test_a_clone_and_a_work_tree_of_it_name_their_commits(clone: Path, tmp_path: Path) -> None:
    assert of_clone(clone) == git(clone, "rev-parse", "--short", "HEAD")
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "--quiet", "--allow-empty", "--message=second")
    second = git(tmp_path / "tree", "rev-parse", "--short", "HEAD")
    assert of_clone(tmp_path / "tree") == second != of_clone(clone)


@needs_git
def test_a_folder_within_a_clone_is_not_one(clone: Path) -> None:
    assert of_clone(clone / "below") is None


@needs_git
def test_a_clone_without_a_commit_or_without_git_has_none(clone: Path, tmp_path: Path) -> None:
    assert of_clone(clone, git=str(tmp_path / "no-git")) is None
    shutil.rmtree(clone / ".git")
    git(clone, "init", "--quiet")
    assert of_clone(clone) is None
    shutil.rmtree(clone / ".git")
    (clone / ".git").write_text("gitdir: nowhere\n")
    assert of_clone(clone) is None
