"""Every state that a model can come into, breadth first: it finds the shortest way to a fault."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

Move = tuple[str, S]


@dataclass(frozen=True, slots=True)
class Explored(Generic[S]):
    """What was found.

    Attributes:
        states: how many there are; all of them, unless something is wrong.
        wrong: what is wrong with the first wrong one, and "" where nothing is.
        trace: the steps that lead to it.
    """

    states: int
    wrong: str
    trace: tuple[str, ...]


def explore(
    first: S,
    moves: Callable[[S], Iterable[Move[S]]],
    wrong: Callable[[S], str],
    is_done: Callable[[S], bool] | None = None,
) -> Explored[S]:
    """Look at every state that can be reached, until one is wrong.

    Args:
        first: where it begins.
        moves: what can happen in a state, by name, and the state after it.
        wrong: what is wrong with a state, or "".
        is_done: where it is to end. Wrong is a state from which no steps lead there.
    """
    came: dict[S, tuple[S, str] | None] = {first: None}
    before: dict[S, list[S]] = {}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        reason = wrong(state)
        if reason:
            return Explored(len(came), reason, tuple(_trace(state, came)))
        for name, after in moves(state):
            if is_done is not None:
                before.setdefault(after, []).append(state)
            if after not in came:
                came[after] = (state, name)
                waiting.append(after)
    if is_done is not None:
        ending = _leading(before, [state for state in came if is_done(state)])
        for state in came:
            if state not in ending:
                return Explored(len(came), "it never ends well", tuple(_trace(state, came)))
    return Explored(len(came), "", ())


def _leading(before: dict[S, list[S]], ends: list[S]) -> set[S]:
    found = set(ends)
    waiting = deque(ends)
    while waiting:
        for state in before.get(waiting.popleft(), ()):
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


def _trace(state: S, came: dict[S, tuple[S, str] | None]) -> Iterator[str]:
    steps = []
    step = came[state]
    while step is not None:
        steps.append(step[1])
        step = came[step[0]]
    return reversed(steps)
