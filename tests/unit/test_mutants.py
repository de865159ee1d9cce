"""The mutation tests' bookkeeping: what a survivor is called, and that each has a reason."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.__main__ import FILES, ROOT, report
from tests.mutants.survivors import (
    PATIENCE,
    Module,
    Outcome,
    ReasonError,
    describe,
    read_module,
)

SURVIVOR = "is_later: return stamp ⟨> → >=⟩ than"
MODULES = [read_module(file) for file in sorted(FILES.glob("*.toml"))]


def function(source: str) -> ast.FunctionDef:
    """The function in this text."""
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def outcome(*survivors: str) -> Outcome:
    """One of a module where only these survived."""
    return Outcome(Counter({"survived": len(survivors)}), survivors)


def test_a_mutant_is_called_by_what_was_changed_however_it_is_formatted() -> None:
    before = function("def x_is_later__mutmut_orig(stamp, than):\n    return stamp > than")
    after = function("def x_is_later__mutmut_3(stamp, than):\n    return (stamp >=\n      than)")
    assert describe("x_is_later__mutmut_3", before, after) == SURVIVOR


def test_a_method_is_called_with_its_class() -> None:
    before = function("def f(self):\n    self.free += 1")
    after = function("def f(self):\n    self.free -= 1")
    assert describe("xǁBudgetǁgive__mutmut_12", before, after) == (
        "Budget.give: self.free ⟨+= → -=⟩ 1"
    )


def test_the_default_of_an_argument_may_have_changed() -> None:
    before = function("def f(a: int = 0) -> int:\n    return a")
    after = function("def f(a: int = 1) -> int:\n    return a")
    assert describe("xǁBudgetǁgive__mutmut_1", before, after) == (
        "Budget.give: def give(a: int=⟨0 → 1⟩) -> int:"
    )


def test_a_survivor_without_a_reason_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Module("a.py", (), {}), outcome(SURVIVOR)) == 1
    assert SURVIVOR in capsys.readouterr().out
    assert report(Module("a.py", (), {SURVIVOR: ("equivalent", "why")}), outcome(SURVIVOR)) == 0


def test_a_reason_for_what_does_not_survive_fails() -> None:
    assert report(Module("a.py", (), {SURVIVOR: ("equivalent", "why")}), outcome()) == 1


@pytest.mark.parametrize(("kind", "why"), [("because", "it is so"), ("equivalent", " ")])
def test_a_reason_has_a_known_kind_and_a_text(tmp_path: Path, kind: str, why: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        f'module = "a.py"\ntests = []\n[[survivors]]\nkind = "{kind}"\nwhy = "{why}"\n'
        'mutants = ["f: a"]\n'
    )
    with pytest.raises(ReasonError):
        read_module(file)


def test_a_module_may_have_less_patience_and_leave_tests_out(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('module = "a.py"\ntests = ["t.py"]\n')
    assert read_module(file) == Module("a.py", ("t.py",), {}, (), PATIENCE)
    file.write_text('module = "a.py"\ntests = ["t.py"]\nwithout = ["t.py::slow"]\npatience = 6\n')
    assert read_module(file) == Module("a.py", ("t.py",), {}, ("t.py::slow",), 6.0)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.path)
def test_each_module_and_its_tests_are_there(module: Module) -> None:
    assert (ROOT / module.path).is_file()
    assert module.tests
    assert all((ROOT / test).exists() for test in module.tests)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.path)
def test_each_reason_is_about_a_statement_that_is_there(module: Module) -> None:
    tree = ast.parse((ROOT / module.path).read_text("utf-8"))
    lines = {line.strip() for line in ast.unparse(tree).splitlines()}
    for mutant in module.reasons:
        statement = mutant.partition(": ")[2]
        head, _, rest = statement.partition("⟨")
        was, _, tail = rest.partition(" → ")
        original = head + was + tail.partition("⟩")[2]
        assert set(original.split(" ; ")) <= lines, mutant
