"""Lists of ids in files, as they change."""

import os
from pathlib import Path

import pytest

from exporter.interfaces.observations import Moment
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.ledger import Ledger
from exporter.ledger.totals import Buckets, LabelCaps
from exporter.sources.files import WatchedFiles
from exporter.sources.named import NamedIds
from exporter.sources.pushed import PushedIds

A = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
B = "b1b2c3d4-e5f6-7890-abcd-ef1234567890"
C = "c1b2c3d4-e5f6-7890-abcd-ef1234567890"


class Watch:
    def __init__(self, *patterns: str) -> None:
        self.clock = 1000.0
        self.ledger = Ledger(
            {"studio": AccountTerms(lookback=3600, listed=False)},
            Buckets((1.0,), (1.0,), (1.0,)),
            LabelCaps(10, 10),
            self.now,
        )
        self.named = NamedIds("studio", self.ledger, self.now)
        self.files = WatchedFiles("studio", patterns, self.named)

    def note_withdrawn(self, _: str, workflow_id: str) -> None:
        self.named.note_withdrawn(workflow_id)

    def now(self) -> Moment:
        return Moment(self.clock, self.clock)

    def look(self) -> set[str]:
        self.files.check()
        return {w.workflow_id for w in self.ledger.open_workflows("studio")}


def write(path: Path, *ids: str) -> None:
    path.write_text("".join(f"- {workflow_id}\n" for workflow_id in ids))
    # Two writes within one tick of the file system's clock must not look the same.
    write.ticks += 1  # type: ignore[attr-defined]
    os.utime(path, ns=(0, write.ticks))  # type: ignore[attr-defined]


write.ticks = 0  # type: ignore[attr-defined]


def test_ids_come_and_go_with_the_files(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    assert watch.look() == set()
    write(tmp_path / "one.yml", A, B)
    assert watch.look() == {A, B}
    write(tmp_path / "one.yml", B)
    write(tmp_path / "two.yml", C)
    assert watch.look() == {B, C}
    (tmp_path / "two.yml").unlink()
    assert watch.look() == {B}
    dropped = watch.ledger.snapshot().totals.counters["dropped", ("studio", "withdrawn")]
    assert dropped.value == 2


def test_an_id_that_was_withdrawn_comes_back_when_its_file_is_written_again(
    tmp_path: Path,
) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    pushed = PushedIds({}, watch.ledger, watch.now, lambda *_: None, watch.note_withdrawn)
    write(tmp_path / "one.yml", A, B)
    write(tmp_path / "two.yml", C)
    assert watch.look() == {A, B, C}
    for each in (A, C):
        assert pushed.untrack("studio", each)
    # Files that stay as they are say nothing, nor does another one.
    assert watch.look() == watch.look() == {B}
    write(tmp_path / "two.yml", B)
    assert watch.look() == {B}
    write(tmp_path / "one.yml", A, B)
    assert watch.look() == {A, B}
    # Once: what was named again is as any other.
    assert pushed.untrack("studio", A)
    assert watch.look() == {B}
    write(tmp_path / "two.yml", B, C)
    assert watch.look() == {B, C}


def test_one_that_was_withdrawn_comes_back_when_it_is_pushed(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    pushed = PushedIds({}, watch.ledger, watch.now, lambda *_: None, watch.note_withdrawn)
    write(tmp_path / "one.yml", A)
    watch.look()
    assert pushed.untrack("studio", A)
    assert pushed.push("studio", [A]).taken_up == 1
    assert watch.look() == {A}


def test_an_id_that_moves_from_file_to_file_stays(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    write(tmp_path / "one.yml", A)
    watch.look()
    write(tmp_path / "one.yml", B)
    write(tmp_path / "two.yml", A)
    assert watch.look() == {A, B}
    assert watch.ledger.snapshot().totals.counters["dropped", ("studio", "withdrawn")].value == 0


def test_a_file_that_makes_no_sense_keeps_its_old_ids(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    write(tmp_path / "one.yml", A)
    watch.look()
    (tmp_path / "one.yml").write_text("{not: a list")
    assert watch.look() == {A}
    assert "error in a workflow file" in caplog.text
    (tmp_path / "one.yml").write_bytes(b"\xff\xfe\x00")
    assert watch.look() == {A}


def test_good_ids_count_beside_bad_ones(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    (tmp_path / "one.yml").write_text(f"- {A}\n- nonsense\n")
    assert watch.look() == {A}


def test_a_file_that_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(str(tmp_path / "*.yml"))
    write(tmp_path / "one.yml", A)
    watch.look()
    reads: list[Path] = []
    monkeypatch.setattr(Path, "read_text", lambda path, _: reads.append(path))
    assert watch.look() == {A}
    assert reads == []


@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_told_and_never_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "good.yml", A)
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "zero.yml").symlink_to("/dev/zero")
    watch = Watch(str(tmp_path / "*.yml"))
    assert watch.look() == {A}
    assert watch.look() == {A}
    assert len(caplog.records) == 3  # once each
    reading = watch.files.reading()
    assert reading.ok == 1
    assert [Path(path).name for path in reading.faulty] == ["folder.yml", "pipe.yml", "zero.yml"]
    assert "is a named pipe" in reading.faulty[str(tmp_path / "pipe.yml")]


def test_a_hundred_and_fifty_thousand_ids_are_read(tmp_path: Path) -> None:
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(150_000)]
    write(tmp_path / "ids.yml", *ids)
    watch = Watch(str(tmp_path / "ids.yml"))
    assert watch.files.read() == set(ids)
    assert watch.files.reading().ok == 1


@pytest.mark.parametrize("form", ["lines", "json", "brackets"])
def test_one_mistake_among_a_hundred_and_fifty_thousand_ids_is_named(
    tmp_path: Path, form: str
) -> None:
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(150_000)]
    entries = [*ids[:100_000], "no id", *ids[100_000:]]
    if form == "lines":
        write(tmp_path / "ids.yml", *entries)
    else:
        quote = '"' if form == "json" else ""
        text = ",\n".join(f"{quote}{entry}{quote}" for entry in entries)
        (tmp_path / "ids.yml").write_text(f"[{text}]\n")
    watch = Watch(str(tmp_path / "ids.yml"))
    assert watch.files.read() == set(ids)
    (fault,) = watch.files.reading().faulty.values()
    assert fault.startswith("line 100001: [100000] is not a workflow id")


def test_a_faulty_file_is_told_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ids.yml"
    path.write_text(f"- {A}\n" + "- no id\n" * 100)
    watch = Watch(str(path))
    assert watch.look() == {A}
    assert watch.look() == {A}
    assert len(caplog.records) == 21  # some of them, and how many more
    assert "line 2: [1] is not a workflow id" in watch.files.reading().faulty[str(path)]
    write(path, B)
    watch.look()
    assert watch.files.reading().faulty == {}
    assert watch.files.reading().ok == 1


def test_a_pattern_without_files_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pattern = str(tmp_path / "*.yml")
    watch = Watch(pattern)
    watch.look()
    watch.look()
    assert [record.message for record in caplog.records] == ["no workflow file found"]
    assert watch.files.reading().unmatched == (pattern,)
    write(tmp_path / "one.yml", A)
    watch.look()
    assert watch.files.reading().unmatched == ()
