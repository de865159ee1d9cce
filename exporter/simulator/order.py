"""Workflows that tests and scripts create and move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from exporter.simulator.by_hand import Move
from exporter.simulator.schema import ScenarioError, Seconds, StrictModel, explain
from exporter.simulator.workflow import ServiceStatus, SimulatedCause

if TYPE_CHECKING:
    from exporter.simulator.engine import Engine
    from exporter.simulator.workflow import Workflow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _milliseconds(value: object) -> object:
    """Read a stamp: milliseconds since the epoch, ISO 8601, or a datetime (UTC if it is naive)."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no time; write it as 2024-01-15T14:30:05Z") from None
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(milliseconds=1)
    return value


Stamp = Annotated[int, BeforeValidator(_milliseconds)]


class CauseOrder(StrictModel):
    """A cause to the letter."""

    node_type: str
    exception_type: str
    exception_message: str = ""

    def cause(self) -> SimulatedCause:
        """The same for the world."""
        return SimulatedCause(self.node_type, self.exception_type, self.exception_message)


class PlanOrder(StrictModel):
    """The plan of an execution; fields that are not given are drawn at random."""

    duration: Seconds | None = None
    outcome: Literal["completed", "failed", "cancelled", "invalid"] | None = None
    ends_in: Literal["accepted", "uploaded", "queued", "running"] = "running"
    cause: CauseOrder | Literal["drawn"] | None = "drawn"
    outputs: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> PlanOrder:
        if self.cause != "drawn" and self.outcome != "failed":
            raise ValueError("a cause needs outcome: failed")
        return self

    def decided(self) -> dict[str, Any]:
        """The same for the world."""
        return {
            "duration": self.duration,
            "outcome": None if self.outcome is None else ServiceStatus(self.outcome),
            "ends_in": ServiceStatus(self.ends_in),
            "cause": self.cause.cause() if isinstance(self.cause, CauseOrder) else self.cause,
            "outputs": self.outputs,
        }


class CreateOrder(PlanOrder):
    """A workflow to create."""

    account: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    tags: tuple[str, ...] = ()
    scripted: bool = False


class MoveOrder(StrictModel):
    """A status to put a workflow into."""

    status: ServiceStatus
    queue_position: Annotated[int, Field(ge=1)] | None = None
    cause: CauseOrder | Literal["drawn"] | None = "drawn"
    outputs: Annotated[int, Field(ge=0)] | None = None
    created_at: Stamp | None = None
    started_at: Stamp | None = None
    completed_at: Stamp | None = None


def create(engine: Engine, order: dict[str, Any]) -> Workflow:
    """Create a workflow.

    Args:
        engine: the simulated service.
        order: the fields of ``CreateOrder``; without an account it is the first one's, without an
            outcome it is drawn from the scenario's shares.

    Raises:
        ScenarioError: with one line per mistake in the order.
    """
    try:
        read = CreateOrder.model_validate(order)
    except ValidationError as error:
        raise ScenarioError(explain(error, CreateOrder, source="workflow")) from None
    account = read.account or engine.scenario.accounts[0].name
    if account not in engine.world.registers:
        known = ", ".join(engine.world.registers)
        raise ScenarioError(f"workflow: account: no account {account!r}; known: {known}")
    workflow = engine.world.create(
        engine.now(),
        account,
        name=read.name,
        tags=read.tags,
        scripted=read.scripted,
        **read.decided(),
    )
    engine.pump()
    return workflow


def execute(engine: Engine, workflow: Workflow, order: dict[str, Any]) -> bool:
    """Execute a settled workflow again.

    Args:
        engine: the simulated service.
        workflow: which one.
        order: the fields of ``PlanOrder``.

    Returns:
        Whether it was settled.

    Raises:
        ScenarioError: with one line per mistake in the order.
    """
    try:
        read = PlanOrder.model_validate(order)
    except ValidationError as error:
        raise ScenarioError(explain(error, PlanOrder, source="execute")) from None
    found = engine.world.execute(engine.now(), workflow, **read.decided())
    engine.pump()
    return found


def advance(engine: Engine, workflow: Workflow, order: dict[str, Any]) -> None:
    """Put a workflow into a status; from here on it moves by hand only.

    Args:
        engine: the simulated service.
        workflow: which one.
        order: the fields of ``MoveOrder``; stamps that are not given are the present moment's
            where the status calls for them.

    Raises:
        ScenarioError: with one line per mistake in the order.
    """
    try:
        read = MoveOrder.model_validate(order)
    except ValidationError as error:
        raise ScenarioError(explain(error, MoveOrder, source="advance")) from None
    engine.world.move(
        engine.now(),
        workflow,
        Move(
            read.status,
            queue_position=read.queue_position,
            cause=read.cause.cause() if isinstance(read.cause, CauseOrder) else read.cause,
            outputs=read.outputs,
            created_ms=read.created_at,
            started_ms=read.started_at,
            completed_ms=read.completed_at,
        ),
    )
    engine.pump()
