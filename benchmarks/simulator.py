"""The simulator's own command line, with a shortcut for thousands of runners.

It looks at all runners for each workflow that it places, which takes milliseconds where there are
thousands of them; a benchmark's machine has better things to do. Here the search for an idle one
goes on where the last one ended. Where none is idle, all goes as ever.
"""

import sys
from itertools import chain
from weakref import WeakKeyDictionary

from exporter.cli import main
from exporter.simulator.life import Life
from exporter.simulator.runner import Runner


def place_quickly() -> None:
    """From now on, find idle runners without looking at all of them."""
    place = Life.runner_for
    last: WeakKeyDictionary[Life, int] = WeakKeyDictionary()

    def runner_for(self: Life, tags: tuple[str, ...]) -> Runner | None:
        begin = last.get(self, 0)
        for index in chain(range(begin, len(self.runners)), range(begin)):
            runner = self.runners[index]
            if runner.load == 0 and runner.takes(tags):
                last[self] = index
                return runner
        return place(self, tags)

    Life.runner_for = runner_for  # type: ignore[method-assign]


if __name__ == "__main__":
    place_quickly()
    sys.exit(main())
