"""A faithful local ComfyControl, for the demo, the tests, the benchmarks and a first look.

It shares no code with the exporter's own idea of the service: a twin that was made from the same
head would repeat its mistakes. ``docs/simulator.md`` says what it does and how it differs.
"""

from exporter.simulator.faults import Fault
from exporter.simulator.handle import WorkflowHandle
from exporter.simulator.scenario import (
    Scenario,
    bundled_scenarios,
    load_scenario,
    parse_scenario,
)
from exporter.simulator.schema import ScenarioError
from exporter.simulator.serving import describe, serve
from exporter.simulator.simulator import Simulator
from exporter.simulator.truth import RunDurations, Truth
from exporter.simulator.workflow import PLANTED, ServiceStatus, SimulatedCause, WorkflowTruth

__all__ = [
    "PLANTED",
    "Fault",
    "RunDurations",
    "Scenario",
    "ScenarioError",
    "ServiceStatus",
    "SimulatedCause",
    "Simulator",
    "Truth",
    "WorkflowHandle",
    "WorkflowTruth",
    "bundled_scenarios",
    "describe",
    "load_scenario",
    "parse_scenario",
    "serve",
]
