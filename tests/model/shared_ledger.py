"""Two replicas, one account of two workflows, and the database between them.

The transitions stand for the functions of `exporter.ledger.postgres` that their names say. Each
transaction is one step, as its lock makes it; a replica may stand still, die or lose its
connection between any two. What a fence compares is kept as the code keeps it: the holder and the
epoch in the lease, and the commits that this replica has made or read.

A life of a replica has a name of its own. One that died never comes back under it: `GONE`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

WORKFLOWS: Final = (0, 1)
REPLICAS: Final = (0, 1)
NOBODY: Final = -1
GONE: Final = -2
STALE: Final = -1
"""An epoch that no holder will have again: which one it was makes no difference."""


class Database(NamedTuple):
    """The account's row, its workflows' rows and its totals."""

    holder: int = NOBODY
    epoch: int = 0
    in_time: bool = False
    commits: int = 0
    settled: tuple[bool, ...] = (False, False)
    counted: tuple[int, ...] = (0, 0)


class Adopted(NamedTuple):
    """`store._Held`: what a replica read of the account, and has done since."""

    epoch: int
    commits: int
    known: tuple[bool, ...]
    doubt: int | None = None
    half: int | None = None


class Replica(NamedTuple):
    """One process."""

    lease: int | None = None
    """The epoch of `replica.Replica._leases`."""
    adopted: Adopted | None = None
    in_time: bool = False
    """By its own clock: it shows the account."""


class State(NamedTuple):
    """Everything."""

    database: Database = Database()
    before: Database | None = None
    """Without the last commit."""
    replicas: tuple[Replica, ...] = (Replica(), Replica())
    losses: int = 0
    """How often the database may lose its last commit, and has acknowledged it."""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in the code. Each can be left out, to see that it is missed."""

    looks_for_holder: bool = True
    looks_for_epoch: bool = True
    looks_for_commits: bool = True
    settles_in_one: bool = True
    clock_from_before: bool = True
    settles_doubt: bool = True
    releases_first: bool = True
    waits_for_the_lease: bool = True
    rises_above_its_own: bool = True
    """An epoch that the database has forgotten is not given once more to who remembers it."""


AS_THEY_ARE: Final = Rules()


def wrong(state: State) -> str:
    """What may never be."""
    database = state.database
    for workflow in WORKFLOWS:
        settled, counted = database.settled[workflow], database.counted[workflow]
        if counted > 1:
            return "an outcome is counted twice"
        if counted and not settled:
            return "an outcome is counted, and its row does not say so"
        if settled and not counted and not _is_half(state, workflow):
            return "an outcome is settled, and never counted"
    showing = [r for r in state.replicas if r.adopted is not None and r.in_time]
    # After a loss another lease may come back to life; docs/replicas.md says so.
    if len(showing) > 1 and not state.lost:
        return "two replicas show the account"
    can_settle = [
        r
        for number, r in enumerate(state.replicas)
        if r.adopted is not None
        and database.in_time
        and (database.holder, database.epoch) == (number, r.adopted.epoch)
    ]
    if len(can_settle) > 1:
        return "two replicas can settle"
    return ""


def is_done(state: State) -> bool:
    """Everything is counted."""
    return state.database.counted == (1, 1)


def moves(state: State, rules: Rules = AS_THEY_ARE) -> Iterator[tuple[str, State]]:
    """Everything that can happen next."""
    for number in REPLICAS:
        for name, after in _of_replica(state, number, rules):
            yield f"{name} {'AB'[number]}", _plain(after)
    if state.database.in_time and _can_expire(state, rules):
        over = state.database._replace(in_time=False)
        yield "the lease is over", state._replace(database=over)
    if state.losses and state.before is not None:
        yield (
            "the database loses a commit",
            _plain(
                state._replace(
                    database=state.before, before=None, losses=state.losses - 1, lost=True
                )
            ),
        )


def _of_replica(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    replica = state.replicas[number]
    if replica.lease is None or _is_adopted(replica):
        yield from _take(state, number, rules)
    else:
        # `Replica.check` does not end before it has.
        yield from _adopt(state, number)
    if replica.in_time:
        yield "lapse", _with(state, number, replica._replace(in_time=False))
    if replica.adopted is not None:
        if replica.adopted.half is not None:
            yield "count", _second_half(state, number)
        for workflow in WORKFLOWS:
            yield from _persist(state, number, workflow, rules)
    if replica.lease is not None or replica.adopted is not None:
        yield from _hand_on(state, number, rules)
        yield "kill", _killed(state, number)


# The database's side --------------------------------------------------------------------------


def _take(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """`leases.take`, and what `Replica.check` makes of it."""
    database, replica = state.database, state.replicas[number]
    is_free = not database.in_time or not rules.waits_for_the_lease
    if not is_free and database.holder != number:
        if replica.lease is not None:
            # It sees that another one holds it: `look` finds it lost.
            yield "check", _with(state, number, Replica())
        return
    epoch = database.epoch
    if database.holder != number:
        remembered = replica.lease if rules.rises_above_its_own else None
        epoch = max(epoch, epoch if remembered is None else remembered) + 1
    taken = _committed(state, database._replace(holder=number, epoch=epoch, in_time=True))
    yield "take, unheard,", taken
    renewed = replica._replace(lease=epoch)
    yield "take", _with(taken, number, renewed._replace(in_time=_is_adopted(renewed)))


def _is_adopted(replica: Replica) -> bool:
    return replica.adopted is not None and replica.adopted.epoch == replica.lease


def _adopt(state: State, number: int) -> Iterator[tuple[str, State]]:
    """`PostgresStore.adopt`."""
    database, replica = state.database, state.replicas[number]
    if (database.holder, database.epoch, database.in_time) != (number, replica.lease, True):
        yield "adopt without effect", _with(state, number, Replica())
        return
    adopted = Adopted(database.epoch, database.commits, database.settled)
    yield "adopt", _with(state, number, replica._replace(adopted=adopted, in_time=True))


def _persist(state: State, number: int, workflow: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """`PostgresStore.persist`: `_changing` with its `_lock`, `_settle_doubt` and `_write`."""
    database, replica = state.database, state.replicas[number]
    held = replica.adopted
    assert held is not None
    is_holder = not rules.looks_for_holder or database.holder == number
    is_epoch = not rules.looks_for_epoch or database.epoch == held.epoch
    if not (is_holder and is_epoch):
        yield "persist without effect", _with(state, number, Replica())
        return
    if rules.looks_for_holder and not database.in_time:
        return
    doubt, held = held.doubt, held._replace(doubt=None)
    if doubt is not None and rules.settles_doubt and database.commits == held.commits + 1:
        held = held._replace(commits=database.commits, known=_marked(held.known, doubt))
    if rules.looks_for_commits and held.commits < database.commits:
        yield "persist without effect", _with(state, number, Replica())
        return
    if rules.looks_for_commits and held.commits > database.commits:
        # `StoreBehind`: given again is what is known and the database has no more.
        again = held._replace(commits=database.commits, known=database.settled)
        yield "find commits lost", _with(state, number, replica._replace(adopted=again))
        return
    if held.known[workflow] or held.half is not None:
        return
    counted = _added(database.counted, workflow) if rules.settles_in_one else database.counted
    settled = _marked(database.settled, workflow)
    commits = database.commits + 1
    kept = _committed(state, database._replace(commits=commits, settled=settled, counted=counted))
    told = held._replace(
        commits=held.commits + 1,
        known=_marked(held.known, workflow),
        half=None if rules.settles_in_one else workflow,
    )
    yield f"settle {workflow} by", _with(kept, number, replica._replace(adopted=told))
    # `CommitUnknown`: the connection broke, before the commit or after it.
    unheard = replica._replace(adopted=held._replace(doubt=workflow))
    if rules.settles_in_one:
        yield f"settle {workflow}, unheard, by", _with(kept, number, unheard)
        yield f"settle {workflow} without effect by", _with(state, number, unheard)


def _second_half(state: State, number: int) -> State:
    """Of a settle that is not one transaction."""
    database, replica = state.database, state.replicas[number]
    assert replica.adopted is not None
    assert replica.adopted.half is not None
    counted = _added(database.counted, replica.adopted.half)
    done = replica._replace(adopted=replica.adopted._replace(half=None))
    return _with(_committed(state, database._replace(counted=counted)), number, done)


def _hand_on(state: State, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """`Replica._change` and then `leases.give_back`."""
    database = state.database
    released = _with(state, number, Replica())
    yield "release", released
    if database.holder == number:
        free = database._replace(holder=NOBODY, in_time=False)
        stopped = released if rules.releases_first else state
        yield "hand on", _committed(stopped, free)


def _killed(state: State, number: int) -> State:
    """Its name is never used again."""

    def without(database: Database) -> Database:
        return database._replace(holder=GONE) if database.holder == number else database

    before = None if state.before is None else without(state.before)
    died = state._replace(database=without(state.database), before=before)
    return _with(died, number, Replica())


def _can_expire(state: State, rules: Rules) -> bool:
    """A replica counts its time from before it asked: it is over before the database's is."""
    holder = state.database.holder
    if not rules.clock_from_before or state.lost or holder not in REPLICAS:
        return True
    return not state.replicas[holder].in_time


# States ---------------------------------------------------------------------------------------


def _committed(state: State, database: Database) -> State:
    return state._replace(database=database, before=state.database if state.losses else None)


def _with(state: State, number: int, replica: Replica) -> State:
    replicas = tuple(
        replica if each == number else known for each, known in enumerate(state.replicas)
    )
    return state._replace(replicas=replicas)


def _plain(state: State) -> State:
    """The same with the least numbers: only whether epochs are equal, and will be, counts."""
    least = state.database.epoch if state.before is None else state.before.epoch
    least = min(least, state.database.epoch)
    if least == 0:
        return state

    def epoch(known: int | None) -> int | None:
        return None if known is None else max(known - least, STALE)

    def plain(replica: Replica) -> Replica:
        adopted = replica.adopted
        if adopted is not None:
            adopted = adopted._replace(epoch=max(adopted.epoch - least, STALE))
        return replica._replace(lease=epoch(replica.lease), adopted=adopted)

    before = state.before and state.before._replace(epoch=state.before.epoch - least)
    return state._replace(
        database=state.database._replace(epoch=state.database.epoch - least),
        before=before,
        replicas=tuple(plain(replica) for replica in state.replicas),
    )


def _marked(known: tuple[bool, ...], workflow: int) -> tuple[bool, ...]:
    return tuple(value or each == workflow for each, value in enumerate(known))


def _added(counted: tuple[int, ...], workflow: int) -> tuple[int, ...]:
    return tuple(value + (each == workflow) for each, value in enumerate(counted))


def _is_half(state: State, workflow: int) -> bool:
    return any(r.adopted is not None and r.adopted.half == workflow for r in state.replicas)
