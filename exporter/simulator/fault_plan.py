"""Decides which faults happen now: active faults, their time windows, and chance."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from exporter.simulator.faults import (
    AnswerFault,
    HugeEventFault,
    MalformedListFault,
    StreamFault,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporter.simulator.faults import BaseFault, Fault


class FaultPlan:
    """The active faults, and the random decisions when each of them happens.

    Not safe for use by several threads; it belongs to the simulator's loop.
    """

    def __init__(self, faults: Iterable[Fault], *, seed: object) -> None:
        self._rng = random.Random(f"{seed}/faults")  # noqa: S311 (a simulation, not a secret)
        self.struck: dict[str, int] = {}
        """How often each kind has happened."""
        self._spent: dict[int, int] = {}
        self._faults: tuple[Fault, ...] = ()
        self._answers: tuple[tuple[int, AnswerFault], ...] = ()
        self._streams: tuple[tuple[int, StreamFault], ...] = ()
        self._generation = 0
        self.replace(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults now set, whether or not their time has come."""
        return self._faults

    def replace(self, faults: Iterable[Fault]) -> None:
        """Replace all faults by these, and reset their counts."""
        self._faults = tuple(faults)
        # Two equal faults are two faults: what is spent and rolled hangs on a number of their own.
        self._spent = {}
        first = self._generation + 1
        self._generation += len(self._faults)
        numbered = list(enumerate(self._faults, first))
        self._answers = tuple((n, f) for n, f in numbered if isinstance(f, AnswerFault))
        self._streams = tuple((n, f) for n, f in numbered if isinstance(f, StreamFault))

    def of_answer(
        self, now: float, endpoint: str, account: str | None, workflow: str | None
    ) -> Iterator[AnswerFault]:
        """The faults that happen to this request, in the order in which they were set.

        Each is counted as it is taken, so take no more than are shown.
        """
        for number, fault in self._answers:
            if fault.endpoints and endpoint not in fault.endpoints:
                continue
            if isinstance(fault, MalformedListFault) and endpoint != "list":
                continue
            if (
                isinstance(fault, HugeEventFault)
                and not fault.endpoints
                and endpoint != "subscribe"
            ):
                continue
            concerned = self._concerns(fault, now, account, workflow)
            if concerned and self._strikes(fault, number):
                yield fault

    @property
    def any_of_streams(self) -> bool:
        """Whether a stream need ask at all; the usual answer is no, and costs nothing."""
        return bool(self._streams)

    def of_stream(
        self, now: float, account: str, workflow: str, rolled: set[int]
    ) -> Iterator[tuple[int, StreamFault]]:
        """The faults that happen to this stream now and were not considered for it before.

        Args:
            now: seconds of the simulated day.
            account: whose stream it is.
            workflow: the id that it follows.
            rolled: numbers of the faults already considered for this stream; added to.
        """
        for number, fault in self._streams:
            if number in rolled or not self._concerns(fault, now, account, workflow):
                continue
            rolled.add(number)
            if self._strikes(fault, number):
                yield number, fault

    def still_holds(self, number: int, now: float) -> bool:
        """Whether a fault of a stream is still set, and its window open."""
        return any(n == number and fault.holds(now) for n, fault in self._streams)

    @property
    def dice(self) -> random.Random:
        """The random numbers of the plan, for details of a fault."""
        return self._rng

    @staticmethod
    def _concerns(fault: BaseFault, now: float, account: str | None, workflow: str | None) -> bool:
        return (
            fault.holds(now)
            and (fault.account is None or fault.account == account)
            and (fault.workflow is None or fault.workflow == workflow)
        )

    def _strikes(self, fault: BaseFault, number: int) -> bool:
        spent = self._spent.get(number, 0)
        if fault.times is not None and spent >= fault.times:
            return False
        if fault.probability < 1.0 and self._rng.random() >= fault.probability:
            return False
        self._spent[number] = spent + 1
        kind = str(getattr(fault, "kind", "unknown"))
        self.struck[kind] = self.struck.get(kind, 0) + 1
        return True
