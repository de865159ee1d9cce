"""The simulator's own calls under ``/_simulator``: the truth, faults, and the course of the day.

They need no token and do not count in the rate limit, which is why the simulator belongs on a
loopback address.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from exporter.simulator.faults import parse_faults
from exporter.simulator.order import advance, create, execute

if TYPE_CHECKING:
    from starlette.requests import Request

    from exporter.simulator.engine import Engine


def control_routes(engine: Engine) -> list[Route]:
    """The routes of the simulator's controls."""
    control = _Control(engine)
    return [
        Route("/_simulator", control.status, methods=["GET"]),
        Route("/_simulator/truth", control.truth, methods=["GET"]),
        Route("/_simulator/slices", control.slices, methods=["GET"]),
        Route("/_simulator/scenario", control.scenario, methods=["GET"]),
        Route("/_simulator/faults", control.show_faults, methods=["GET"]),
        Route("/_simulator/faults", control.add_faults, methods=["POST"]),
        Route("/_simulator/faults", control.replace_faults, methods=["PUT", "PATCH"]),
        Route("/_simulator/faults", control.clear_faults, methods=["DELETE"]),
        Route("/_simulator/pause", control.pause, methods=["POST"]),
        Route("/_simulator/resume", control.resume, methods=["POST"]),
        Route("/_simulator/workflows", control.create, methods=["POST"]),
        Route("/_simulator/workflows/{id}/advance", control.advance, methods=["POST"]),
        Route("/_simulator/workflows/{id}/execute", control.execute, methods=["POST"]),
        Route("/_simulator/workflows/{id}", control.delete, methods=["DELETE"]),
        Route("/_simulator/runners/{name}", control.set_runner, methods=["PATCH"]),
        Route("/_simulator/accounts/{name}/revoke", control.revoke, methods=["POST"]),
        Route("/_simulator/accounts/{name}/rotate", control.rotate, methods=["POST"]),
    ]


def _json(document: object, code: int = 200) -> Response:
    return Response(orjson.dumps(document), code, media_type="application/json")


class _Control:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def status(self, _request: Request) -> Response:
        engine = self._engine
        now = engine.now()
        return _json(
            {
                "scenario": engine.scenario.name,
                "seed": engine.seed,
                "speed": engine.clock.speed,
                "day_seconds": now,
                "paused": engine.world.arrivals.paused,
                "workflows": len(engine.world.workflows),
                "streams_open": engine.tally.streams_open,
                "accounts": engine.tokens.current,
                "runners": [
                    {
                        "name": runner.name,
                        "active": runner.active,
                        "running": None if runner.running is None else runner.running.id,
                        "queued": len(runner.queue),
                    }
                    for runner in engine.world.runners
                ],
            }
        )

    async def truth(self, _request: Request) -> Response:
        return _json(self._engine.truth().as_json())

    async def slices(self, request: Request) -> Response:
        origin: Literal["tag", "name"] = (
            "name" if request.query_params.get("from") == "name" else "tag"
        )
        truth, match = self._engine.truth(), request.query_params.get("match", "")
        try:
            groups = re.compile(match).groups
        except re.error:
            groups = 0
        if groups != 1:
            raise HTTPException(400, "match: must be a regular expression with one group")
        return _json(
            {name: truth.slices(name, origin=origin, match=match) for name in truth.deletions}
        )

    async def scenario(self, _request: Request) -> Response:
        return _json(self._engine.scenario.model_dump(mode="json", by_alias=True))

    async def show_faults(self, _request: Request) -> Response:
        return self._faults()

    async def add_faults(self, request: Request) -> Response:
        plan = self._engine.faults
        plan.replace((*plan.faults, *parse_faults(await _fault_list(request))))
        return self._faults()

    async def replace_faults(self, request: Request) -> Response:
        self._engine.faults.replace(parse_faults(await _fault_list(request)))
        return self._faults()

    async def clear_faults(self, _request: Request) -> Response:
        self._engine.faults.replace(())
        return self._faults()

    async def pause(self, _request: Request) -> Response:
        self._engine.set_paused(paused=True)
        return _json({"paused": True})

    async def resume(self, _request: Request) -> Response:
        self._engine.set_paused(paused=False)
        return _json({"paused": False})

    async def create(self, request: Request) -> Response:
        workflow = create(self._engine, await _mapping(request))
        return _json(self._engine.world.truth(workflow).as_json(), 201)

    async def advance(self, request: Request) -> Response:
        workflow = self._engine.world.workflows.get(request.path_params["id"])
        if workflow is None:
            raise HTTPException(404, "No such workflow.")
        advance(self._engine, workflow, await _mapping(request))
        return _json(self._engine.world.truth(workflow).as_json())

    async def execute(self, request: Request) -> Response:
        workflow = self._engine.world.workflows.get(request.path_params["id"])
        if workflow is None:
            raise HTTPException(404, "No such workflow.")
        if not execute(self._engine, workflow, await _mapping(request)):
            raise HTTPException(400, "It has not ended yet.")
        return _json(self._engine.world.truth(workflow).as_json())

    async def delete(self, request: Request) -> Response:
        workflow = self._engine.world.workflows.get(request.path_params["id"])
        if workflow is None:
            raise HTTPException(404, "No such workflow.")
        self._engine.delete(workflow)
        return _json({"deleted": workflow.id})

    async def set_runner(self, request: Request) -> Response:
        active = (await _mapping(request)).get("active")
        if not isinstance(active, bool):
            raise HTTPException(400, "active: must be true or false")
        name = request.path_params["name"]
        try:
            self._engine.set_runner(name, active=active)
        except KeyError:
            raise HTTPException(404, "No such runner.") from None
        return _json({"name": name, "active": active})

    async def revoke(self, request: Request) -> Response:
        name = self._account(request)
        self._engine.tokens.revoke(name)
        return _json({"account": name})

    async def rotate(self, request: Request) -> Response:
        name = self._account(request)
        return _json({"account": name, "token": self._engine.tokens.rotate(name)})

    def _account(self, request: Request) -> str:
        name: str = request.path_params["name"]
        if name not in self._engine.tokens.current:
            raise HTTPException(404, "No such account.")
        return name

    def _faults(self) -> Response:
        faults = [
            fault.model_dump(mode="json", by_alias=True) for fault in self._engine.faults.faults
        ]
        return _json({"faults": faults, "struck": self._engine.faults.struck})


async def _body(request: Request) -> object:
    try:
        return orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is not JSON.") from None


async def _mapping(request: Request) -> dict[str, Any]:
    body = await _body(request)
    if not isinstance(body, dict):
        raise HTTPException(400, "The body is not a JSON object.")
    return body


async def _fault_list(request: Request) -> list[dict[str, Any]]:
    """A list of faults, one fault by itself, or ``{"faults": […]}``."""
    body = await _body(request)
    if isinstance(body, dict):
        body = body.get("faults", [body])
    if not isinstance(body, list) or not all(isinstance(each, dict) for each in body):
        raise HTTPException(400, "The body is neither a fault nor a list of faults.")
    return body
