"""The exporter that anyone would write first: a thread and a stream for each id that is listed.

It is written fairly: it reads on while a page brings something new, counts nothing twice, waits
after an error before it tries again, and keeps an id until it has seen its end.

    python -m benchmarks.coverage.naive URL TOKEN FILE
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Final

import requests
import sseclient

from benchmarks.coverage.counted import CAUSE, CountedLog

LIST_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 2.0
FINAL: Final = ("completed", "failed", "cancelled", "invalid")


def list_for_ever(url: str, headers: dict[str, str], log: CountedLog) -> None:
    """List, and start a thread for each id that is new and not over from the beginning."""
    known: set[str] = set()
    while True:
        page, new = 1, True
        while new:
            try:
                answer = requests.get(
                    f"{url}/v1/workflow?per_page=100&page={page}", headers=headers, timeout=15
                )
                answer.raise_for_status()
            except requests.RequestException:
                break
            new = False
            for workflow in answer.json()["workflows"]:
                if workflow["id"] not in known:
                    new = True
                    known.add(workflow["id"])
                    arguments = (url, headers, workflow["id"], log)
                    threading.Thread(target=follow, args=arguments, daemon=True).start()
            page += 1
        time.sleep(LIST_SECONDS)


def follow(url: str, headers: dict[str, str], workflow_id: str, log: CountedLog) -> None:
    """Read one workflow's stream, again and again, until it has told the end."""
    while True:
        try:
            answer = requests.get(
                f"{url}/v1/workflow/{workflow_id}/subscribe",
                headers={**headers, "Accept": "text/event-stream"},
                stream=True,
                timeout=15,
            )
            answer.raise_for_status()
            for event in sseclient.SSEClient(iter(answer)).events():
                snapshot = json.loads(event.data)
                if snapshot["status"] in FINAL:
                    log.add(workflow_id, snapshot["status"])
                    if snapshot["status"] == "failed":
                        log.add(workflow_id, CAUSE)
                    answer.close()
                    return
        except (requests.RequestException, ValueError):
            time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    list_for_ever(
        sys.argv[1], {"Authorization": f"Bearer {sys.argv[2]}"}, CountedLog(Path(sys.argv[3]))
    )
