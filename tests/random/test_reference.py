"""Random graphs without generated code: gradients against difference quotients, text that reads back."""

from __future__ import annotations

import numpy as np
import pytest
from generate import Case, cut_down, random_case, reference, report

from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret, specialise
from graphc.ir.node import OPS
from graphc.ir.reader import parse_graph
from graphc.ir.text import print_graph
from graphc.ir.types import F32, F64
from graphc.ir.verify import verify

SEEDS = 250
STEP = 1e-5
ELSEWHERE = ("graphc.ops.bfloat", "graphc.ops.convolution", "graphc.ops.pooling", "graphc.ops.random")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_gradients_are_difference_quotients(seed: int) -> None:
    """Along a random direction of each leaf, in f64, by differences extrapolated once."""
    case = random_case(seed)
    total = Graph("total", case.graph.leaves, {"total": case.total})
    found, random = reference(case), np.random.default_rng(seed)
    for name, x in case.wanted.items():
        v = random.uniform(-1, 1, case.values[name].shape)
        terms = found[f"grad.{name}"] * v

        def at(step: float, name: str = name, v: np.ndarray = v) -> float:
            values = case.values | {name: case.values[name] + step * v}
            return float(interpret(total, values, case.sizes)[0]["total"])

        numeric = (4 * (at(STEP / 2) - at(-STEP / 2)) / STEP - (at(STEP) - at(-STEP)) / (2 * STEP)) / 3
        scale = max(float(np.abs(terms).sum()), 1e-2)
        assert abs(terms.sum() - numeric) <= 1e-6 * scale, report(case, f"by {x}: {terms.sum()} against {numeric}")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_types_are_those_of_the_values_and_the_text_reads_back(seed: int) -> None:
    case = random_case(seed, F32 if seed % 2 else F64)
    verify(case.graph)
    outputs, updates = interpret(case.graph, case.values, case.sizes)
    static = specialise(case.graph, case.sizes)
    for name, node in static.outputs.items():
        assert (outputs[name].dtype, outputs[name].shape) == (node.dtype.numpy, node.shape), report(case, name)
    assert all(np.isfinite(value).all() for value in updates.values())
    again = parse_graph(print_graph(case.graph))
    assert again.leaves == case.graph.leaves, report(case, "other leaves")
    assert list(again.outputs.items()) == list(case.graph.outputs.items()), report(case, "other outputs")
    assert list(again.updates.items()) == list(case.graph.updates.items()), report(case, "other updates")


def test_the_same_seed_gives_the_same_graph() -> None:
    for seed in (0, 5):
        one, two = random_case(seed), random_case(seed)
        assert one.graph.outputs == two.graph.outputs and one.sizes == two.sizes
        assert all(np.array_equal(one.values[k], two.values[k]) for k in one.values)


def test_the_generator_reaches_the_registry() -> None:
    """Every op appears in the graphs of these seeds, but what passes make, tests for NaN and recurrences.

    Windowed ops (convolution, pooling), recurrences, rounding and random numbers are left to their own tests.
    """
    elsewhere = {name for name, op in OPS.items() if type(op).__module__ in ELSEWHERE}
    seen = {node.op for seed in range(400) for node in random_case(seed).graph.nodes()}
    assert set(OPS) - elsewhere - seen == {"fused", "item", "subtract_rows", "last_places", "isnan", "scan"}


def test_a_failing_graph_is_cut_down_to_the_op_at_fault() -> None:
    def has_tanh(case: Case) -> bool:
        return any(node.op == "tanh" for node in case.graph.nodes())

    case = next(c for c in map(random_case, range(100)) if has_tanh(c))
    small = cut_down(case, has_tanh)
    assert [x.op for x in small.graph.outputs.values()] == ["tanh"]
    assert set(reference(small)) == {"y"}
