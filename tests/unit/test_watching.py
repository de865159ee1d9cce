"""Files that others write: how a change is noticed."""

import ast
import os
from pathlib import Path

import pytest

import exporter
from exporter.files.watching import FileWatcher, WatchedState, fingerprint_of

PATIENCE = 20


def write(path: Path, content: str) -> None:
    written = 0 if not path.exists() else path.stat().st_mtime_ns
    path.write_text(content)
    # Two writes within one tick of the file system's clock must not look the same.
    os.utime(path, ns=(written + 10_000_000, written + 10_000_000))


def test_a_change_counts_once_it_was_there_twice(tmp_path: Path) -> None:
    one, other = tmp_path / "certificate", tmp_path / "key"
    write(one, "1")
    write(other, "1")
    state = WatchedState([one, other])
    assert not state.has_changed()
    write(one, "2")
    assert not state.has_changed()
    write(other, "2")  # which belongs to it, and came a moment later
    assert not state.has_changed()
    assert state.has_changed()
    assert not state.has_changed()


def test_one_that_comes_and_one_that_goes_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    state = WatchedState([path])
    write(path, "1")
    assert [state.has_changed() for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [state.has_changed() for _ in range(3)] == [False, True, False]


def test_what_was_read_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "token"
    state = WatchedState([path])
    write(path, "1")
    state.note_read()
    assert [state.has_changed() for _ in range(2)] == [False, False]
    write(path, "2")
    state.note_read({path: fingerprint_of(path)})
    assert [state.has_changed() for _ in range(2)] == [False, False]


def test_a_fault_of_ours_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter(range(3))

    def look() -> None:
        if next(looks) < 1:
            raise ValueError("cfc_secret")
        watcher.stop()

    watcher = FileWatcher("tokens", look, every=0.0)
    watcher.start()
    assert watcher.join(PATIENCE)
    assert [r.getMessage() for r in caplog.records] == ["background task failed, retrying"]
    assert vars(caplog.records[0])["error"] == "ValueError"
    assert "cfc_secret" not in caplog.text


def test_nobody_else_tells_a_change_of_a_file() -> None:
    """But for the ledger's own files, which are ours to write."""
    folder = Path(exporter.__file__).parent
    by_status = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("st_mtime", "st_mtime_ns")
    }
    assert by_status == {"files/watching.py", "ledger/backup.py"}
