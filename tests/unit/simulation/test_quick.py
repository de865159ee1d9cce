"""Frozen classes that are created quickly are as they were otherwise."""

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from tests.simulation.quick import make_quick


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    size: int
    parts: list[int] = field(default_factory=list)
    color: str | None = None


def test_it_is_created_as_before() -> None:
    slow = Row("a", 1, color="red")
    make_quick(Row)
    quick = Row("a", 1, color="red")
    assert (quick, type(quick), hash(quick.name)) == (slow, Row, hash(slow.name))
    assert Row("a", 1).parts is not Row("a", 1).parts
    assert Row("a", 1, [3]).parts == [3]
    assert replace(quick, size=2) == Row("a", 2, [], "red")
    with pytest.raises(TypeError):
        Row("a")  # type: ignore[call-arg]


def test_it_stays_frozen() -> None:
    make_quick(Row)
    row = Row("a", 1)
    with pytest.raises(FrozenInstanceError):
        row.size = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del row.size


def test_what_does_more_when_it_is_created_stays_as_it_is() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        low: int
        high: int
        step: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError

    before = Checked.__init__
    make_quick(Checked)
    assert Checked.__init__ is before
