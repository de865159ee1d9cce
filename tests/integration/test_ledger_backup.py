"""The commands by which docs/upgrading.md has the ledger copied while it is written."""

import re
import subprocess
import threading
from pathlib import Path

from exporter.ledger.file import FILE_NAME
from tests.e2e.programs import program
from tests.unit.ledger.ledgers import Clocks, ended, finished, ledger_on_disk

DOC = Path(__file__).parents[2] / "docs" / "upgrading.md"
COPIES = 8


def commands(folder: Path, to: Path) -> str:
    """The shell commands of the page, for these folders."""
    (block,) = re.findall(r"```sh\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
    text = str(block)
    for before, after in (
        ("/var/lib/comfycontrol-exporter", folder),
        ("/var/backups/comfycontrol-exporter", to),
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
            ledger.keep()
            counted += 40

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(COPIES):
            to = tmp_path / str(number)
            least = counted
            said = subprocess.run(
                ["sh", "-c", commands(tmp_path / "data", to)],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert (said.stdout, said.stderr) == ("ok\n", "")
            assert sorted(path.name for path in to.iterdir()) == [FILE_NAME, "round"]
            copy = ledger_on_disk(to, Clocks())
            snapshot = copy.snapshot()
            copy.close()
            assert snapshot.errors == 0
            assert least <= finished(snapshot) <= counted + 40
    finally:
        is_over.set()
        writer.join()
        ledger.close()
