"""A layered drawing of a digraph: layers by longest path, order by barycentres, positions by least squares.

After Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures" (IEEE Trans. SMC
11, 1981).  An edge that spans several layers passes through one bend in each; bends take part in ordering and placing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

    Digraph = nx.DiGraph[str]

Size = tuple[float, float]
Point = tuple[float, float]

GAP = 26.0  # between neighbours in a layer
BEND_GAP = 13.0  # between two edges side by side
LAYER_GAP = 46.0
SWEEPS = 16
SHORT = 8.0  # a straight piece below this is left out: an arrow head has no room on it


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, the points each edge passes vertically (top to bottom), and the size of the whole."""

    centres: dict[str, Point]
    routes: dict[tuple[str, str], list[Point]]
    width: float
    height: float


def layout(graph: Digraph, sizes: Mapping[str, Size]) -> Layout:
    """Places an acyclic digraph whose nodes have the given (width, height); the same input gives the same drawing."""
    layer_of = _layers(graph)
    depth = 1 + max(layer_of.values(), default=-1)
    layers: list[list[str]] = [[] for _ in range(depth)]
    for node in graph.nodes:
        layers[layer_of[node]].append(node)
    paths = _split_edges(graph, layer_of, layers)
    below: dict[str, list[str]] = {node: [] for layer in layers for node in layer}
    above: dict[str, list[str]] = {node: [] for node in below}
    for path in paths.values():
        for upper, lower in pairwise(path):
            below[upper].append(lower)
            above[lower].append(upper)
    layers = _order(layers, above, below)
    across = _place(layers, above, below, sizes)
    heights = [max((sizes[node][1] for node in layer if node in sizes), default=0.0) for layer in layers]
    tops = [sum(heights[:k]) + LAYER_GAP * k for k in range(depth)]
    row = {node: tops[k] + heights[k] / 2 for k, layer in enumerate(layers) for node in layer}
    left = min((across[node] - sizes[node][0] / 2 for node in graph.nodes), default=0.0)
    left = min([left, *(across[node] - BEND_GAP for node in across if node not in sizes)])
    right = max((across[node] + sizes.get(node, (2 * BEND_GAP, 0))[0] / 2 for node in across), default=0.0)
    points = {node: (across[node] - left, row[node]) for node in across}
    half = [height / 2 for height in heights]
    routes = {edge: _route(path, points, sizes, half, layer_of) for edge, path in paths.items()}
    height = sum(heights) + LAYER_GAP * max(depth - 1, 0)
    return Layout({node: points[node] for node in graph.nodes}, routes, right - left, height)


def _route(
    path: Sequence[str],
    points: Mapping[str, Point],
    sizes: Mapping[str, Size],
    half: Sequence[float],
    layer_of: Mapping[str, int],
) -> list[Point]:
    """From rim to rim; straight down within a layer, so that curves stay in the gaps and no box is crossed."""
    (x, y), level, height = points[path[0]], layer_of[path[0]], sizes[path[0]][1]
    route = [(x, y + height / 2)]
    if half[level] - height / 2 > SHORT:
        route.append((x, y + half[level]))
    for bend in path[1:-1]:
        level += 1
        x, y = points[bend]
        route += [(x, y - half[level]), (x, y + half[level])]
    (x, y), level, height = points[path[-1]], layer_of[path[-1]], sizes[path[-1]][1]
    if half[level] - height / 2 > SHORT:
        route.append((x, y - half[level]))
    return [*route, (x, y - height / 2)]


def _layers(graph: Digraph) -> dict[str, int]:
    """Longest path from the sources; then whatever has at most one input moves down to where it is used first."""
    import networkx as nx

    order = list(nx.topological_sort(graph))
    layer: dict[str, int] = {}
    for node in order:
        layer[node] = 1 + max((layer[x] for x in graph.predecessors(node)), default=-1)
    for node in reversed(order):
        users = [layer[x] for x in graph.successors(node)]
        if users and graph.in_degree(node) <= 1:
            layer[node] = min(users) - 1
    return layer


def _split_edges(
    graph: Digraph, layer_of: Mapping[str, int], layers: list[list[str]]
) -> dict[tuple[str, str], list[str]]:
    """edge -> the nodes on its way, with a bend for every layer that it crosses; bends of one source are shared."""
    paths: dict[tuple[str, str], list[str]] = {}
    bends: dict[tuple[str, int], str] = {}
    for source, target in graph.edges:
        path = [source]
        for level in range(layer_of[source] + 1, layer_of[target]):
            bend = bends.get((source, level))
            if bend is None:
                bend = bends[source, level] = f"{source}>{level}"
                layers[level].append(bend)
            path.append(bend)
        paths[source, target] = [*path, target]
    return paths


Neighbours = Mapping[str, Sequence[str]]


def _order(layers: list[list[str]], above: Neighbours, below: Neighbours) -> list[list[str]]:
    """The best of several sweeps that sort each layer by the mean position of its neighbours."""
    best, fewest = layers, _crossings(layers, below)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        layers = list(layers)
        rows = range(1, len(layers)) if downwards else range(len(layers) - 2, -1, -1)
        for k in rows:
            neighbours = above if downwards else below
            place = {node: i for i, node in enumerate(layers[k - 1 if downwards else k + 1])}
            layers[k] = _sorted(layers[k], neighbours, place)
        count = _crossings(layers, below)
        if count < fewest:
            best, fewest = layers, count
        if not fewest:
            break
    return best


def _sorted(layer: list[str], neighbours: Neighbours, place: Mapping[str, int]) -> list[str]:
    """By mean neighbour position; what has no neighbour there stays where it stands."""
    keys: dict[str, float] = {}
    for i, node in enumerate(layer):
        places = [place[x] for x in neighbours[node] if x in place]
        keys[node] = sum(places) / len(places) if places else float(i)
    return sorted(layer, key=keys.__getitem__)


def _crossings(layers: Sequence[Sequence[str]], below: Neighbours) -> int:
    """How many pairs of edges cross, counted with a Fenwick tree over each layer."""
    total = 0
    for upper, lower in pairwise(layers):
        place = {node: i for i, node in enumerate(lower)}
        tree = [0] * (len(lower) + 1)
        seen = 0
        for node in upper:
            ends = sorted({place[x] for x in below[node]})
            for end in ends:
                i, not_right = end + 1, 0
                while i:
                    not_right += tree[i]
                    i &= i - 1
                total += seen - not_right
            for end in ends:
                i = end + 1
                while i < len(tree):
                    tree[i] += 1
                    i += i & -i
            seen += len(ends)
    return total


def _place(
    layers: Sequence[Sequence[str]], above: Neighbours, below: Neighbours, sizes: Mapping[str, Size]
) -> dict[str, float]:
    """x of every node and bend: repeatedly each layer moves as near to its neighbours' means as gaps allow."""
    half = {node: sizes[node][0] / 2 + GAP / 2 if node in sizes else BEND_GAP / 2 for layer in layers for node in layer}
    x: dict[str, float] = {}
    for layer in layers:
        at = -sum(half[node] for node in layer)
        for node in layer:
            x[node] = at + half[node]
            at += 2 * half[node]
    for sweep in range(2 * SWEEPS):
        rows = layers if sweep % 2 == 0 else list(reversed(layers))
        for layer in rows:
            wanted, weights = [], []
            for node in layer:
                first, second = (above, below) if sweep % 2 == 0 else (below, above)
                near = [*first[node], *second[node]] if sweep > SWEEPS else list(first[node] or second[node])
                wanted.append(sum(x[n] for n in near) / len(near) if near else x[node])
                weights.append(1.0 if node in sizes else 3.0)  # bends pull harder: long edges come out straight
            x.update(zip(layer, _separate(wanted, weights, [half[n] for n in layer]), strict=True))
    return x


def _separate(wanted: Sequence[float], weights: Sequence[float], half: Sequence[float]) -> list[float]:
    """The positions nearest to `wanted` (weighted least squares) that keep order and gaps: pools adjacent violators."""
    offsets: list[float] = []
    at = 0.0
    for i, h in enumerate(half):
        at += h + (half[i - 1] if i else 0.0)
        offsets.append(at)
    blocks: list[tuple[float, float, int]] = []  # (mean, weight, count)
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, other_weight, other_count = blocks.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        blocks.append((mean, weight, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
