"""Random graphs from a seed: DAGs over all op families with run-time sizes, the gradient of a scalar included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from builder import Builder, Reject
from steps import STEPS

from graphc.autodiff import gradients
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, make, postorder
from graphc.ir.types import BOOL, F64, I32, DType, TensorType, TupleType
from graphc.ops.build import reduce

Array = Any


@dataclass(frozen=True)
class Case:
    """A graph with values for its leaves and run-time sizes.

    Among its outputs are `total`, a float scalar, and `grad.NAME`, its derivative by the float leaf NAME; the float
    leaves of role param are updated by a step down the gradient.
    """

    seed: int
    graph: Graph
    values: dict[str, Array]
    sizes: dict[str, int]

    @property
    def total(self) -> Node:
        return self.graph.outputs["total"]

    @property
    def wanted(self) -> dict[str, Node]:
        """The leaves whose derivatives are outputs, by name."""
        names = [name[5:] for name in self.graph.outputs if name.startswith("grad.")]
        return {x.attr("name"): x for x in self.graph.leaves if x.attr("name") in names}


def random_case(seed: int, floats: DType = F64, steps: int | None = None) -> Case:
    """The case of a seed; another `floats` gives another element type, and perhaps another graph."""
    b = Builder(seed, floats)
    for dtype, count in ((floats, b.pick((2, 3))), (I32, 1), (BOOL, 1)):
        b.pool += [b.leaf(TensorType(dtype, b.shape(1 if dtype == floats else 0, 3))) for _ in range(count)]
    weights = np.array([weight for _, weight in STEPS], float)
    wanted = steps or int(b.random.integers(4, 24))
    for _ in range(40 * wanted):
        step = STEPS[int(b.random.choice(len(STEPS), p=weights / weights.sum()))][0]
        try:
            node = step(b)
        except Reject:
            continue
        b.pool.append(node)
        wanted -= 1
        if not wanted:
            break
    return finish(seed, b)


def finish(seed: int, b: Builder) -> Case:
    """Outputs, the scalar and its gradients, and updates."""
    made = [x for x in b.pool if not x.is_leaf]
    outputs = {f"y{i}": x for i, x in enumerate(dict.fromkeys([*made[-1:], *(b.pick(made) for _ in range(2))]))}
    total = scalar_of(b, [x for x in made if x.dtype.is_float and x not in b.leaves])
    reached = [x for x in postorder([total]) if x.is_leaf and x.dtype.is_float][:4]
    cotangents = dict(zip(reached, gradients(total, reached), strict=True))
    outputs |= {"total": total} | {f"grad.{x.attr('name')}": g for x, g in cotangents.items()}
    updates = {x: x - 0.125 * g for x, g in cotangents.items() if x.attr("role") == "param"}
    used = dict.fromkeys(postorder([*outputs.values(), *updates.values()]))
    leaves = tuple(x for x in b.leaves if x in used)
    values = {x.attr("name"): b.bound[x.attr("name")] for x in leaves}
    return Case(seed, Graph(f"random{seed}", leaves, outputs, updates), values, dict(b.sizes))


def scalar_of(b: Builder, floats: list[Node]) -> Node:
    """The sum of the means of one or two float values, bent by a sine so that second derivatives exist."""
    chosen = floats[-1:] if floats else [x for x in b.leaves if x.dtype.is_float][:1]
    chosen += [b.pick(floats)] if len(floats) > 1 else []
    total: Node | None = None
    for x in chosen:
        count = int(np.prod([b.size(d) for d in x.shape]))
        one = reduce("sum", make("sin", x + 0.3), *range(len(x.shape))) * (1.0 / max(count, 1))
        total = one if total is None else total + one
    assert total is not None
    return total


def cut_down(case: Case, fails: Callable[[Case], bool]) -> Case:
    """A smaller case that fails too: a single root, then the earliest value that fails by itself."""
    for name, root in [*case.graph.outputs.items(), *((x.attr("name"), u) for x, u in case.graph.updates.items())]:
        single = with_output(case, name, root)
        if fails(single):
            case = single
            break
    for node in case.graph.nodes():
        if not node.is_leaf and not isinstance(node.type, TupleType):
            smaller = with_output(case, "y", node)
            if fails(smaller):
                return smaller
    return case


def with_output(case: Case, name: str, root: Node) -> Case:
    """The case with one root as its only output."""
    used = dict.fromkeys(postorder([root]))
    leaves = tuple(x for x in case.graph.leaves if x in used)
    values = {x.attr("name"): case.values[x.attr("name")] for x in leaves}
    return Case(case.seed, Graph(case.graph.name, leaves, {name: root}), values, case.sizes)


def report(case: Case, text: str) -> str:
    """What a failing test says: the seed, the fault, the graph."""
    return f"seed {case.seed}: {text}\nsizes {case.sizes}\n{case.graph}"


def reference(case: Case) -> dict[str, Array]:
    """The reference results: outputs, and updates as `update.NAME`."""
    outputs, updates = interpret(case.graph, case.values, case.sizes)
    return outputs | {f"update.{name}": value for name, value in updates.items()}


def cases(seeds: range, floats: DType = F64) -> Iterator[Case]:
    return (random_case(seed, floats) for seed in seeds)
