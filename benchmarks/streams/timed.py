"""The exporter's own command line, where each new snapshot tells how late it was read.

The server puts the time at which it made a snapshot into it. The delays, in milliseconds, go into
the file that `BENCHMARK_DELAYS` names, each behind the Unix seconds at which it was seen, as
doubles.
"""

import os
import sys
import time
from array import array
from pathlib import Path
from typing import Final

from exporter.cli import main
from exporter.comfycontrol import MalformedReading, NewSnapshot, RepeatedSnapshot
from exporter.comfycontrol.stream import EventReader

_MARK: Final = '"sent":'

_WRITE_AT: Final = 64
"""Numbers that are written at once: formatting each would be measured as well."""


def tell_delays(path: str) -> None:
    """From now on, note each delay in this file."""
    file = Path(path).open("ab", buffering=0)  # noqa: SIM115 - to the end
    noted = array("d")
    read = EventReader.read

    def timed(
        self: EventReader, name: str, data: str
    ) -> NewSnapshot | RepeatedSnapshot | MalformedReading | None:
        reading = read(self, name, data)
        begin = data.find(_MARK)
        if isinstance(reading, NewSnapshot) and begin >= 0:
            begin += len(_MARK)
            now = time.time_ns()
            delay = (now - int(data[begin : data.index(",", begin)])) / 1e6
            noted.extend((now / 1e9, delay))
            if len(noted) >= _WRITE_AT:
                noted.tofile(file)
                del noted[:]
        return reading

    EventReader.read = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    tell_delays(os.environ["BENCHMARK_DELAYS"])
    sys.exit(main())
