"""The exporter itself, which also writes down when it counted what.

Takes the exporter's own command line; the environment names the file.
"""

import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.coverage.counted import CAUSE, CountedLog
from exporter.cli import main
from exporter.ledger.facts import Fact, Failed, Finished
from exporter.ledger.slicing import SliceLabels
from exporter.ledger.totals import Totals

FILE_VARIABLE: Final = "COUNTED_FILE"


def write_down(log: CountedLog) -> None:
    """From now on, write down each outcome and each cause in the moment it enters the totals."""
    count = Totals.add

    def add(
        self: Totals,
        account: str,
        workflow_id: str,
        fact: Fact,
        wall: float,
        slices: SliceLabels = (),
    ) -> None:
        count(self, account, workflow_id, fact, wall, slices)
        if isinstance(fact, Finished):
            log.add(workflow_id, fact.status.value)
        elif isinstance(fact, Failed):
            log.add(workflow_id, CAUSE)

    Totals.add = add  # type: ignore[method-assign]


if __name__ == "__main__":
    write_down(CountedLog(Path(os.environ[FILE_VARIABLE])))
    sys.exit(main())
