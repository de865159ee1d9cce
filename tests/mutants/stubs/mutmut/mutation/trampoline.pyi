# What mutmut puts into a module: its decorator leaves a function's type as it is.
from collections.abc import Callable
from typing import TypeAlias, TypeVar

_F = TypeVar("_F")
MutantDict: TypeAlias = dict[str, object]

def wrap_in_trampoline(mutants: MutantDict, is_classmethod: bool = False) -> Callable[[_F], _F]: ...
