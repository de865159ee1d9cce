"""Small faults, each of the kind that a hurried change makes. Data alone.

To add one: its name, the file under `exporter/`, and what is replaced by what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Mutation:
    """One fault: a text that is in a file once, and what stands there instead."""

    name: str
    file: str
    old: str
    new: str


PLANTED: Final = (
    # The request budget -----------------------------------------------------------------------
    Mutation(
        "the window is too short",
        "budget/sliding_window.py",
        "first.answered is None or first.answered + self._limit.per > now",
        "first.answered is None or first.answered + 0.7 * self._limit.per > now",
    ),
    Mutation(
        "one request too many",
        "budget/sliding_window.py",
        "        if used >= allowed:\n",
        "        if used > allowed:\n",
    ),
    Mutation(
        "requests under way hold no place",
        "budget/sliding_window.py",
        "return self._in_flight + len(self._answered)",
        "return len(self._answered)",
    ),
    Mutation(
        "nothing is assumed where nothing is known",
        "budget/sliding_window.py",
        "        return WindowMemory(since=now)\n",
        "        return WindowMemory()\n",
    ),
    Mutation(
        "requests are not noted for the next start",
        "budget/journal.py",
        "        self._write(_RECORD.pack(moment, math.nan), _place(number))\n",
        "",
    ),
    Mutation(
        "what was asked before is not read",
        "budget/sliding_window.py",
        "            if now - self._limit.per < answered:\n",
        "            if now < answered:\n",
    ),
    Mutation(
        "the cooldown is not kept to",
        "budget/sliding_window.py",
        "        if now < self._closed_until:\n            return self._closed_until - now\n",
        "",
    ),
    # The ledger -------------------------------------------------------------------------------
    Mutation(
        "a commit is rolled back",
        "ledger/file.py",
        '                database.execute("COMMIT")\n',
        '                database.execute("ROLLBACK")\n',
    ),
    Mutation(
        "an fsync is left out",
        "ledger/writer.py",
        "            self._store.sync()\n",
        "            pass\n",
    ),
    Mutation(
        "a scrape shows what is not kept",
        "ledger/ledger.py",
        "            self._writer.write_through(batch)\n            return snapshot",
        "            if batch is not None:\n                self._memory.take_back(batch)\n            return snapshot",
    ),
    Mutation(
        "a batch that failed is forgotten",
        "ledger/writer.py",
        "            self._memory.take_back(batch)\n",
        "            pass\n",
    ),
    Mutation(
        "totals and rows in two transactions",
        "ledger/contents.py",
        "    for (counter, labels), count in batch.counters.items():\n",
        '    database.execute("COMMIT")\n    database.execute("BEGIN IMMEDIATE")\n'
        "    for (counter, labels), count in batch.counters.items():\n",
    ),
    Mutation(
        "open workflows are not taken up again",
        "ledger/memory.py",
        '            if workflow.phase == "open":\n                self._open[key] = workflow\n'
        "                self._count_open(None, workflow)\n",
        "",
    ),
    Mutation(
        "what is owed is not taken up again",
        "ledger/memory.py",
        "            if workflow.pending_since is not None:\n                self._pending[key] = workflow\n"
        "            if workflow.held is not None:\n                self._holding[key] = workflow\n"
        "            self.totals",
        "            self.totals",
    ),
    # The tracker ------------------------------------------------------------------------------
    Mutation(
        "a cause is paid twice",
        "ledger/tracker.py",
        "        facts.append(_failure(seen))\n        after = replace(after, cause_pending_since=None)\n",
        "        facts.append(_failure(seen))\n",
    ),
    Mutation(
        "a cause is not owed",
        "ledger/tracker.py",
        "        return replace(settled, cause_pending_since=seen.at, ask_from=-inf)\n",
        "        return settled\n",
    ),
    Mutation(
        "an absent cause is believed at once",
        "ledger/tracker.py",
        "    return seen.at.monotonic - since.monotonic >= enough\n",
        "    return True\n",
    ),
    Mutation(
        "stamps are compared to the last digit",
        "ledger/runs.py",
        "    return stamp - than > _coarsest(stamp, than)\n",
        "    return stamp > than\n",
    ),
    Mutation(
        "what ended unseen is not counted",
        "ledger/counting.py",
        "    if created is not None and _may_be_after(created, cutoff):\n        return True\n",
        "    if created is not None and _may_be_after(created, cutoff):\n        return False\n",
    ),
    Mutation(
        "the line is drawn too late",
        "following/lister.py",
        "        cutoff = counting_cutoff(\n",
        "        cutoff = 60 + counting_cutoff(\n",
    ),
    Mutation(
        "a run ends when we look",
        "ledger/tracker.py",
        "    seconds = _between(start, end, facts)\n    if seconds is not None and workflow",
        "    seconds = _between(start, seen.at.wall, facts)\n    if seconds is not None and workflow",
    ),
    Mutation(
        "a duration is not owed",
        "ledger/tracker.py",
        "    if is_unsure or _lacks_stamps(settled, seen, had_run=workflow.status is Status.RUNNING):\n",
        "    if False:\n",
    ),
    Mutation(
        "an old status is believed",
        "ledger/tracker.py",
        "        if not is_new_run(workflow, seen, listed=rules.listed):\n",
        "        if seen.status != 'running' and not is_new_run(workflow, seen, listed=rules.listed):\n",
    ),
    Mutation(
        "refusals are believed at once",
        "following/ending.py",
        "    return refusal.count >= LEAST_REFUSALS and lasted >= LASTING_SECONDS\n",
        "    return True\n",
    ),
    # Listing ----------------------------------------------------------------------------------
    Mutation(
        "a full page is taken for the last",
        # Where the list is searched for open workflows (`ListingPass._is_last`) the same fault only
        # costs requests: what is not found is asked for by its id.
        "following/paging.py",
        "        if is_short and ends and total == bottom and self._believes(shown):\n",
        "        if ends:\n",
    ),
    Mutation(
        "the watermark runs ahead",
        "following/listing_pass.py",
        "max(horizon, watermark - overlap)",
        "max(horizon, watermark + 40)",
    ),
    Mutation(
        # In the lister alone (`wanted`) this costs some seconds and nothing else: the lists of each
        # status show the same workflows.
        "open workflows are not looked for",
        "ledger/ledger.py",
        "        return [w for w in workflows if w.account == account]\n",
        "        return [w for w in workflows if w.account != account]\n",
    ),
    # Streams, threads -------------------------------------------------------------------------
    Mutation(
        "the loop is not stopped",
        "following/loop.py",
        "        self.call(self._loop.stop)\n",
        "        pass\n",
    ),
    Mutation(
        "an account that is down stays down",
        "following/answers.py",
        "            self._down_since, self._was_up = None, True\n",
        "            self._down_since, self._was_up = self._down_since, True\n",
    ),
    # Metrics ----------------------------------------------------------------------------------
    Mutation(
        "a new series is not held at 0",
        "metrics/announcements.py",
        "monotonic - self._visible[0][1] >= self._seconds",
        "monotonic - self._visible[0][1] >= 0",
    ),
    Mutation(
        "the token is logged",
        "comfycontrol/client.py",
        "        if _TOKEN.fullmatch(token) is None:\n",
        '        __import__("logging").getLogger(__name__).info("asking with %s", token)\n'
        "        if _TOKEN.fullmatch(token) is None:\n",
    ),
    Mutation(
        "a thread that works counts as one that waits",
        "following/threads.py",
        "            self._idle -= 1\n            if self._jobs:\n",
        "            if self._jobs:\n",
    ),
)
