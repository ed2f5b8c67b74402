"""Passes inside of scans: what holds for a graph holds for the graph of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, make


def scans(graph: Graph) -> list[Node]:
    """The scans of a graph, not those inside of others; in postorder."""
    return [node for node in graph.nodes() if node.op == "scan"]


def map_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with every scan's step changed; itself if none was."""
    changed = {}
    for scan in scans(graph):
        body = scan.attr("body")
        if (new := change(body)) is not body:
            changed[scan] = new
    if not changed:
        return graph

    def with_body(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        return make("scan", *inputs, **{**node.attrs_dict, "body": changed[node]}) if node in changed else None

    return graph.with_roots(rebuild(graph.roots, with_body))


def everywhere(change: Callable[[Graph], Graph]) -> Callable[[Graph], Graph]:
    """The change made to the steps of all scans, innermost first, then to the graph itself."""

    def run(graph: Graph) -> Graph:
        return change(map_bodies(graph, run))

    return run


def replace(graph: Graph, values: Mapping[Node, Node]) -> Graph:
    """The graph with values in the place of others, which they do not depend on."""
    return graph.with_roots(rebuild(graph.roots, lambda node, _: values.get(node))) if values else graph
