"""A workflow whose stream is lent: two replicas that may hold its account, two that may borrow it.

The transitions stand for `exporter.ledger.postgres.exchange` and `exporter.app.lending`. One
exchange is one transaction and one step. A living borrower learns at its next exchange that it must
no longer stream something; until then another may stream it. The list is left out: what a stream
has shown must be counted by way of the exchange alone. What goes wrong by chance (a death,
a replica that hears nothing, an answer that is lost) happens a few times and then no more, and
then all must end well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

HOLDERS: Final = (0, 1)
BORROWERS: Final = (0, 1)
GONE: Final = 2
"""A life of a replica that is over."""


class Holder(NamedTuple):
    """A replica that may count the account, on one address."""

    holds: bool = False
    """As it believes; the database's lease tells."""
    knows_end: bool = False
    """Counted in memory, and not kept yet."""


class Borrower(NamedTuple):
    """A replica on another address."""

    in_time: bool = True
    """By its own clock it was alive for the database less than a lease ago."""
    is_alive: bool = True
    """The same by the database's clock."""
    lent: bool = False
    is_open: bool = False
    quiet: bool = False
    """It has told the end, and does not ask again."""
    untold: bool = False
    """It has seen the end, and not handed that back."""
    knows_holder: bool = True
    """The epoch of its last exchange is the one in the database."""


class State(NamedTuple):
    """Everything. The account's row, the workflow's assignment, what was told, and the replicas."""

    holder: int | None = None
    in_time: bool = False
    assigned: int | None = None
    is_other_epoch: bool = False
    """The assignment is of a holder before."""
    told: bool = False
    has_ended: bool = False
    counted: bool = False
    holders: tuple[Holder, ...] = (Holder(), Holder())
    borrowers: tuple[Borrower, ...] = (Borrower(), Borrower())
    faults: int = 2
    """How many more there may be."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in the code. Each can be left out, to see that it is missed."""

    clock_from_before: bool = True
    """A borrower stops before the database believes it to be dead."""
    takes_back_of_the_dead: bool = True
    takes_under_its_lease: bool = True
    puts_back: bool = True
    """What could not be handed back is handed back later."""
    asks_for_another_holder: bool = True
    """A borrower asks again where another holder may not have heard what the last one was told."""
    asks_again: bool = True
    """And after a while in any case."""


AS_THEY_ARE: Final = Rules()


def wrong(state: State) -> str:
    """What may never be."""
    if state.counted and not state.has_ended:
        return "it is counted before it has ended"
    if any(borrower.is_open and not borrower.is_alive for borrower in state.borrowers):
        # It is lent to another one by then, and nobody can tell this one to stop.
        return "one that is taken for dead streams it"
    return ""


def is_done(state: State) -> bool:
    """It is counted, and streamed by nobody."""
    return (
        state.counted
        and state.assigned is None
        and not any(borrower.is_open for borrower in state.borrowers)
    )


def moves(state: State, rules: Rules = AS_THEY_ARE) -> Iterator[tuple[str, State]]:
    """Everything that can happen next."""
    if not state.has_ended:
        yield "it ends", state._replace(has_ended=True)
    if state.in_time and (state.holder == GONE or state.faults):
        over = state._replace(in_time=False)
        yield "the lease is over", over if state.holder == GONE else _after_fault(over)
    for number in HOLDERS:
        for name, after in _of_holder(state, number, rules):
            yield f"{name} {'AB'[number]}", after
    for number in BORROWERS:
        for name, after in _of_borrower(state, number, rules):
            yield f"{name} {'CD'[number]}", after


# The holder -----------------------------------------------------------------------------------


def _of_holder(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    me = state.holders[number]
    is_holder = state.holder == number and state.in_time
    if not state.in_time:
        # `leases.take`. The one who held it last goes on, and remembers.
        is_other = state.holder != number
        taken = state._replace(
            holder=number,
            in_time=True,
            is_other_epoch=state.is_other_epoch or (is_other and state.assigned is not None),
        )
        mine = Holder(holds=True) if is_other or not me.holds else me
        yield "take", _with_holder(taken, number, mine)
    if me.holds:
        if is_holder or not rules.takes_under_its_lease:
            yield from _turn(state, number, rules)
        if is_holder and me.knows_end:
            yield "persist", _with_holder(state._replace(counted=True), number, me)
        if not is_holder and state.holder != number:
            yield "run_round", _with_holder(state, number, Holder())
    if state.faults:
        died = _after_fault(_with_holder(state, number, Holder()))
        yield "kill", died._replace(holder=GONE) if state.holder == number else died


def _turn(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """`PostgresExchange.exchange` with `_take` and `_lend_of`."""
    me = state.holders[number]
    told = me._replace(knows_end=me.knows_end or state.told)
    left = state._replace(told=False)
    if state.holder != number:
        # Only where it may: its ledger refuses what it would count.
        yield "exchange too late", left
        return
    # Its answer is lost, and the connection breaks.
    for after in _lent(left, rules, is_over=me.knows_end or state.counted):
        yield "exchange", _with_holder(after, number, told)
        if state.faults:
            yield "exchange, unheard,", _after_fault(after)


def _lent(state: State, rules: Rules, *, is_over: bool) -> Iterator[State]:
    dead = state.assigned == GONE or (
        state.assigned is not None and not state.borrowers[state.assigned].is_alive
    )
    if state.assigned is not None and (is_over or (dead and rules.takes_back_of_the_dead)):
        yield state._replace(assigned=None, is_other_epoch=False)
        return
    if state.is_other_epoch:
        heard = tuple(borrower._replace(knows_holder=False) for borrower in state.borrowers)
        yield state._replace(is_other_epoch=False, borrowers=heard)
        return
    if is_over or state.assigned is not None:
        yield state
        return
    for number in BORROWERS:
        if state.borrowers[number].is_alive:
            yield state._replace(assigned=number)


# The borrower ---------------------------------------------------------------------------------


def _of_borrower(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    me = state.borrowers[number]

    def with_me(after: Borrower, base: State = state) -> State:
        return _with_borrower(base, number, after)

    # An exchange: what is untold is handed back, and what is lent is learnt.
    lent = state.assigned == number
    asks = rules.asks_for_another_holder and not me.knows_holder
    heard = me._replace(
        in_time=True,
        is_alive=True,
        lent=lent,
        is_open=me.is_open and lent,
        quiet=me.quiet and lent and not asks,
        untold=False,
        knows_holder=True,
    )
    handed = state._replace(told=state.told or me.untold)
    yield "exchange", with_me(heard, handed)
    if state.faults and me.untold:
        left = me._replace(untold=rules.puts_back)
        yield "exchange, unheard,", _after_fault(with_me(left._replace(is_alive=True), handed))
        yield "exchange without effect", _after_fault(with_me(left))
    if me.lent and me.in_time and not me.quiet and not me.is_open:
        yield "open", with_me(me._replace(is_open=True))
    if me.is_open and state.has_ended:
        yield "see", with_me(me._replace(is_open=False, quiet=True, untold=True))
    if me.quiet and rules.asks_again:
        yield "ask again", with_me(me._replace(quiet=False))
    if state.faults:
        if me.in_time:
            # `_note_failure`: it ends what is borrowed, and what was not handed back.
            yield (
                "silence of",
                _after_fault(
                    with_me(
                        Borrower(in_time=False, is_alive=me.is_alive, knows_holder=me.knows_holder)
                    )
                ),
            )
        died = _after_fault(with_me(Borrower()))
        yield "kill", died._replace(assigned=GONE) if lent else died
    if me.is_alive and (not me.in_time or (not rules.clock_from_before and state.faults)):
        unseen = with_me(me._replace(is_alive=False))
        yield "the database misses", unseen if not me.in_time else _after_fault(unseen)


# States ---------------------------------------------------------------------------------------


def _after_fault(state: State) -> State:
    return state._replace(faults=state.faults - 1)


def _with_holder(state: State, number: int, holder: Holder) -> State:
    holders = tuple(holder if each == number else h for each, h in enumerate(state.holders))
    return state._replace(holders=holders)


def _with_borrower(state: State, number: int, borrower: Borrower) -> State:
    borrowers = tuple(borrower if each == number else b for each, b in enumerate(state.borrowers))
    return state._replace(borrowers=borrowers)
