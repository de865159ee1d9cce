"""Checks passwords with bcrypt: cached, at the same cost for everybody, one at a time."""

import asyncio
import hashlib
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import bcrypt

from exporter.web.workers import Workers

MOST_COST: Final = 14
"""About a second; the process must be able to end in three, and a check cannot be broken off."""

MOST_WAITING: Final = 32
"""Checks that may wait, of all clients; each holds up a scraper that was not seen before."""

MOST_WAITING_OF_ONE: Final = 4
"""Checks that may wait of one address: a flood from there leaves room for the others."""

REMEMBERED: Final = 1000
"""Outcomes that are remembered, of each of the two kinds."""

_LONGEST: Final = 72
"""Bytes of a password that bcrypt looks at. Others cut silently, and so must we to agree."""

# Only such as a program writes: the unused bits of salt and digest are 0.
_HASH: Final = re.compile(
    rb"\$2[aby]\$(?P<cost>[0-9]{2})"
    rb"\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]"
)
_LEAST_COST: Final = 4
_MOST_COST_OF_BCRYPT: Final = 31


class TooManyChecksError(Exception):
    """Others wait already; it may be tried again."""


def cost_of(hashed: bytes) -> int | None:
    """The cost of a bcrypt hash; None for what is none."""
    found = _HASH.fullmatch(hashed)
    if found is None:
        return None
    cost = int(found["cost"])
    return cost if _LEAST_COST <= cost <= _MOST_COST_OF_BCRYPT else None


def _filler(cost: int) -> bytes:
    """A hash that is compared with for the time that it takes. No password is known for it."""
    return b"$2b$%02d$" % cost + b"." * 53


@dataclass(frozen=True, slots=True)
class Users:
    """Names and hashes."""

    hashes: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def comparisons(self, user: bytes) -> tuple[bytes, ...]:
        """Hashes to compare with, of which only the first, and of known users only, counts.

        All of a user's together cost what the dearest hash of all users costs, and so do those of a
        name that nobody has: 2^c + 2^c + 2^(c+1) + … + 2^(m-1) = 2^m.
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
    """The latest keys of a kind."""

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

    What it remembers are digests of name, hash and password under a key of this process: none of
    the three can be derived from them, and a new hash makes the old outcome unreachable. Outcomes
    of right and of wrong passwords are kept apart, so that wrong ones do not drive out a scraper's.

    Args:
        compare: Of password and hash, in a thread of its own; bcrypt lets the interpreter go on.
    """

    def __init__(
        self,
        compare: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        *,
        remembered: int = REMEMBERED,
    ) -> None:
        self._compare = compare
        self._secret = secrets.token_bytes(32)
        self._right = _Remembered(remembered)
        self._wrong = _Remembered(remembered)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting: Counter[str] = Counter()
        # One: scrapes are rendered on the other cores.
        self._thread = Workers(1, "passwords")

    async def is_right(self, users: Users, user: bytes, password: bytes, client: str) -> bool:
        """Whether this is the user's password.

        Args:
            users: Who there is.
            user: The name given.
            password: The password given.
            client: Who asks, by address.

        Raises:
            TooManyChecksError: Too many others are being checked.
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
        # Another caller that waits for it wants the outcome even if this client has gone.
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
            # Not an entry for each address that ever asked.
            self._waiting += Counter()

    def _compared(self, hashes: tuple[bytes, ...], password: bytes) -> bool:
        # Every one, whatever the first says.
        first, *_ = [self._compare(password, hashed) for hashed in hashes]
        return first

    def _key(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in parts:
            # With their lengths: "a", "bc" is not "ab", "c".
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()
