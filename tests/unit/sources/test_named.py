"""Ids that the configuration names, while the ledger cannot always take them."""

from exporter.interfaces.observations import Moment, OpenWorkflow, Removed, Tracked, TrackError
from exporter.sources.named import NamedIds

ONE, TWO, THREE = (f"00000000-0000-4000-8000-{number:012x}" for number in (1, 2, 3))


class Register:
    """Keeps what it is given, or says that it cannot."""

    def __init__(self) -> None:
        self.readable = True
        self.taken: list[Tracked] = []

    def track(self, taken: Tracked) -> bool:
        if not self.readable:
            raise TrackError
        self.taken.append(taken)
        return True

    def untrack(self, withdrawn: Removed) -> None:
        raise AssertionError(withdrawn)

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        return []


def make() -> tuple[Register, NamedIds]:
    register = Register()
    return register, NamedIds("studio", register, lambda: Moment(0.0, 0.0))  # type: ignore[arg-type]


def test_what_could_not_be_taken_up_is_tried_again() -> None:
    register, named = make()
    register.readable = False
    named.begin([ONE], has_files=True, again=False)
    named.replace({"file": [TWO]})
    named.retry()
    assert register.taken == []
    register.readable = True
    named.retry()
    assert [(t.workflow_id, t.source, t.again) for t in register.taken] == [
        (ONE, "configured", False),
        (TWO, "file", False),
    ]
    named.retry()
    assert len(register.taken) == 2


def test_what_nobody_names_any_more_is_not_tried_again() -> None:
    register, named = make()
    register.readable = False
    named.begin([ONE, TWO], has_files=False, again=False)
    named.replace({"configured": [TWO, THREE]})
    register.readable = True
    named.retry()
    assert {t.workflow_id for t in register.taken} == {TWO, THREE}
