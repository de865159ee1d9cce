"""What the service's documents do not rule out, a case each. The exporter must be right in all.

Minutes are steps: what stands in step 2 was written in minute 2. Step 0 is from before the line.
"""

from typing import Any

from tests.integration.silent.service import BASE, Case, Row, identity, iso


def row(case: str, status: str, *, number: int = 0, **fields: Any) -> dict[str, Any]:
    """A row, created in minute 1 unless it says otherwise."""
    return {
        "id": identity(case, number),
        "name": case,
        "status": status,
        "tags": [],
        "created_at": iso(65 + number / 1000),
        "updated_at": None,
        "started_at": None,
        "completed_at": None,
        **fields,
    }


def once(case: str, *states: dict[str, Any], expected: str = "completed", **more: Any) -> Case:
    """One workflow, its row in each step after the first."""
    steps: list[list[Row]] = [[], *([row(case, **state)] for state in states)]
    return Case(case, steps, {expected: 1}, **more)


def ran(start: float, end: float, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A run that is over, seconds after step 0 began."""
    return {"status": status, "started_at": iso(start), "completed_at": iso(end), **fields}


def epoch(seconds: float) -> int:
    """A stamp so many seconds after step 0 began, as a number of milliseconds."""
    return round((BASE + seconds) * 1000)


RUNNING: dict[str, Any] = {"status": "running", "started_at": iso(70)}
DONE = ran(70, 130.25, updated_at=iso(130.25))


def cases() -> list[Case]:
    """All of them, new ones each time."""
    return [*_stamps(), *_runs_again(), *_rows(), *_pages(), *_statuses(), *_streams(), *_ends()]


def _stamps() -> list[Case]:
    naive = {"started_at": iso(70)[:-1], "completed_at": iso(130.25)[:-1]}
    spaced = {"started_at": iso(70).replace("T", " "), "completed_at": iso(130.25).lower()}
    east = {
        "started_at": iso(70, digits=6, offset=2),
        "completed_at": iso(130.25, digits=6, offset=-7),
    }
    ceiled = {"started_at": iso(131, digits=0), "completed_at": iso(132, digits=0)}
    floored = {"started_at": iso(130, digits=0), "completed_at": iso(131, digits=0)}
    hour = 3600
    return [
        once("zones", RUNNING, {"status": "completed", **east}, seconds=60.25),
        once("naive", RUNNING, {"status": "completed", **naive}, seconds=60.25),
        once(
            "the end is cut to the second, before the start in milliseconds",
            {"status": "running", "started_at": iso(70.625)},
            ran(70.625, 70) | {"completed_at": iso(70, digits=0)},
            seconds=0.0,
            measured=1,
        ),
        once(
            "milliseconds since the epoch, over when first seen",
            {
                "status": "completed",
                "created_at": epoch(65),
                "started_at": epoch(70),
                "completed_at": epoch(80.25),
            },
            seconds=10.25,
        ),
        once("spaced", RUNNING, {"status": "completed", **spaced}, seconds=60.25),
        once(
            "rounded up in the list, down in the stream",
            {"status": "running", "started_at": ceiled["started_at"]},
            {"status": "completed", **ceiled},
            {"status": "completed", **ceiled},
            {"status": "completed", **ceiled, "updated_at": iso(250)},
            snapshots={2: [{"status": "completed", **floored}]},
        ),
        once(
            "no Date, runner an hour slow",
            {"status": "running", "started_at": iso(70 - hour)},
            ran(70 - hour, 130 - hour),
            tells_time=False,
        ),
        once(
            "no Date, runner an hour fast",
            {"status": "running", "started_at": iso(70 + hour)},
            ran(70 + hour, 130 + hour, updated_at=iso(130)),
            ran(70 + hour, 130 + hour, updated_at=iso(200)),
            tells_time=False,
        ),
    ]


def _runs_again() -> list[Case]:
    def twice(case: str, *states: dict[str, Any], expected: dict[str, int], **more: Any) -> Case:
        return Case(case, [[], *([row(case, **s)] for s in states)], expected, **more)

    invalid = {"status": "invalid", "updated_at": iso(75)}
    done = ran(70, 110.25, updated_at=iso(110.25))
    old = ran(-4000, -3990, created_at=iso(-4010), updated_at=iso(-3990))
    old_row = row("old row runs again", **old)
    edited = row("old row is edited", **{**old, "updated_at": iso(200)})
    return [
        twice(
            "again without a start",
            done,
            {"status": "completed", "completed_at": iso(170), "updated_at": iso(170)},
            expected={"completed": 2},
        ),
        twice(
            "again, invalid, for longer than a replica lags",
            done,
            *[{"status": "invalid"}] * 3,
            expected={"completed": 1, "invalid": 1},
        ),
        twice("invalid, then ran", invalid, ran(160, 165), expected={"invalid": 1, "completed": 1}),
        twice(
            "invalid, then cancelled, and the start turns up",
            invalid,
            {"status": "cancelled", "completed_at": iso(165)},
            {"status": "cancelled", "completed_at": iso(165), "started_at": iso(167)},
            expected={"invalid": 1, "cancelled": 1},
        ),
        twice(
            "invalid, then cancelled, first seen with the late start",
            invalid,
            {"status": "cancelled", "completed_at": iso(165), "started_at": iso(167)},
            expected={"invalid": 1, "cancelled": 1},
        ),
        twice(
            "the time zone of the runner is wrong, and it runs again soon",
            {"status": "running", "started_at": iso(70 - 7200), "updated_at": iso(70)},
            ran(70 - 7200, 130 - 7200, updated_at=iso(130)),
            {"status": "queued", "updated_at": iso(190)},
            ran(245 - 7200, 250 - 7200, updated_at=iso(250)),
            expected={"completed": 2},
            seconds=65.0,
            measured=2,
        ),
        twice(
            "runs while a stream tells the invalid one before",
            invalid,
            {"status": "running", "started_at": iso(160), "updated_at": iso(160)},
            ran(160, 225, updated_at=iso(225)),
            expected={"invalid": 1, "completed": 1},
            snapshots={2: [{"status": "invalid"}]},
        ),
        twice(
            "fast clock, then failed in its queue, for longer than a replica lags",
            ran(670, 672, "failed", updated_at=iso(80)),
            *[{"status": "failed", "completed_at": iso(170)}] * 3,
            expected={"failed": 2},
        ),
        Case(
            "old row runs again",
            [
                [old_row],
                [old_row],
                [old_row | {"status": "queued", "started_at": None, "completed_at": None}],
                [old_row | ran(181, 185, "failed", updated_at=iso(185))],
            ],
            {"failed": 1},
        ),
        Case(
            "old row is edited",
            [[edited | {"updated_at": iso(-3990)}], [edited], [edited], [edited]],
            {},
        ),
    ]


def _rows() -> list[Case]:
    def beside(case: str, others: list[Row]) -> Case:
        return Case(
            case,
            [[], [row(case, **RUNNING), *others], [row(case, **DONE), *others]],
            {"completed": 1},
        )

    return [
        beside("odd neighbours", ["a row", None, 7, [], {}, {"id": 7}, {"id": "not one"}]),
        once("no name, no tags", RUNNING | {"name": None, "tags": None}, DONE | {"tags": "a,b"}),
        once(
            "odd fields",
            RUNNING | {"tags": [1, None, ["a"], {}], "name": {"a": 1}, "queue_number": "3"},
            DONE | {"updated_at": 7, "created_at": []},
        ),
        once(
            "never told when it was created",
            RUNNING | {"created_at": None},
            DONE | {"created_at": None},
        ),
        once(
            "vanishes and returns",
            RUNNING,
            RUNNING,
            DONE,
            refuses={2: (404, "application/json*", '{"status": 404, "message": "no"}')},
        ),
    ]


def _pages() -> list[Case]:
    def many(case: str, count: int, **more: Any) -> Case:
        ended = [row(case, number=n, **DONE) for n in range(count, 0, -1)]
        return Case(case, [[], [], ended, ended], {"completed": count}, **more)

    two = "twice in the list"
    return [
        many("ten rows a page", 35, most=10),
        many("pages from 0, and no row at first", 35, first=0),
        many("one row a page, no total", 8, most=1, total=lambda _: None),
        many("total as text", 120, total=str),
        many("total below zero", 120, total=lambda _: -1),
        many("total with a fraction", 120, total=lambda rows: rows + 0.5),
        Case(
            two,
            [
                [],
                [row(two, **RUNNING)],
                [
                    row(two, **DONE),
                    *(row(two, number=n, **DONE) for n in range(3)),
                    row(two, **RUNNING),
                ],
                [
                    row(two, **DONE),
                    *(row(two, number=n, **DONE) for n in range(3)),
                    row(two, **RUNNING),
                ],
            ],
            {"completed": 3},
            most=3,
        ),
    ]


def _statuses() -> list[Case]:
    return [
        once(
            "spaces and capitals",
            RUNNING | {"status": " Running"},
            DONE | {"status": "COMPLETED\n"},
        ),
        once("a new end", RUNNING, DONE | {"status": "succeeded"}, expected="other"),
        once("a new open one", RUNNING | {"status": "paused"}, RUNNING, DONE),
        once(
            "told otherwise later", DONE, DONE | {"status": "failed"}, DONE | {"status": "failed"}
        ),
        once(
            "no stamp of any end",
            RUNNING | {"started_at": None},
            {"status": "cancelled"},
            expected="cancelled",
        ),
        once(
            "over when first seen, without stamps",
            {"status": "cancelled"},
            {"status": "cancelled"},
            expected="cancelled",
        ),
    ]


def _streams() -> list[Case]:
    told = (
        b'"started_at":"' + iso(70).encode() + b'","completed_at":"' + iso(130.25).encode() + b'"'
    )
    framed = (
        b": keep-alive\r\nevent: update\r\nid: 7\r\nretry: 100\r\n"
        b'data: {"status":\r\ndata: "completed",' + told + b"}\r\n\r\n"
    )
    failed = ran(70, 130, "failed", updated_at=iso(130))
    named = {"error_node": "KSampler", "exception_type": "ValueError"}
    known = {("KSampler", "ValueError"): 1}
    broken = b'data: {"status": "failed", "cause": {"exception_message": "\xff\xfe"\n\n'
    return [
        once("framed as it may be", RUNNING, RUNNING, DONE, snapshots={2: [framed]}),
        once("a stream of nothing", RUNNING, RUNNING, DONE, snapshots={2: [b"\n"], 3: [b"\n"]}),
        once(
            "a stream that is no JSON", RUNNING, RUNNING, DONE, snapshots={2: [b"data: <html>\n\n"]}
        ),
        once(
            "deleted as soon as it was over",
            RUNNING,
            RUNNING,
            snapshots={2: [{"status": "completed", "completed_at": iso(130)}]},
        ),
        once(
            "a cause that no stream tells",
            RUNNING,
            failed,
            failed,
            expected="failed",
            causes=known,
            details={2: named, 3: named},
        ),
        once(
            "a cause in no UTF-8",
            RUNNING,
            failed,
            expected="failed",
            causes=known,
            snapshots={2: [broken]},
            details={2: named},
        ),
        once(
            "the id of the failed node, whose type is in the graph",
            RUNNING,
            failed,
            expected="failed",
            causes=known,
            details={
                2: {
                    "error_node": "17",
                    "exception_type": "ValueError",
                    "workflow_json": {"17": {"class_type": "KSampler", "inputs": {}}},
                }
            },
        ),
        once(
            "a stream tells the end of a run before",
            RUNNING | {"created_at": iso(-9000)},
            DONE | {"created_at": iso(-9000)},
            snapshots={1: [ran(-8000, -7990, "failed"), {**RUNNING, "cause": None}]},
            seconds=60.25,
        ),
        once(
            "half a cause",
            RUNNING,
            failed,
            expected="failed",
            causes={("unknown", "OSError"): 1},
            details={
                2: {
                    "cause": {"node_type": None, "exception_type": "OSError"},
                    "error_node": None,
                    "exception_type": "OSError",
                }
            },
        ),
    ]


def _ends() -> list[Case]:
    page = "<!DOCTYPE html><title>Just a moment...</title>"
    requeued = {"status": "queued", "started_at": None}
    return [
        once(
            "200 with HTML while it ends",
            RUNNING,
            DONE,
            DONE,
            refuses={2: (200, "text/html", page)},
        ),
        once(
            "403 without a body while it ends",
            RUNNING,
            DONE,
            DONE,
            refuses={2: (403, "text/plain", "")},
        ),
        once(
            "only the list answers",
            RUNNING,
            DONE,
            refuses={1: (500, "application/json*", "{}"), 2: (500, "application/json*", "{}")},
        ),
        once(
            "requeued",
            RUNNING,
            requeued,
            {"status": "running", "started_at": iso(185)},
            ran(185, 245),
            seconds=60.0,
        ),
        once("an end before its stamps", RUNNING, {"status": "completed"}, DONE, seconds=60.25),
    ]
