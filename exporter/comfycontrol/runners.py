"""Pages of the account's runners, as typed values.

A runner's `headers` are its user's secrets, and its `endpoint` is where they are used. Neither is
read here, so neither can reach any other part.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.comfycontrol.documents import Fields, MalformedDocumentError, load_object
from exporter.comfycontrol.envelopes import rows_in
from exporter.comfycontrol.listing import MAX_BODY_SIZE, MOST_ROWS


class MalformedRunnersError(MalformedDocumentError):
    """A page that is not a list of runners. The message says why, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Runner:
    """One runner, as a page shows it.

    Attributes:
        id: identifies a runner if a page is shown twice; None if the service gave none.
        status: ``active`` or ``disabled`` as documented, in lower case; any other word is possible.
        tags: cleaned, each once.
    """

    id: str | None
    status: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunnerPage:
    """One page of the account's runners.

    Attributes:
        runners: the runners that could be read.
        entries: how many entries the page had, including unusable ones.
        total: how many runners there are, according to the service; None if it did not say.
    """

    runners: tuple[Runner, ...]
    entries: int
    total: int | None


def parse_runners(body: bytes) -> RunnerPage:
    """Read the body of one page. An entry without a usable status is left out.

    Raises:
        MalformedRunnersError: it is not a JSON object with a list of runners, or it is too long.
    """
    try:
        document = load_object(body, MAX_BODY_SIZE, rows="runners")
    except MalformedDocumentError as error:
        raise MalformedRunnersError(str(error)) from None
    entries, total = rows_in(document, "runners")
    if entries is None:
        raise MalformedRunnersError("the page has no list of runners")
    read = (_parse_runner(entry) for entry in entries[:MOST_ROWS])
    runners = tuple(runner for runner in read if runner is not None)
    return RunnerPage(runners, len(entries), total)


def _parse_runner(entry: object) -> Runner | None:
    if not isinstance(entry, dict):
        return None
    fields = Fields(entry)
    status = fields.text("status")
    if status is None:
        return None
    return Runner(fields.text("id"), status.lower(), tuple(dict.fromkeys(fields.tags())))
