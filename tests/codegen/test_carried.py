"""Carried values are handed on without copies: what lies where, and that the numbers are right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.codegen.entry import plan_entry
from graphc.codegen.target import host
from graphc.codegen.tasks import Loop
from graphc.graph_function import compile_graph
from graphc.ir.dims import evaluate, symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, I32, TensorType
from graphc.ops.build import zeros
from graphc.ops.scan import build_scan, inner_leaf
from graphc.passes import levels

SIZE = 20
ROWS, LENGTH = symbol("B"), symbol("T")
STATE = TensorType(F32, (ROWS, SIZE))
W = leaf("param", "w", TensorType(F32, (SIZE, SIZE)))
X = leaf("input", "x", TensorType(F32, (LENGTH, ROWS, SIZE)))
Step = Callable[[Node, Node, Node], tuple[tuple[Node, Node], list[Node]]]


def product(h: Node) -> Node:
    return make("contract", h, W, spec="bi,ij->bj")


def last_only(h: Node, c: Node, x: Node) -> tuple[tuple[Node, Node], list[Node]]:
    return (make("tanh", product(h) + x + c), c * x), []


def emitted(h: Node, c: Node, x: Node) -> tuple[tuple[Node, Node], list[Node]]:
    new = make("tanh", product(h) + x)
    return (new, c + new), [new]


def emitted_before_and_after(h: Node, c: Node, x: Node) -> tuple[tuple[Node, Node], list[Node]]:
    new, other = make("tanh", product(h) + x), product(c) + h
    return (new, other), [h, new, c, new, new * x]


def the_same_twice(h: Node, c: Node, x: Node) -> tuple[tuple[Node, Node], list[Node]]:
    new = make("tanh", product(h) + x - c)
    return (new, new), [c, new, h]


def exchanged(h: Node, c: Node, x: Node) -> tuple[tuple[Node, Node], list[Node]]:
    return (c, h), [h, c]


def exchanged_and_used(h: Node, c: Node, x: Node) -> tuple[tuple[Node, Node], list[Node]]:
    return (c, product(h) + x), [c * h]


STEPS: list[Step] = [last_only, emitted, emitted_before_and_after, the_same_twice, exchanged, exchanged_and_used]


def recurrence(step: Step, reverse: bool) -> Graph:
    """Two carried values, the first starting at x[0] w, the second at zero; all results are outputs."""
    first = make("reshape", make("slice", X, start=(0, 0, 0), stop=(1, ROWS, SIZE), step=(1, 1, 1)), shape=STATE.shape)
    t, h, c = (inner_leaf(*given) for given in (("index", TensorType(I32)), ("carry", STATE), ("carry", STATE)))
    (a, b), emits = step(h, c, make("gather", X, t, axis=0))
    finals, stacked = build_scan(LENGTH, reverse, t, [(h, product(first), a), (c, zeros(STATE), b)], emits)
    return Graph("g", (W, X), {f"r{i}": x for i, x in enumerate([*finals, *stacked])})


def loop_of(graph: Graph) -> Loop:
    code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
    (loop,) = [task.loop for task in code.schedule.tasks if task.loop is not None]
    return loop


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_results(step: Step, reverse: bool) -> None:
    graph = recurrence(step, reverse)
    native = compile_graph(graph)
    rng = np.random.default_rng(0)
    for length, rows in ((1, 3), (2, 1), (5, 7), (8, 2)):
        sizes = {"T": length, "B": rows}
        values = {x.attr("name"): rng.normal(size=[evaluate(d, sizes) for d in x.shape]).astype("f") for x in (W, X)}
        values["w"] /= SIZE**0.5
        expected, found = (run(values, sizes)[0] for run in (lambda *given: interpret(graph, *given), native))
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, 1e-4, 1e-5, err_msg=f"{name} at {sizes}")


def test_what_no_step_emits_alternates() -> None:
    """h is read by the product, c only where it is written: that one is overwritten in place."""
    loop = loop_of(recurrence(last_only, False))
    h, c = (loop.places[x] for x in loop.step.graph.leaves[1:3])
    assert h.ring and h.buffer.shape == (2, ROWS, SIZE)
    assert not c.is_part
    assert len(loop.step.tasks) == 2


@pytest.mark.parametrize("reverse", (False, True))
def test_all_values_of_what_is_emitted_are_kept_once(reverse: bool) -> None:
    loop = loop_of(recurrence(emitted_before_and_after, reverse))
    for i, x in enumerate(loop.step.graph.leaves[1:3]):
        place, new = loop.places[x], loop.places[f"c{i}"]
        assert place.buffer is new.buffer and place.buffer.shape == (LENGTH + 1, ROWS, SIZE)
        assert (place.ahead, new.ahead) == ((1, 0) if reverse else (0, 1))
    assert len(loop.step.tasks) == 2, "two products with what follows them, and no copy"
    assert [*loop.step.graph.outputs] == ["c0", "c1", "y3"], "what is emitted twice is one result"
