"""The serialised form in which observations of borrowed streams are handed back. Pure.

Replicas may have different clocks, so the age of an observation is written, not its time.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Moment, Observation


def written(observations: Iterable[Observation], now: Moment) -> str:
    """Serialise observations of one account, in order, at this moment."""
    return orjson.dumps([_written(seen, now) for seen in observations]).decode()


def read(account: str, said: str, age: float, now: Moment) -> list[Observation]:
    """Deserialise them at the holder, `age` seconds later; unreadable ones are left out.

    A replica of another version may write something that this one does not know.
    """
    try:
        rows = orjson.loads(said)
    except orjson.JSONDecodeError:
        return []
    found = []
    for row in rows if isinstance(rows, list) else ():
        try:
            found.append(_read(account, row, age, now))
        except (KeyError, TypeError, ValueError):
            continue
    return found


def _written(seen: Observation, now: Moment) -> dict[str, Any]:
    cause = seen.cause
    said = {
        "id": seen.workflow_id,
        "status": seen.status,
        "age": round(max(0.0, now.monotonic - seen.at.monotonic), 3),
        "position": seen.queue_position,
        "started": seen.started_at,
        "completed": seen.completed_at,
        "cause": None if cause is None else [cause.node_type, cause.exception_type],
        "outputs": seen.outputs,
        "service": seen.service_wall,
        "unreadable": seen.cause_unreadable or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _read(account: str, row: dict[str, Any], age: float, now: Moment) -> Observation:
    ago = age + float(row["age"])
    cause = row.get("cause")
    return Observation(
        account=account,
        workflow_id=str(row["id"]),
        via="stream",
        at=Moment(now.wall - ago, now.monotonic - ago),
        status=str(row["status"]),
        queue_position=row.get("position"),
        started_at=row.get("started"),
        completed_at=row.get("completed"),
        cause=None if cause is None else Cause(*cause),
        outputs=row.get("outputs"),
        service_wall=row.get("service"),
        cause_unreadable=bool(row.get("unreadable")),
    )
