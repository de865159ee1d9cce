"""What befalls the exporter, its machine and its network in a run."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING
from uuid import UUID

from exporter.interfaces.observations import NoRoomError, TrackError
from tests.simulation.plan import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.simulation.plan import Event
    from tests.simulation.run import Run
    from tests.simulation.scheduler import Life


class Events:
    """Carries out the events of a plan.

    Args:
        run: to whose exporter they happen.
        dice: draws what the plan leaves open.
    """

    def __init__(self, run: Run, dice: Random) -> None:
        self._run, self._dice = run, dice

    def befall(self, event: Event) -> None:
        """Let it happen."""
        run = self._run
        here, life = run.scheduler, run.life
        here.note(event.kind)
        assert life is not None
        match event.kind:
            case "kill" | "power-cut":
                if not life.is_dead:
                    here.kill(life)
                run.restart(event.much, power_cut=event.kind == "power-cut")
            case "kill-later":
                life.dies_at = life.steps + int(self._dice.expovariate(1 / 300))
            case "kill-in-commit":
                run.disk.dies_in_commit = self._dice.randint(0, 6)
            case "stop":
                run.stop.set()
                while not life.is_dead:
                    here.sleep(0.5)
                run.restart(event.much)
            case "reload":
                self._reload()
            case "push" | "withdraw":
                self._name_some(event.kind)
            case "id-file":
                self._write_ids()
            case "away":
                self._for(event.much, lambda on: setattr(run.network, "is_away", on))
            case "disk-full" | "disk-read-only" | "disk-failing":
                fault = event.kind.removeprefix("disk-")
                self._for(event.much, lambda on: setattr(run.disk, "fault", fault if on else None))
            case "others":
                run.others_ask = True
                self._run.scheduler.spawn(
                    run.guarded(lambda: self._use_up(event.much)), "others", run.driver
                )
            case "drop-connections":
                for sock in list(run.network.open.values()):
                    sock.broken(104)
            case "clock-jumps":
                run.clock_put_until = here.now + event.much if run.plan.days else inf
                here.wall_error += self._dice.choice((-3600.0, -5.0, 5.0, 3600.0))
            case "token":
                # The one who changes it tells the exporter a while later.
                token = run.service.change_token()
                here.after(event.much, lambda: run.give_token(token))
            case "standstill":
                # Of the whole machine, in which the service goes on.
                self._stand_still(life, event.much)
            case _:
                raise ValueError(event.kind)

    def _for(self, seconds: float, switch: Callable[[bool], None]) -> None:
        switch(True)
        self._run.scheduler.after(seconds, lambda: switch(False))

    def _stand_still(self, life: Life, seconds: float) -> None:
        here = self._run.scheduler
        self._run.stood_until = here.now + seconds
        here.freeze(life, self._run.stood_until)

    def _use_up(self, seconds: float) -> None:
        """Somebody else on the address asks, more than is left to them."""
        here, end = self._run.scheduler, self._run.scheduler.now + seconds
        while here.now < end:
            self._run.service.others_ask()
            here.sleep(self._dice.expovariate(4.0))

    def _reload(self) -> None:
        app = self._run.app
        if app is None:
            return
        self._run.account["max_streams"] = self._dice.choice((1, 3, 500))
        listing = dict(self._run.account["listing"])
        if self._run.plan.days:
            most = self._run.plan.interval
            listing["interval"] = self._dice.choice((most, most / 2))
        else:
            listing["interval"] = self._dice.choice((5, 10, 20))
        self._run.account["listing"] = listing
        config = self._run.config()
        assert self._run.life is not None
        self._run.scheduler.spawn(lambda: app.reload(config), "reload", self._run.life)

    def _name_some(self, what: str) -> None:
        """A program pushes what it has submitted, and an id that does not exist; or takes back."""
        app = self._run.app
        known = self._run.service.new_ids()
        ids = self._dice.sample(known, min(len(known), 5))
        if app is None or self._run.life is None:
            return

        def act() -> None:
            self._run.named_at = inf  # until it is over, and from then on it is so old
            # The sender of what was not taken is told, and pushes again; here the list tells it.
            with suppress(NoRoomError, TrackError):
                if what == "push":
                    unknown = UUID(int=self._dice.getrandbits(128), version=4)
                    app.pushed.push(ACCOUNT, [*ids, str(unknown)])
                else:
                    for each in ids:
                        app.pushed.untrack(ACCOUNT, each)
            self._run.named_at = self._run.scheduler.now

        self._run.scheduler.spawn(act, what, self._run.life)

    def _write_ids(self) -> None:
        """A file of ids is written, half written, or gone."""
        known = self._run.service.new_ids()
        ids = self._dice.sample(known, min(len(known), 5))
        text = "".join(f"- {each}\n" for each in ids) or "[]\n"
        fate = self._dice.random()
        if fate < 0.2:
            self._run.id_file.unlink(missing_ok=True)
            return
        if fate < 0.4:
            text = text[: len(text) // 2]
        # As a careful program does: another file of the same name.
        fresh = self._run.id_file.with_suffix(".new")
        fresh.write_text(text, "ascii")
        fresh.replace(self._run.id_file)
        self._run.named_at = self._run.scheduler.now + 15.0  # it is read by then
