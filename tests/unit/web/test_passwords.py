"""Checks of passwords, by the comparisons that they cost."""

import asyncio
import gc
import threading
from collections.abc import Coroutine
from typing import Any

import bcrypt
import pytest

from exporter.web.security.passwords import (
    MOST_WAITING,
    MOST_WAITING_OF_ONE,
    PasswordChecks,
    TooManyChecksError,
    Users,
    cost_of,
)


def hashed(password: bytes, cost: int = 4, prefix: bytes = b"2b") -> bytes:
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).replace(b"2b", prefix, 1)


ALICE = hashed(b"right")
USERS = Users({b"alice": ALICE, b"bob": hashed(b"other")})


class Counting:
    """Compares, and keeps what it was asked to."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []

    def __call__(self, password: bytes, against: bytes) -> bool:
        self.hashes.append(against)
        return bcrypt.checkpw(password, against)

    @property
    def work(self) -> int:
        """What bcrypt has done so far: its cost is the logarithm of that."""
        return sum(2 ** (cost_of(against) or 0) for against in self.hashes)


class Held:
    """Compares only when it is let, and keeps which passwords."""

    def __init__(self) -> None:
        self.passwords: list[bytes] = []
        self.go_on = threading.Event()

    def __call__(self, password: bytes, against: bytes) -> bool:
        self.passwords.append(password)
        assert self.go_on.wait(30)
        return bcrypt.checkpw(password, against)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_right_and_wrong(prefix: bytes) -> None:
    users = Users({b"alice": hashed(b"right", prefix=prefix)})

    async def test() -> None:
        checks = PasswordChecks()
        assert await checks.is_right(users, b"alice", b"right", "")
        for password in (b"", b"Right", b"right\0", b"right ", ALICE):
            assert not await checks.is_right(users, b"alice", password, "")
        for user in (b"", b"Alice", b"alice ", b"alice\0", b"\xff"):
            assert not await checks.is_right(users, user, b"right", "")

    run(test())


def test_only_72_bytes_count_as_in_every_other_bcrypt() -> None:
    users = Users({b"alice": hashed(b"x" * 72)})

    async def test() -> None:
        checks = PasswordChecks()
        assert await checks.is_right(users, b"alice", b"x" * 100, "")
        assert not await checks.is_right(users, b"alice", b"x" * 71, "")

    run(test())


def test_what_was_checked_is_not_checked_again() -> None:
    counting = Counting()

    async def test() -> None:
        checks = PasswordChecks(counting)
        for _ in range(3):
            assert await checks.is_right(USERS, b"alice", b"right", "")
            assert not await checks.is_right(USERS, b"alice", b"wrong", "")
            assert not await checks.is_right(USERS, b"nobody", b"right", "")
        assert len(counting.hashes) == 3

    run(test())


def test_a_new_hash_is_checked_anew_and_the_old_password_is_wrong() -> None:
    async def test() -> None:
        checks = PasswordChecks()
        assert await checks.is_right(USERS, b"alice", b"right", "")
        changed = Users({b"alice": hashed(b"new")})
        assert not await checks.is_right(changed, b"alice", b"right", "")
        assert await checks.is_right(changed, b"alice", b"new", "")
        gone = Users({b"bob": USERS.hashes[b"bob"]})
        assert not await checks.is_right(gone, b"alice", b"right", "")
        assert not await checks.is_right(gone, b"alice", b"new", "")

    run(test())


def test_wrong_passwords_do_not_drive_out_a_right_one() -> None:
    counting = Counting()

    async def test() -> None:
        checks = PasswordChecks(counting, remembered=10)
        assert await checks.is_right(USERS, b"alice", b"right", "")
        for number in range(30):
            assert not await checks.is_right(USERS, b"alice", b"%d" % number, "")
        assert len(counting.hashes) == 31
        assert await checks.is_right(USERS, b"alice", b"right", "")
        assert not await checks.is_right(USERS, b"alice", b"29", "")
        assert len(counting.hashes) == 31
        # The bound holds: the oldest is forgotten.
        assert not await checks.is_right(USERS, b"alice", b"0", "")
        assert len(counting.hashes) == 32

    run(test())


def test_what_is_asked_for_again_is_not_forgotten() -> None:
    counting = Counting()

    async def test() -> None:
        checks = PasswordChecks(counting, remembered=2)
        for password in (b"again", b"1", b"again", b"2", b"again", b"3", b"again"):
            assert not await checks.is_right(USERS, b"alice", password, "")
        assert len(counting.hashes) == 4

    run(test())


def test_one_check_at_a_time() -> None:
    meeting = threading.Barrier(2)

    def met(_: bytes, __: bytes) -> bool:
        # Nobody else comes for as long as this one waits.
        try:
            meeting.wait(0.5)
        except threading.BrokenBarrierError:
            return True
        pytest.fail("two at once")

    async def test() -> None:
        checks = PasswordChecks(met)
        passwords = (b"right", b"wrong")
        waiting = (checks.is_right(USERS, b"alice", password, "") for password in passwords)
        assert all(await asyncio.gather(*waiting))

    run(test())


@pytest.mark.parametrize("costs", [(4, 4), (4, 5), (4, 7), (7, 4), (6, 8)])
@pytest.mark.parametrize(
    ("user", "password"),
    [(b"first", b"right"), (b"first", b"wrong"), (b"second", b"right"), (b"nobody", b"right")],
)
def test_everybody_costs_the_same(costs: tuple[int, int], user: bytes, password: bytes) -> None:
    users = Users({b"first": hashed(b"right", costs[0]), b"second": hashed(b"right", costs[1])})
    counting = Counting()

    async def test() -> None:
        right = await PasswordChecks(counting).is_right(users, user, password, "")
        assert right is (user != b"nobody" and password == b"right")

    run(test())
    assert counting.work == 2 ** max(costs)


def test_a_hash_of_nobody_opens_nothing() -> None:
    """Not even if bcrypt said that the password is that of the stand-in."""

    async def test() -> None:
        checks = PasswordChecks(lambda _, __: True)
        assert not await checks.is_right(USERS, b"nobody", b"x", "")

    run(test())


def test_one_check_for_all_who_wait_for_it() -> None:
    held = Held()

    async def test() -> None:
        checks = PasswordChecks(held)
        same = [
            asyncio.create_task(checks.is_right(USERS, b"alice", b"right", f"10.0.0.{n}"))
            for n in range(100)
        ]
        other = asyncio.create_task(checks.is_right(USERS, b"alice", b"wrong", "10.0.0.1"))
        await asyncio.sleep(0)
        held.go_on.set()
        assert all(await asyncio.gather(*same))
        assert not await other
        assert held.passwords == [b"right", b"wrong"]

    run(test())


def test_the_loop_goes_on_meanwhile_and_a_client_that_leaves_spoils_nothing() -> None:
    held = Held()

    async def test() -> None:
        checks = PasswordChecks(held)
        leaving = asyncio.create_task(checks.is_right(USERS, b"alice", b"right", "a"))
        staying = asyncio.create_task(checks.is_right(USERS, b"alice", b"right", "b"))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        held.go_on.set()
        assert await staying

    run(test())


def test_a_flood_is_refused_and_leaves_room_for_others() -> None:
    held = Held()

    async def ask(checks: PasswordChecks, number: int, client: str) -> bool:
        return await checks.is_right(USERS, b"alice", b"%d" % number, client)

    async def test() -> None:
        checks = PasswordChecks(held)
        flood = [asyncio.create_task(ask(checks, n, "flood")) for n in range(50)]
        await asyncio.sleep(0)
        scraper = asyncio.create_task(checks.is_right(USERS, b"alice", b"right", "scraper"))
        crowd = [asyncio.create_task(ask(checks, 100 + n, f"client {n}")) for n in range(50)]
        await asyncio.sleep(0)
        held.go_on.set()
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        assert sum(isinstance(o, TooManyChecksError) for o in outcomes) == 50 - MOST_WAITING_OF_ONE
        assert await scraper
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        taken = sum(outcome is False for outcome in outcomes)
        assert taken == MOST_WAITING - MOST_WAITING_OF_ONE - 1
        # Nobody waits any more: there is room again, and nothing is kept of who asked.
        assert not await ask(checks, 1000, "flood")
        assert not checks._waiting
        assert not checks._under_way

    run(test())


def test_a_fault_in_a_check_is_neither_kept_nor_in_the_way_of_the_next() -> None:
    asked = 0

    def failing(_: bytes, __: bytes) -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ValueError("first")
        return True

    async def test() -> None:
        checks = PasswordChecks(failing)
        with pytest.raises(ValueError, match="first"):
            await checks.is_right(USERS, b"alice", b"right", "a")
        assert await checks.is_right(USERS, b"alice", b"right", "a")

    run(test())


def test_no_password_stays_behind() -> None:
    password = b"".join([b"remember", b" me"])
    users = Users({b"alice": hashed(password)})

    async def test() -> PasswordChecks:
        checks = PasswordChecks()
        assert await checks.is_right(users, b"alice", password, "")
        return checks

    checks = asyncio.run(test())
    gc.collect()
    seen: set[int] = set()
    ahead: list[object] = [checks]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        assert each != password
        if not callable(each) or isinstance(each, PasswordChecks):
            ahead += gc.get_referents(each)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        (b"$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", 10),
        (b"$2a$31$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", 31),
        (b"$2y$03$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", None),
        (b"$2y$32$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", None),
        (b"$2x$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", None),
        (b"$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n", None),
        # bcrypt itself refuses this salt, and never agrees with this digest.
        (b"$2y$10$QOauhQNbBCuQDKes6eFzPzMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", None),
        (b"$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSj", None),
        (b"", None),
    ],
)
def test_what_is_a_hash(text: bytes, cost: int | None) -> None:
    assert cost_of(text) == cost


def test_every_hash_that_is_made_is_one() -> None:
    for number in range(200):
        assert cost_of(hashed(b"%d" % number)) == 4
