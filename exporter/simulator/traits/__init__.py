"""Traits: what the service's documents leave open, and a service may therefore do.

A fault breaks an answer; a trait is a manner of the service that no document rules out. Each is
off unless a scenario asks for it. ``docs/simulator.md`` has them all.

Those that only change documents have a method ``apply``, which ``reporting`` calls. ``course``
carries out the others, and ``known`` says what a client can know of it all.
"""

from exporter.simulator.schema import StrictModel
from exporter.simulator.traits.broken import Broken
from exporter.simulator.traits.causes import HiddenCause
from exporter.simulator.traits.clocks import Clocks
from exporter.simulator.traits.dates import Dates
from exporter.simulator.traits.paging import Paging
from exporter.simulator.traits.picks import Deletions, Edits, Reruns, Vanishing
from exporter.simulator.traits.replicas import Replica
from exporter.simulator.traits.sizes import Sizes
from exporter.simulator.traits.stamps import Missing, Stamps
from exporter.simulator.traits.statuses import Statuses
from exporter.simulator.traits.turns import LateStarts, Requeues


class Traits(StrictModel):
    """The traits of a simulated service; without any, it behaves as in ``docs/simulator.md``."""

    # How it is told.
    stamps: Stamps = Stamps()
    missing: tuple[Missing, ...] = ()
    statuses: Statuses = Statuses()
    causes: tuple[HiddenCause, ...] = ()
    sizes: Sizes | None = None
    broken: tuple[Broken, ...] = ()
    # How it is answered.
    paging: Paging = Paging()
    replicas: tuple[Replica, ...] = ()
    dates: Dates = Dates()
    # What happens.
    clocks: Clocks | None = None
    requeues: Requeues | None = None
    late_starts: LateStarts | None = None
    reruns: tuple[Reruns, ...] = ()
    edits: tuple[Edits, ...] = ()
    deletions: tuple[Deletions, ...] = ()
    vanishing: tuple[Vanishing, ...] = ()


__all__ = ["Traits"]
