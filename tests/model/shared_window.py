"""The request window that two replicas share through the database, and the service that counts.

The transitions stand for `exporter.ledger.postgres.permits`. Time goes by in ticks: a period has
`PERIOD` of them, its ends included, and a request that was sent is counted by the service
`UNDER_WAY` ticks later at most, or never. A grant, with the look that goes before it, is one
transaction and one step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

SHARE: Final = 2
PERIOD: Final = 1
UNDER_WAY: Final = 1
REPLICAS: Final = (0, 1)
GONE: Final = 2
"""The owner of what a replica that died had under way."""
LONG_AGO: Final = PERIOD + UNDER_WAY + 1
"""Older makes no difference."""


class Request(NamedTuple):
    """A row of `comfycontrol_permit`, and what has become of the request that it is for."""

    owner: int
    has_row: bool = True
    taken: int = 0
    """Ticks ago, as the other ages."""
    told: int | None = None
    """Since when the row says that the answer has begun."""
    counted: int | None = None
    """Since when the service counts it."""
    is_answered: bool = False


class State(NamedTuple):
    """Everything. Which request is which makes no difference: they are sorted."""

    requests: tuple[Request, ...] = ()
    looked: tuple[bool, bool] = (False, False)
    """Who has looked and found room, where a grant is not one transaction."""
    losses: int = 0
    last: Request | None = None
    """The grant that the database committed last, and may lose."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in the code. Each can be left out, to see that it is missed."""

    grants_in_one: bool = True
    held_from_the_answer: bool = True
    keeps_those_of_the_dead: bool = True


AS_THEY_ARE: Final = Rules()


def counted(state: State) -> int:
    """How many requests the service counts in the last period."""
    return sum(r.counted is not None and r.counted <= PERIOD for r in state.requests)


def moves(
    state: State, rules: Rules = AS_THEY_ARE, replicas: tuple[int, ...] = REPLICAS
) -> Iterator[tuple[str, State]]:
    """Everything that can happen next."""
    for number in replicas:
        name = "AB"[number]
        yield from _take(state, number, rules)
        if any(r.owner == number for r in state.requests):
            yield f"kill {name}", _killed(state, number, rules)
    for request in set(state.requests):
        if request.counted is None and not request.is_answered and request.taken <= UNDER_WAY:
            yield "the service counts", _with(state, request, request._replace(counted=0))
        if request.owner != GONE and not request.is_answered:
            # It has begun, or it failed for good; it is counted before that or not at all.
            yield "answer", _with(state, request, request._replace(is_answered=True))
        if request.owner != GONE and request.is_answered and request.told is None:
            yield "_tell_all", _with(state, request, request._replace(told=0))
    yield "tick", _later(state)
    if state.losses and state.last is not None:
        without = state.last._replace(has_row=False)
        lost = state._replace(losses=state.losses - 1, last=None)
        yield "the database loses a grant", _with(lost, state.last, without)


def _take(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """`PostgresPermits._ask`: `_hold_address`, `_note` drops rows, `_take` looks and inserts."""
    name = "AB"[number]
    left = _without_old(state, rules)
    has_room = sum(r.has_row for r in left.requests) < SHARE
    if rules.grants_in_one:
        if has_room:
            yield f"take {name}", _granted(left, number)
    elif state.looked[number]:
        yield f"insert {name}", _granted(_looked(state, number, has_checked=False), number)
    elif has_room:
        yield f"look {name}", _looked(left, number, has_checked=True)


def _without_old(state: State, rules: Rules) -> State:
    def is_kept(request: Request) -> bool:
        if not rules.held_from_the_answer and request.taken > PERIOD:
            return False
        if request.told is not None and request.told > PERIOD:
            return False
        return request.taken <= PERIOD + UNDER_WAY

    return _sorted(
        state,
        [r if is_kept(r) else r._replace(has_row=False) for r in state.requests],
        keeps_last=True,
    )


def _granted(state: State, number: int) -> State:
    request = Request(number)
    found = _sorted(state, [*state.requests, request])
    return found._replace(last=request if state.losses else None)


def _killed(state: State, number: int, rules: Rules) -> State:
    """What it had sent may still come to the service, and is never told of."""
    left = [
        r._replace(owner=GONE, has_row=r.has_row and rules.keeps_those_of_the_dead)
        if r.owner == number
        else r
        for r in state.requests
    ]
    return _looked(_sorted(state, left), number, has_checked=False)


def _later(state: State) -> State:
    """A tick of the database's clock, and of the service's."""

    def older(age: int | None) -> int | None:
        return None if age is None else min(age + 1, LONG_AGO)

    return _sorted(
        state,
        [
            r._replace(
                taken=min(r.taken + 1, LONG_AGO), told=older(r.told), counted=older(r.counted)
            )
            for r in state.requests
        ],
    )


def _looked(state: State, number: int, *, has_checked: bool) -> State:
    first, second = state.looked
    looked = (has_checked, second) if number == 0 else (first, has_checked)
    return state._replace(looked=looked)


def _with(state: State, before: Request, after: Request) -> State:
    left = list(state.requests)
    left.remove(before)
    return _sorted(state, [*left, after])


def _sorted(state: State, requests: list[Request], *, keeps_last: bool = False) -> State:
    """Without those that say nothing any more. What follows a grant is no loss of the last one."""
    alive = [
        r
        for r in requests
        if r.has_row
        or (r.counted is not None and r.counted <= PERIOD)
        or (r.counted is None and r.taken <= UNDER_WAY and not r.is_answered)
    ]
    last = state.last if keeps_last else None
    return state._replace(requests=tuple(sorted(alive, key=_order)), last=last)


def _order(request: Request) -> tuple[int, ...]:
    return tuple(-1 if value is None else int(value) for value in request)
