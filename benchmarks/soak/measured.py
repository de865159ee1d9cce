"""The exporter, which also writes down what its memory is made of.

    MEMORY_FIGURES=FILE python -m benchmarks.soak.measured <arguments of the exporter>

The memory of a process can grow without end only if what is in use grows. What is free grows as
well, until every hole is large enough for what comes: it is kept for later, and it ends.
"""

import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

from exporter.cli import main

EVERY_SECONDS: Final = 5.0

_FIELDS: Final = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class _MallocInfo(ctypes.Structure):
    """See mallinfo2(3)."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


def figures() -> dict[str, float]:
    """Objects of Python, and what the C library has lent and keeps free, in MiB."""
    found = {"objects": float(sys.getallocatedblocks())}
    library = ctypes.CDLL(None)
    if hasattr(library, "mallinfo2"):  # glibc 2.33 or later
        library.mallinfo2.restype = _MallocInfo
        told = library.mallinfo2()
        found["malloc_used_mib"] = round((told.uordblks + told.hblkhd) / 2**20, 1)
        found["malloc_free_mib"] = round(told.fordblks / 2**20, 1)
    return found


def _write(file: Path) -> None:
    part = file.with_suffix(".part")
    while True:
        part.write_text(json.dumps(figures()), encoding="utf-8")
        part.replace(file)
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=_write, args=(Path(os.environ["MEMORY_FIGURES"]),), daemon=True).start()
    sys.exit(main())
