"""What mutmut left, in words that stay the same when a mutant's number changes."""

from __future__ import annotations

import ast
import difflib
import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KINDS: Final = ("equivalent", "unreachable", "log", "cost")
"""Why a survivor may stay: it does the same; no input that can occur leads there; only a log line
differs; only time or memory differs."""

PATIENCE: Final = 40.0
"""How many times as long as usual the tests of a mutant may take: by the clock on the wall, on a
machine that may be busy."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

_SURVIVED: Final = 0
_NO_TESTS: Final = 33
_TYPES: Final = 37
_TIMEOUTS: Final = (36, 24, -24, 152, 255)
_TOKEN: Final = re.compile(r"\w+|[<>=!+\-*/%&|^]+|\s+|.", re.DOTALL)
_NAME: Final = re.compile(r"x(?:_(?P<function>.+)|ǁ(?P<cls>.+)ǁ(?P<method>.+))__mutmut_\d+")


@dataclass(frozen=True, slots=True)
class Module:
    """One module that is changed."""

    path: str
    """Of its source, from the repository's folder."""
    tests: tuple[str, ...]
    """Files or folders of tests, in the same way."""
    reasons: dict[str, tuple[str, str]]
    """For each survivor that may stay: its kind, and why."""
    without: tuple[str, ...] = ()
    """Tests among them that take too long and tell nothing of a rule, as those of speed."""
    patience: float = PATIENCE
    """As `PATIENCE`; less where a mutant may go round in circles."""


class ReasonError(Exception):
    """A file of `modules/` is wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the mutants of one module."""

    counts: Counter[str]
    survivors: tuple[str, ...]


def read_module(file: Path) -> Module:
    """Read one file of `modules/`.

    Raises:
        ReasonError: a kind is unknown, a reason is empty, or a survivor has two.
    """
    document = tomllib.loads(file.read_text("utf-8"))
    reasons: dict[str, tuple[str, str]] = {}
    for entry in document.get("survivors", ()):
        kind, why = entry["kind"], entry["why"].strip()
        if kind not in KINDS or not why:
            raise ReasonError(f"{file.name}: {entry}: a kind of {KINDS} and a reason are needed")
        for mutant in entry["mutants"]:
            if mutant in reasons:
                raise ReasonError(f"{file.name}: two reasons for {mutant}")
            reasons[mutant] = (kind, why)
    without = tuple(document.get("without", ()))
    patience = float(document.get("patience", PATIENCE))
    return Module(document["module"], tuple(document["tests"]), reasons, without, patience)


def unexplained(outcome: Outcome, module: Module) -> list[str]:
    """The survivors without a reason."""
    return sorted(set(outcome.survivors) - module.reasons.keys())


def outdated(outcome: Outcome, module: Module) -> list[str]:
    """The reasons whose mutant does not survive, or is not there any more."""
    return sorted(module.reasons.keys() - set(outcome.survivors))


def read_outcome(folder: Path, path: str) -> Outcome:
    """Read what mutmut has written about a module in its work folder."""
    codes = json.loads((folder / "mutants" / f"{path}.meta").read_text("utf-8"))["exit_code_by_key"]
    functions = _functions((folder / "mutants" / path).read_text("utf-8"))
    survivors = []
    for name, code in codes.items():
        if code in (_SURVIVED, _NO_TESTS):
            short = name.rpartition(".")[2]
            original = re.sub(r"\d+$", "orig", short)
            survivors.append(describe(short, functions[original], functions[short]))
    return Outcome(Counter(map(_verdict, codes.values())), tuple(survivors))


def describe(name: str, original: Function, mutant: Function) -> str:
    """Say what was changed: the function, and the statement with ⟨what was → what is there now⟩."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not the name of a mutant: {name}")
    function = match["function"] or f"{match['cls']}.{match['method']}"
    before, after = _lines(original), _lines(mutant)
    if before == after:  # a default of an argument was changed
        before, after = _head(original, function), _head(mutant, function)
    return f"{function}: {_changed(before, after)}"


def _changed(before: list[str], after: list[str]) -> str:
    edits = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [each for each in edits if each[0] != "equal"]
    if not changed:
        return "nothing that can be seen"
    first, last = changed[0], changed[-1]
    old = " ; ".join(line.strip() for line in before[first[1] : last[2]])
    new = " ; ".join(line.strip() for line in after[first[3] : last[4]])
    a, b = _TOKEN.findall(old), _TOKEN.findall(new)
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    was, now = "".join(a[start : len(a) - end]), "".join(b[start : len(b) - end])
    return f"{''.join(a[:start])}⟨{was} → {now}⟩{''.join(a[len(a) - end :])}"


def _common(a: list[str], b: list[str]) -> int:
    count = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        count += 1
    return count


def _lines(function: Function) -> list[str]:
    """One statement a line, as Python itself would write it: formatting makes no difference."""
    return [line for statement in function.body for line in ast.unparse(statement).splitlines()]


def _head(function: Function, name: str) -> list[str]:
    """The line that begins it, as Python itself would write it."""
    head = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    returns = "" if function.returns is None else f" -> {ast.unparse(function.returns)}"
    return [f"{head} {name.rpartition('.')[2]}({ast.unparse(function.args)}){returns}:"]


def _functions(source: str) -> dict[str, Function]:
    return {
        node.name: node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def _verdict(code: int | None) -> str:
    if code in (_SURVIVED, _NO_TESTS):
        return "survived"
    if code == _TYPES:
        return "rejected by the type checker"
    if code is None:
        return "not tried"
    return "killed by a timeout" if code in _TIMEOUTS else "killed"


def total(outcomes: Iterable[Outcome]) -> Counter[str]:
    """Add up what became of the mutants of several modules."""
    counts: Counter[str] = Counter()
    for each in outcomes:
        counts.update(each.counts)
    return counts
