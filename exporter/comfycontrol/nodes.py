"""The type of the node at which a workflow failed, if the service gives only the node's id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.comfycontrol.documents import Fields, MalformedDocumentError, load_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ID = re.compile(r"[0-9]+(?:[:.][0-9]+)*", re.ASCII)
"""Ids of nodes in ComfyUI; those within a group or a subgraph have several parts. No type of a node
looks like this."""

_MAX_GRAPH = 8 * 1024 * 1024


def failed_node(fields: Fields, graph: object) -> str | None:
    """Read ``error_node``: a type, or the id of a node whose type the graph shows.

    An id that the graph does not show is malformed: it would mean another node in each graph.

    Args:
        fields: of one workflow in full.
        graph: its ``workflow_json``, as the document has it.
    """
    named = fields.text_or_number("error_node")
    if named is None or _ID.fullmatch(named) is None:
        return named
    for node in _nodes(graph, named):
        node_fields = Fields(node)
        found = node_fields.text("class_type") or node_fields.text("type")
        if found is not None:
            return found
    fields.reject("error_node")
    return None


def _nodes(graph: object, node_id: str) -> Iterator[Mapping[str, object]]:
    """Return the nodes with this id, in both formats that ComfyUI has for a graph."""
    if isinstance(graph, str):
        try:
            graph = load_object(graph, _MAX_GRAPH)
        except MalformedDocumentError:
            return
    if not isinstance(graph, dict):
        return
    node = graph.get(node_id)
    if isinstance(node, dict):
        yield node
    nodes = graph.get("nodes")
    for each in nodes if isinstance(nodes, list) else ():
        if isinstance(each, dict) and str(each.get("id")) == node_id:
            yield each
