"""Checks passwords with bcrypt: cached, with the same cost for all users, one at a time."""

import asyncio
import hashlib
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.web.workers import Workers

MOST_COST: Final = 14
"""The highest bcrypt cost, about a second. A check cannot be interrupted, and the process must be
able to end within three seconds."""

MOST_WAITING: Final = 32
"""How many checks of all clients may wait; each one delays a scraper that was not seen before."""

MOST_WAITING_OF_ONE: Final = 4
"""How many checks of one address may wait: a flood from one address leaves room for others."""

REMEMBERED: Final = 1000
"""How many results are remembered, of each of the two kinds (right and wrong)."""

_LONGEST: Final = 72
"""How many bytes of a password bcrypt uses. Other programs cut silently, so we must do the same to
agree."""

# Only hashes that a program writes: the unused bits of salt and digest are 0.
_HASH: Final = re.compile(
    rb"\$2[aby]\$(?P<cost>[0-9]{2})"
    rb"\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]"
)
_LEAST_COST: Final = 4
_MOST_COST_OF_BCRYPT: Final = 31


class TooManyChecksError(Exception):
    """Too many checks already wait; the client may try again."""


def cost_of(hashed: bytes) -> int | None:
    """The cost of a bcrypt hash; None if it is not one."""
    found = _HASH.fullmatch(hashed)
    if found is None:
        return None
    cost = int(found["cost"])
    return cost if _LEAST_COST <= cost <= _MOST_COST_OF_BCRYPT else None


def _compare(password: bytes, hashed: bytes) -> bool:
    # Imported for the first password, because most exporters have none to check.
    import bcrypt  # noqa: PLC0415

    return bcrypt.checkpw(password, hashed)


def _filler(cost: int) -> bytes:
    """A hash that is used only to spend the same time. No password for it is known."""
    return b"$2b$%02d$" % cost + b"." * 53


@dataclass(frozen=True, slots=True)
class Users:
    """The users' names and password hashes."""

    hashes: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def comparisons(self, user: bytes) -> tuple[bytes, ...]:
        """The hashes to compare with. Only the first one counts, and only if the user is known.

        The hashes for each user together cost as much as the most expensive hash of all users, and
        the same is true for an unknown name: 2^c + 2^c + 2^(c+1) + … + 2^(m-1) = 2^m.
        """
        highest = max(_cost(hashed) for hashed in self.hashes.values())
        if user not in self.hashes:
            return (_filler(highest),)
        own = self.hashes[user]
        return own, *(_filler(cost) for cost in range(_cost(own), highest))


def _cost(hashed: bytes) -> int:
    cost = cost_of(hashed)
    if cost is None:
        raise ValueError("not a bcrypt hash")
    return cost


class _Remembered:
    """Remembers the latest keys of one kind."""

    def __init__(self, most: int) -> None:
        self._keys: OrderedDict[bytes, None] = OrderedDict()
        self._most = most

    def __contains__(self, key: bytes) -> bool:
        if key not in self._keys:
            return False
        self._keys.move_to_end(key)
        return True

    def add(self, key: bytes) -> None:
        self._keys[key] = None
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)


class PasswordChecks:
    """Checks passwords for one event loop.

    It remembers digests of name, hash and password, made with a secret key of this process. None of
    the three can be derived from them, and a new hash makes the old result unreachable. Results of
    right and wrong passwords are kept separately, so that wrong passwords do not displace a
    scraper's right one.

    Args:
        compare: Compares password and hash, in its own thread; bcrypt releases the interpreter
            lock.
    """

    def __init__(
        self,
        compare: Callable[[bytes, bytes], bool] = _compare,
        *,
        remembered: int = REMEMBERED,
    ) -> None:
        self._compare = compare
        self._secret = secrets.token_bytes(32)
        self._right = _Remembered(remembered)
        self._wrong = _Remembered(remembered)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting: Counter[str] = Counter()
        # Only one thread, so that scrapes can be rendered on the other cores.
        self._thread = Workers(1, "passwords")

    async def is_right(self, users: Users, user: bytes, password: bytes, client: str) -> bool:
        """Whether this is the user's password.

        Args:
            users: The known users.
            user: The name given.
            password: The password given.
            client: The address of the client.

        Raises:
            TooManyChecksError: Too many other checks are waiting.
        """
        password = password[:_LONGEST]
        key = self._key(user, users.hashes.get(user, b""), password)
        if key in self._right:
            return True
        if key in self._wrong:
            return False
        check = self._under_way.get(key)
        if check is None:
            if self._waiting.total() >= MOST_WAITING or (
                self._waiting[client] >= MOST_WAITING_OF_ONE
            ):
                raise TooManyChecksError
            self._waiting[client] += 1
            check = asyncio.create_task(self._check(key, users, user, password, client))
            self._under_way[key] = check
        # Another caller may wait for the same check, so it continues even if this client has gone.
        return await asyncio.shield(check)

    async def _check(
        self, key: bytes, users: Users, user: bytes, password: bytes, client: str
    ) -> bool:
        try:
            outcome = await self._thread.run(self._compared, users.comparisons(user), password)
            right = outcome and user in users.hashes
            (self._right if right else self._wrong).add(key)
            return right
        finally:
            del self._under_way[key]
            self._waiting[client] -= 1
            # Remove addresses with a count of 0.
            self._waiting += Counter()

    def _compared(self, hashes: tuple[bytes, ...], password: bytes) -> bool:
        # All hashes are compared, whatever the first result is.
        first, *_ = [self._compare(password, hashed) for hashed in hashes]
        return first

    def _key(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in parts:
            # The lengths are included: "a", "bc" must differ from "ab", "c".
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()
