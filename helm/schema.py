"""`values.schema.json`: the exporter's models, the chart's values and the alerts' thresholds."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from alerts.build import SEVERITIES, WHOLE
from exporter.config.models import Config
from helm.values import TokenSecret, Values

Schema = dict[str, Any]

_VARIABLE: Final = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
"""A reference to an environment variable; it may be all or part of a text."""

_TOKEN_KEYS: Final = ("token", "token_file", "tokenSecret")


def schema(descriptions: Mapping[str, str], thresholds: Mapping[str, Any]) -> Schema:
    """The whole schema.

    Args:
        descriptions: What `values.yaml` says of its keys, by their dotted paths.
        thresholds: What `alerts/settings/thresholds.yml` holds.
    """
    chart = Values.model_json_schema(by_alias=True)
    config = Config.model_json_schema()
    definitions = config["$defs"]
    # Each model has its own definitions, because some have the same names.
    resolved: Schema = _resolved(chart, chart.pop("$defs"))
    accounts: Schema = _resolved(config["properties"].pop("accounts")["items"], definitions)
    rest: Schema = _resolved(config, definitions)
    rest.pop("required")
    resolved = _cleaned(resolved)
    _require(resolved)
    resolved["required"].append("rules")
    properties = resolved["properties"]
    properties["accounts"] = _accounts(accounts)
    properties["config"] = _cleaned(_with_variables(rest))
    properties["rules"] = _thresholds(thresholds, "")
    # A parent chart turns this chart on and off with a key of this name.
    properties["enabled"] = {
        "type": "boolean",
        "description": "For charts that have this as a part.",
    }
    _describe(resolved, descriptions, "")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart comfycontrol-exporter",
        **resolved,
    }


def _require(node: Schema) -> None:
    """Require values that cannot be empty: `null` would remove the one of values.yaml."""
    needed = [name for name, part in node["properties"].items() if not _may_be_empty(part)]
    if needed:
        node["required"] = needed
    for part in node["properties"].values():
        if "properties" in part:
            _require(part)


def _may_be_empty(part: Schema) -> bool:
    if "properties" in part or part.get("minLength", 0) > 0 or part.get("minimum", 0) > 0:
        return False
    if not re.search(part.get("pattern", ""), ""):
        return False
    return "enum" not in part or "" in part["enum"]


def _accounts(account: Schema) -> Schema:
    """Accounts by name. Their tokens may also come from Secrets."""
    name = account["properties"].pop("name")
    token_secret = _cleaned(TokenSecret.model_json_schema())
    token_secret["required"] = ["name"]
    # An empty text is no token. Only the one for all accounts may be left empty.
    token_secret["properties"]["name"]["minLength"] = 1
    token_secret["description"] = "The Secret with the token, and the key in it."
    push = account["properties"]["push"]
    push["properties"]["token"] = account["properties"]["token"]
    for part in (account, push):
        # The templates report missing keys, and keys that exclude each other, in plain words.
        for rule in ("required", "oneOf", "anyOf"):
            part.pop(rule, None)
    account = _cleaned(_with_variables(account))
    # Added last, because names of Secrets cannot come from variables.
    for part in (account, account["properties"]["push"]):
        part["properties"]["tokenSecret"] = token_secret
    return {
        "type": "object",
        # With `propertyNames`, Helm's message would name another place.
        "patternProperties": {name["pattern"]: account},
        "additionalProperties": False,
    }


def _with_variables(part: Schema) -> Schema:
    """A part of the exporter's file, in which each value may come from its environment."""

    def relaxed(node: Schema) -> Schema:
        kind = node.get("type")
        if kind in ("integer", "number"):
            return {**node, "type": [kind, "string"], "pattern": f"^{_VARIABLE}$"}
        if kind == "string" and "pattern" in node:
            # Even the shortest variable is longer than every minimum length.
            return {**node, "pattern": f"({node['pattern']})|{_VARIABLE}"}
        return node

    result: Schema = _mapped(part, relaxed)
    return result


def _thresholds(value: object, key: str) -> Schema:
    """The rules of `alerts.build.check`, as far as a schema can express them."""
    if isinstance(value, Mapping):
        return {
            "type": "object",
            "additionalProperties": False,
            "required": list(value),
            "properties": {
                name: _thresholds(part, f"{key}.{name}" if key else name)
                for name, part in value.items()
            },
        }
    last = key.rpartition(".")[2]
    if key == "settings.slice":
        return {"type": "string", "pattern": "^([A-Za-z_][A-Za-z0-9_]*)?$"}
    if key.startswith("settings."):
        return {"type": "string", "pattern": r"^[A-Za-z0-9_.:/?&=%~+@-]+$"}
    others: dict[str, Schema] = {
        "enabled": {"type": "boolean"},
        "for": {"type": "string", "pattern": "^[0-9]+[smhd]$"},
        "severity": {"enum": list(SEVERITIES)},
        "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    }
    others |= {
        name: {"type": "integer", "minimum": least, "maximum": most}
        for name, (least, most) in WHOLE.items()
    }
    # Templates write a million as 1e+06, which is not the name of a bucket.
    number = {"type": "number", "minimum": 0, "exclusiveMaximum": 1_000_000}
    return others.get(last, number)


def _describe(node: Schema, descriptions: Mapping[str, str], path: str) -> None:
    for name, part in node.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        if place in descriptions:
            part["description"] = descriptions[place]
        _describe(part, descriptions, place)


def _resolved(node: Schema, definitions: Mapping[str, Schema]) -> Any:  # noqa: ANN401 - as JSON
    """The schema without references, so that messages name the place in the values."""

    def inlined(part: Schema) -> Schema:
        name = part.get("$ref", "").rpartition("/")[2]
        if not name:
            return part
        return {**_resolved(definitions[name], definitions), **part, "$ref": None}

    return _mapped(node, inlined)


def _cleaned(node: Schema) -> Any:  # noqa: ANN401 - as JSON
    """The schema without what concerns only Python, and without required keys."""

    def clean(part: Schema) -> Schema:
        if part.get("type") == "array" or "properties" in part or "type" in part or "enum" in part:
            return {
                key: value
                for key, value in part.items()
                if key not in ("title", "$ref", "required", "default", "examples", "writeOnly")
                and not (key == "format" and value in ("path", "uri", "password"))
                and not (key == "description" and "properties" in part and "title" in part)
            }
        return {key: value for key, value in part.items() if key not in ("title", "$ref")}

    return _mapped(node, clean)


def _mapped(node: Any, change: Callable[[Schema], Schema]) -> Any:  # noqa: ANN401 - as JSON
    """Change a schema and all schemas in it, the outer ones first."""
    changed = change(node)
    result: Schema = {}
    for key, value in changed.items():
        if key in ("properties", "patternProperties"):
            result[key] = {name: _mapped(part, change) for name, part in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            result[key] = _mapped(value, change)
        elif key in ("anyOf", "oneOf") and isinstance(value, list):
            result[key] = [_mapped(part, change) for part in value]
        elif value is not None:
            result[key] = value
    return result
