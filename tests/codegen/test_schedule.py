"""Order and place of an entry's kernels: updates in place, old values read first, slots that never overlap."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.codegen.entry import plan_entry
from graphc.codegen.target import host
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F64, TensorType
from graphc.passes import levels

sys.path.insert(0, str(Path(__file__).parents[1] / "random"))

SQUARE = TensorType(F64, (5, 5))
P, Q = leaf("param", "p", SQUARE), leaf("param", "q", SQUARE)


def transposed(x: Node) -> Node:
    return make("transpose", x, perm=(1, 0))


def product(a: Node, b: Node) -> Node:
    return make("contract", a, b, spec="ik,kj->ij")


CASES: dict[str, tuple[dict[str, Node], dict[Node, Node]]] = {
    "a step": ({}, {P: P - 0.1 * Q}),
    "swapped": ({}, {P: Q, Q: P}),
    "rotated through arithmetic": ({}, {P: Q + 1.0, Q: P * 2.0}),
    "transposed": ({}, {P: transposed(P)}),
    "product with itself": ({"y": product(P, P)}, {P: product(P, P)}),
    "gradient and use": ({"y": product(Q, P)}, {P: P - 0.5 * product(Q, P)}),
    "one value for two": ({}, {P: P + Q, Q: P + Q}),
    "old value is an output": ({"old": P, "twice": P + P}, {P: P * 3.0}),
    "new value is an output": ({"new": P * 3.0}, {P: P * 3.0}),
    "kept": ({"y": P + Q}, {P: P}),
    "row by its sum": ({}, {P: P / make("broadcast", make("reduce_sum", P, axes=(1,)), shape=(5, 5), axes=(0,))}),
    "by its total": ({}, {P: P / make("broadcast", make("reduce_sum", P, axes=(0, 1)), shape=(5, 5), axes=())}),
}


@pytest.mark.parametrize("level", ["O0", "O1", "O2"])
@pytest.mark.parametrize("name", CASES)
def test_updates_read_the_old_values(name: str, level: str) -> None:
    outputs, updates = CASES[name]
    graph = Graph("g", (P, Q), outputs, updates)
    rng = np.random.default_rng(3)
    values = {"p": rng.uniform(0.5, 1.5, (5, 5)), "q": rng.uniform(0.5, 1.5, (5, 5))}
    found, changed = compile_graph(graph, level)(values, {})
    wanted, new = interpret(graph, values, {})
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-14, err_msg=key)
    for key, value in new.items():
        np.testing.assert_allclose(changed[key], value, rtol=1e-14, err_msg=key)


def in_place(graph: Graph) -> int:
    """The number of kernels of a training step; copies would be kernels too."""
    return len(plan_entry("e", levels.pipeline("O2").run(graph), host()).schedule.tasks)


def test_a_step_is_one_kernel_that_writes_over_the_parameter() -> None:
    assert in_place(Graph("g", (P, Q), {}, {P: P - 0.1 * Q})) == 1
    assert in_place(Graph("g", (P, Q), {}, {P: P - 0.1 * product(Q, Q)})) == 1


def test_what_reads_elsewhere_is_computed_aside_and_copied() -> None:
    assert in_place(Graph("g", (P,), {}, {P: transposed(P) + 1.0})) == 2


def test_old_readers_run_before_the_writer() -> None:
    batch = symbol("B")
    x = leaf("input", "x", TensorType(F64, (batch, 5)))
    graph = Graph("g", (x, P), {"y": product(x, P)}, {P: P - 0.1 * make("contract", x, x, spec="ki,kj->ij")})
    plan = plan_entry("e", levels.pipeline("O2").run(graph), host()).schedule
    old = plan.memory[P]
    writer = next(n for n, t in enumerate(plan.tasks) if any(m.leaf is P for m in t.writes.values()))
    assert len(plan.tasks) == 2
    assert all(n <= writer for n, t in enumerate(plan.tasks) if old in t.reads.values())


def test_a_parameter_is_updated_as_soon_as_its_gradient_can_be_computed() -> None:
    """What the update reads is still in the caches then, and its memory is free for what comes."""
    x = leaf("input", "x", SQUARE)
    first = product(x, x)
    graph = Graph("g", (x, P), {"y": product(product(first, first), x)}, {P: P - 0.1 * product(first, x)})
    plan = plan_entry("e", levels.pipeline("O2").run(graph), host()).schedule
    assert len(plan.tasks) == 4
    assert [n for n, t in enumerate(plan.tasks) if any(m.leaf is P for m in t.writes.values())] == [1]
