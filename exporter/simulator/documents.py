"""The service's JSON documents, with the fields in its documentation."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import orjson

from exporter.simulator.workflow import PLANTED, PROMPTS, ServiceStatus, iso

if TYPE_CHECKING:
    from exporter.simulator.runner import Runner
    from exporter.simulator.workflow import Workflow
    from exporter.simulator.world import World


def error(status: int, message: str) -> bytes:
    """The body of every error: ``{"status": 404, "message": "…"}``."""
    return orjson.dumps({"status": status, "message": message})


def snapshot(world: World, workflow: Workflow) -> dict[str, Any]:
    """One event of a stream: no creation time, no name, no tags."""
    queue_number = world.place(workflow)
    if workflow.status is ServiceStatus.RUNNING:
        queue_number = world.scenario.streams.queue_number_on_running
    return {
        "status": workflow.reported_status,
        "prompt": None if workflow.prompt_id is None else {"prompt_id": workflow.prompt_id},
        "queue_number": queue_number,
        "outputs": _outputs(workflow),
        "cause": _cause(workflow),
        "started_at": _iso(workflow.started_ms),
        "completed_at": _iso(workflow.completed_ms),
    }


def snapshot_json(world: World, workflow: Workflow) -> bytes:
    """The same as text; written once for each change, however many read it."""
    runner = workflow.runner
    queue = runner.version if runner and workflow.status is ServiceStatus.QUEUED else 0
    kept = workflow.rendered
    if kept is not None and kept[0] == workflow.version and kept[1] == queue:
        return kept[2]
    text = orjson.dumps(snapshot(world, workflow))
    workflow.rendered = (workflow.version, queue, text)
    return text


def listed(workflow: Workflow) -> dict[str, Any]:
    """A workflow as a page of the list shows it."""
    return {
        "id": workflow.id,
        "name": workflow.name,
        "status": workflow.reported_status,
        "tags": workflow.reported_tags,
        "created_at": iso(workflow.created_ms),
        "updated_at": iso(workflow.updated_ms),
        "started_at": _iso(workflow.started_ms),
        "completed_at": _iso(workflow.completed_ms),
    }


def page(rows: list[dict[str, Any]], total: dict[str, int | None]) -> bytes:
    """A page of the list; ``total`` is that field, if there is one."""
    return orjson.dumps({"workflows": rows} | total)


def detail(world: World, workflow: Workflow) -> dict[str, Any]:
    """A workflow in full, its graph included."""
    cause = workflow.cause if workflow.status is ServiceStatus.FAILED else None
    runner = workflow.runner
    return listed(workflow) | {
        "prompt_id": workflow.prompt_id,
        "queue_number": world.place(workflow),
        "error_node": cause.node_type if cause else None,
        "exception_type": cause.exception_type if cause else None,
        "exception_message": cause.exception_message if cause else None,
        "user_runner_id": runner.id if runner and not runner.managed else None,
        "managed_runner_id": runner.id if runner and runner.managed else None,
        "workflow_json": graph(workflow),
    }


def runner(each: Runner) -> dict[str, Any]:
    """A runner, with the headers that hold its owner's secrets."""
    return {
        "id": each.id,
        "name": each.name,
        "status": "active" if each.active else "disabled",
        "tags": each.tags,
        "endpoint": each.endpoint,
        "headers": each.headers,
        "created_at": iso(each.created_ms),
        "updated_at": iso(each.created_ms),
    }


def graph(workflow: Workflow) -> dict[str, Any]:
    """The graph in ComfyUI's API format: the posted one, or one that fits the workflow."""
    if workflow.graph is not None:
        return workflow.graph
    prompt = f"{PROMPTS[workflow.sequence % len(PROMPTS)]}, {PLANTED}"
    return {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"},
        },
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 1024, "height": 1024, "batch_size": 1},
        },
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "seed": workflow.sequence,
                "steps": 25,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": workflow.name, "images": ["6", 0]},
        },
    }


def _outputs(workflow: Workflow) -> list[dict[str, str]]:
    if workflow.status is not ServiceStatus.COMPLETED:
        return []
    told = []
    for number in range(workflow.outputs):
        key = f"{workflow.id}/{workflow.execution}/{number}"
        digest = hashlib.sha256(key.encode()).hexdigest()
        told.append(
            {
                "id": str(uuid.UUID(digest[:32], version=4)),
                "workflow_id": workflow.id,
                "src": (
                    f"https://storage.comfycontrol.app/outputs/{workflow.id}/"
                    f"{workflow.job.name}_{number + 1:05d}_.{workflow.job.extension}"
                    f"?X-Amz-Expires=3600&X-Amz-Signature={PLANTED}-{digest}"
                ),
            }
        )
    return told


def _cause(workflow: Workflow) -> dict[str, str] | None:
    if workflow.status is not ServiceStatus.FAILED or workflow.cause is None:
        return None
    return {
        "node_type": workflow.cause.node_type,
        "exception_type": workflow.cause.exception_type,
        "exception_message": workflow.cause.exception_message,
    }


def _iso(stamp_ms: int | None) -> str | None:
    return None if stamp_ms is None else iso(stamp_ms)
