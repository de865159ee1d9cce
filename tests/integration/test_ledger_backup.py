"""The commands by which docs/upgrading.md has the ledger copied while it is written."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter.ledger.backup import BackupError, back_up
from exporter.ledger.file import FILE_NAME
from tests.e2e.programs import program
from tests.unit.ledger.ledgers import Clocks, ended, finished, ledger_on_disk

DOC = Path(__file__).parents[2] / "docs" / "upgrading.md"
COPIES = 8
ROOT = DOC.parents[1]


def commands(folder: Path, to: Path) -> str:
    """The shell commands of the page, for these folders."""
    (block,) = re.findall(r"```sh\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
    text = str(block)
    for before, after in (
        ("/var/lib/comfycontrol-exporter", folder),
        ("/var/backups/comfycontrol-exporter", to),
        ("comfycontrol-exporter backup", f"{sys.executable} -m exporter backup"),
    ):
        assert before in text
        text = text.replace(before, str(after))
    return "set -eu\n" + text


def test_each_copy_is_a_ledger_of_one_moment(tmp_path: Path) -> None:
    program("sqlite3")
    now = Clocks()
    ledger = ledger_on_disk(tmp_path / "data", now)
    is_over = threading.Event()
    counted = 0

    def write() -> None:
        nonlocal counted
        while not is_over.is_set():
            for number in range(counted, counted + 40):
                ledger.observe(ended(number, now(), completed=number + 20))
            ledger.persist()
            counted += 40

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(COPIES):
            to = tmp_path / str(number)
            least = counted
            said = subprocess.run(
                ["sh", "-c", commands(tmp_path / "data", to)],
                capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
            )  # fmt: skip
            assert said.stderr == ""
            assert said.stdout.startswith(f"{to / FILE_NAME}: a copy of the ledger, ")
            assert said.stdout.endswith("\nok\n")
            assert sorted(path.name for path in to.iterdir()) == [FILE_NAME]
            copy = ledger_on_disk(to, Clocks())
            snapshot = copy.snapshot()
            copy.close()
            assert snapshot.errors == 0
            assert least <= finished(snapshot) <= counted + 40
    finally:
        is_over.set()
        writer.join()
        ledger.close()


def test_a_copy_of_a_ledger_at_rest_follows_no_link(tmp_path: Path) -> None:
    now = Clocks()
    ledger = ledger_on_disk(tmp_path / "data", now)
    ledger.observe(ended(1, now(), completed=20))
    ledger.close()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    target = tmp_path / "copy.sqlite3"
    target.symlink_to(victim)
    with pytest.raises(BackupError, match="is a link"):
        back_up(tmp_path / "data", target)
    assert victim.read_text() == "precious"
    target.unlink()
    assert back_up(tmp_path / "data", target) == 1
    assert back_up(tmp_path / "data", target) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.sqlite3", "data", "victim"]


def test_what_cannot_be_copied_leaves_the_earlier_copy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target = tmp_path / "copy.sqlite3"
    target.write_text("earlier")
    with pytest.raises(BackupError, match="no ledger is in"):
        back_up(tmp_path / "data", target)
    (tmp_path / "data" / FILE_NAME).write_text("this is no ledger")
    with pytest.raises(BackupError, match="is damaged: it is no database"):
        back_up(tmp_path / "data", target)
    with pytest.raises(BackupError, match="is the ledger itself"):
        back_up(tmp_path / "data", tmp_path / "data" / FILE_NAME)
    assert target.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.sqlite3", "data"]
