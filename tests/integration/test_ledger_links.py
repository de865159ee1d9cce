"""What others may plant in the storage folder is never followed, and modes go with the folder."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.budget.journal import RequestJournal
from exporter.budget.sliding_window import WindowMemory
from exporter.files.storage import make_ours
from exporter.ledger.file import FILE_NAME, PROBE_NAME
from exporter.ledger.opening import SCRATCH_NAME, OpenLedgerError
from exporter.ledger.witness import LOCK_NAME
from tests.unit.ledger.ledgers import Clocks, ended, ledger_on_disk

ROOT = Path(__file__).parents[2]
WINDOW = "requests-example.window"
OURS = [
    *(FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", f"{FILE_NAME}-journal", LOCK_NAME),
    *(SCRATCH_NAME, f"{SCRATCH_NAME}-journal", PROBE_NAME, WINDOW, f"{WINDOW}.new"),
]
PRECIOUS = b"precious\n"


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("not-there"))


def chain(path: Path, victim: Path) -> None:
    victim.with_name("between").symlink_to(victim)
    path.symlink_to(victim.with_name("between"))


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def use(folder: Path) -> None:
    """Everything that a life of the exporter writes there."""
    now = Clocks()
    window = RequestJournal(folder / WINDOW, bytes(16))
    window.begin(WindowMemory((), 0.0, 0.0, 10.0), 10)
    window.answered(window.sent(1.0), 2.0)
    ledger = ledger_on_disk(folder, now)
    try:
        ledger.observe(ended(1, now(), completed=20))
        ledger.persist()
    finally:
        ledger.close()


@pytest.mark.parametrize("plant", [link, dangling, chain, pipe])
@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("earlier", [False, True], ids=["first start", "later start"])
@pytest.mark.timeout(30)
def test_what_is_planted_is_not_followed(
    name: str, plant: Callable[[Path, Path], None], tmp_path: Path, *, earlier: bool
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if earlier:
        use(folder)
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_bytes(PRECIOUS)
    with suppress(FileNotFoundError):
        (folder / name).unlink()
    plant(folder / name, victim)
    refused = ""
    try:
        use(folder)
    except OpenLedgerError as error:
        refused = str(error)
    assert victim.read_bytes() == PRECIOUS
    assert {path.name for path in outside.iterdir()} <= {"victim", "between"}
    if refused:
        kind = "no regular file" if plant is pipe else "a link"
        assert refused == (
            f"cannot use the ledger: {folder / name} is {kind}: a file of the exporter belongs "
            "there; remove it"
        )
        (folder / name).unlink()
        use(folder)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "data").symlink_to("volume")
    use(tmp_path / "data")
    use(tmp_path / "data")
    assert (tmp_path / "volume" / FILE_NAME).is_file()


@pytest.mark.parametrize(("of_folder", "of_files"), [(0o2770, 0o660), (0o750, 0o640)])
def test_files_are_for_the_group_where_the_folder_is(
    of_folder: int, of_files: int, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(of_folder)
    before = os.umask(0o077 if of_folder & stat.S_IWGRP else 0o022)
    try:
        use(folder)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(modes, of_files)
    assert {FILE_NAME, LOCK_NAME, WINDOW} <= set(modes)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches, as that of pytest is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "data"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_another_user_left_is_named_with_its_mode(open_folder: Path) -> None:
    folder = open_folder
    folder.mkdir()
    use(folder)
    os.chown(folder, 0, 4242)
    folder.chmod(0o2770)
    for path in folder.iterdir():
        os.chown(path, 0, 4242)
        path.chmod(0o640)

    def start() -> str:
        script = (
            "import encodings.ascii, sys; from pathlib import Path\n"
            "from tests.unit.ledger.ledgers import Clocks, ledger_on_disk\n"
            "from exporter.ledger.opening import OpenLedgerError\n"
            "try: ledger_on_disk(Path(sys.argv[1]), Clocks()).close()\n"
            "except OpenLedgerError as error: print(error)\n"
        )
        # Imported before it becomes another user: that one may not read this checkout.
        become = "import os; os.setgroups([4242]); os.setgid(4243); os.setuid(4244)\n"
        head, _, rest = script.partition("try:")
        done = subprocess.run(
            [sys.executable, "-c", f"{head}{become}try:{rest}", str(folder)],
            capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout

    for name in (LOCK_NAME, FILE_NAME):
        path = folder / name
        assert start() == (
            f"cannot use the ledger: {path} belongs to user 0 and group 4242 with mode 0640, and "
            f"this is user 4244: give it mode 0660 (chmod g+rw {path})\n"
        )
        path.chmod(0o660)
    assert start() == ""


def test_a_file_is_made_only_where_nothing_is(tmp_path: Path) -> None:
    os.close(make_ours(tmp_path / "file"))
    with pytest.raises(FileExistsError):
        make_ours(tmp_path / "file")
