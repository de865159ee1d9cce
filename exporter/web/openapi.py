"""The description of the JSON interface, generated from the models of its endpoints."""

from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from exporter import __version__
from exporter.interfaces.views import Overview, WorkflowStory
from exporter.web.paths import PUSH_PATH
from exporter.web.push import ID_SCHEMA, PushAnswer, PushBody, Withdrawn
from exporter.web.reading import ACCOUNTS_PATH, SLICE, WorkflowParameters, Workflows

OPENAPI_PATH: Final = "/api/v1/openapi.json"

_Json = dict[str, Any]

_MODEL: Final = "#/components/schemas/{model}"
_ID: Final = {
    "name": "workflow_id",
    "in": "path",
    "required": True,
    "description": "The workflow's id, in upper or lower case.",
    "schema": ID_SCHEMA,
}
_ACCOUNT: Final = {
    "name": "account",
    "in": "query",
    "description": "Needed if the push token belongs to several accounts.",
    "schema": {"type": "string"},
}
_REFUSALS: Final = {
    400: "The request is not as described here.",
    401: "The password, or the push token, is missing or wrong.",
    403: "The push token does not belong to the account.",
    404: "It is not known; or no account accepts pushed ids.",
    413: "The body is larger than 1 MiB.",
    429: "More requests than `rate_limit` of the web side's file allows.",
    503: "Not known at the moment: try again after `Retry-After`.",
}
_OF_WEB_SIDE: Final = (401, 429, 503)
"""Statuses that are returned before the endpoint is called, in plain text."""


@cache
def openapi() -> _Json:
    """The OpenAPI 3.1 document."""
    schemas: _Json = {}
    parameters = _collected(schemas, WorkflowParameters, mode="validation")
    del schemas["WorkflowParameters"]
    read: list[_Json] = [{}, {"password": []}]
    either: list[_Json] = [*read, {"push_token": []}]
    table = _answers(schemas, 200, "A page of the table.", Workflows, (400, 403, 404))
    story = _answers(schemas, 200, "The history of the workflow.", WorkflowStory, (400, 404))
    overview = _answers(schemas, 200, "The state of all accounts.", Overview, ())
    pushed = _answers(
        schemas, 202, "The ids are tracked from now on.", PushAnswer, (400, 403, 404, 413)
    )
    withdrawn = _answers(schemas, 204, "The workflow is no longer followed.", None, (400, 403, 404))
    body = {"application/json": {"schema": _collected(schemas, PushBody, mode="validation")}}
    schemas["Refusal"] = {
        "type": "object",
        "description": "The reason for the refusal.",
        "properties": {"status": {"type": "integer"}, "message": {"type": "string"}},
        "required": ["status", "message"],
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "comfycontrol-exporter",
            "version": __version__,
            "description": "Read the exporter's state, and push workflow ids to it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            ACCOUNTS_PATH: {
                "get": _operation("accounts", "The state of all accounts.", read, overview)
            },
            PUSH_PATH: {
                "get": _operation(
                    "workflows",
                    "Open workflows, or those that have ended recently.",
                    either,
                    table,
                    parameters=[*_parameters(parameters), _SLICES],
                ),
                "post": _operation(
                    "push",
                    "Have the exporter follow these workflows.",
                    [{"push_token": []}],
                    pushed,
                    body={"required": True, "content": body},
                ),
                "delete": _operation(
                    "withdraw_several",
                    "Stop following several workflows.",
                    [{"push_token": []}],
                    _answers(
                        schemas, 200, "How many of them were open.", Withdrawn, (400, 403, 404, 413)
                    ),
                    body={"required": True, "content": body},
                    parameters=[_ACCOUNT],
                ),
            },
            PUSH_PATH + "/{workflow_id}": {
                "get": _operation(
                    "workflow",
                    "The history of one workflow.",
                    either,
                    story,
                    parameters=[_ID],
                ),
                "delete": _operation(
                    "withdraw",
                    "Stop following a workflow.",
                    [{"push_token": []}],
                    withdrawn,
                    parameters=[_ID, _ACCOUNT],
                ),
            },
            OPENAPI_PATH: {
                "get": _operation(
                    "openapi",
                    "This document.",
                    read,
                    _answers(schemas, 200, "This document.", dict[str, Any], ()),
                )
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Needed if `--web.config.file` has `basic_auth_users`.",
                },
                "push_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of the account's `push.token_file`.",
                },
            },
        },
    }


_SLICES: Final = {
    "name": "slices",
    "in": "query",
    "description": f"Only workflows of these slices, given as `{SLICE}<label>=<value>`.",
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "patternProperties": {"^slice[.][a-zA-Z_][a-zA-Z0-9_]*$": {"type": "string"}},
        "additionalProperties": False,
    },
}


def _collected(schemas: _Json, model: Any, mode: str) -> _Json:  # noqa: ANN401 - any type
    """The schema of a model; schemas of its parts are added to `schemas`."""
    schema = TypeAdapter(model).json_schema(ref_template=_MODEL, mode=mode)  # type: ignore[arg-type]
    schemas.update(schema.pop("$defs", {}))
    title = schema.get("title")
    if title is None or schema.get("type") != "object" or "properties" not in schema:
        return schema
    schemas[title] = schema
    return schema if title == "WorkflowParameters" else {"$ref": _MODEL.format(model=title)}


def _parameters(schema: _Json) -> list[_Json]:
    return [
        {
            "name": name,
            "in": "query",
            "description": described.get("description", ""),
            "schema": {
                key: value
                for key, value in _given(described).items()
                if key not in {"title", "description"}
            },
        }
        for name, described in schema["properties"].items()
    ]


def _given(described: _Json) -> _Json:
    """The schema of a parameter without null.

    Null means that it is left out, which a query cannot express otherwise.
    """
    for choice in described.get("anyOf", ()):
        if choice.get("type") != "null":
            return dict(choice)
    return described


def _operation(  # noqa: PLR0913 - what an operation is made of
    name: str,
    summary: str,
    security: list[_Json],
    answers: _Json,
    *,
    parameters: list[_Json] | None = None,
    body: _Json | None = None,
) -> _Json:
    operation: _Json = {"operationId": name, "summary": summary, "security": security}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = body
    return operation | {"responses": answers}


def _answers(
    schemas: _Json,
    status: int,
    means: str,
    model: Any,  # noqa: ANN401 - any type, or None for no body
    refusals: tuple[int, ...],
) -> _Json:
    good: _Json = {"description": means}
    if model is not None:
        schema = _collected(schemas, model, mode="serialization")
        good["content"] = {"application/json": {"schema": schema}}
    answers: _Json = {str(status): good}
    refusal = {"schema": {"$ref": _MODEL.format(model="Refusal")}}
    for code in sorted({*refusals, *_OF_WEB_SIDE}):
        content: _Json = {"application/json": refusal}
        if code in _OF_WEB_SIDE:
            content["text/plain"] = {"schema": {"type": "string"}}
        answers[str(code)] = {"description": _REFUSALS[code], "content": content}
    return answers
