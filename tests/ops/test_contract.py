"""The contract of the registry: every op has all its parts, and they agree with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_lowering import run_lowering
from operands import SIZES, arrays, leaf_values, sample_graph, samples

import graphc.ops  # noqa: F401
from graphc.autodiff import gradients
from graphc.codegen.serial import SERIAL
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, Node, leaf
from graphc.ir.types import F64, TensorType, TupleType
from graphc.ops.build import reduce
from graphc.ops.op import Composite, Elementwise, Op, Pointwise, Reduction, Structured

ALL = sorted(OPS)
DIFFERENTIABLE = [name for name in ALL if OPS[name].differentiable]
GRAPH_KERNELS = ("buffer", "alias", "contraction", "convolution", "window", "group", "part", "loop")
STEP, TOLERANCE = 1e-4, 1e-6


def overrides(op: Op, method: str, *bases: type) -> bool:
    """Whether an op's method is not the one of the protocol itself."""
    return all(getattr(type(op), method, None) is not getattr(base, method, None) for base in bases)


@pytest.mark.parametrize("name", ALL)
def test_every_part_is_there(name: str) -> None:
    op = OPS[name]
    assert op.name == name
    assert (type(op).__doc__ or "").strip(), f"{name} has no docstring"
    assert type(op).__doc__ not in {base.__doc__ for base in type(op).__mro__[1:]}, (
        f"{name} has no docstring of its own"
    )
    for method in ("infer", "evaluate", "samples"):
        assert overrides(op, method, Op), f"{name} has no {method}"
    assert not op.differentiable or overrides(op, "vjp", Op), f"{name} has no vjp"
    assert has_lowering(op), f"{name} has no lowering"


def has_lowering(op: Op) -> bool:
    match op:
        case Elementwise():
            return True  # by the primitive of its name, unless it overrides lower
        case Pointwise():
            return overrides(op, "lower", Pointwise)
        case Reduction():
            return op.combine in OPS and overrides(op, "identity", Reduction)
        case Composite():
            return overrides(op, "decompose", Composite)
        case Structured():
            return op.kernel in SERIAL or op.kernel in GRAPH_KERNELS
    return False


@pytest.mark.parametrize("name", ALL)
def test_infer_is_the_type_of_evaluate(name: str) -> None:
    for size in SIZES:
        cases = samples(name, size)
        assert cases, f"{name} has no samples"
        for case, sample in enumerate(cases):
            expected = OPS[name].infer(*sample.types, **sample.attrs)
            with np.errstate(all="ignore"):
                result = OPS[name].evaluate(*arrays(sample, case), **sample.attrs)
            parts = (
                zip(expected.items, result, strict=True) if isinstance(expected, TupleType) else [(expected, result)]
            )
            for type, part in parts:
                found = np.asarray(part)
                assert (found.dtype, found.shape) == (type.dtype.numpy, type.shape), f"size {size}, sample {case}"


@pytest.mark.parametrize("name", ALL)
def test_lowering_means_what_evaluate_means(name: str) -> None:
    for size in (1, 3, 17):
        for case, sample in enumerate(samples(name, size)):
            if any(isinstance(type, TupleType) for type in sample.types) or isinstance(OPS[name], Structured):
                continue
            graph, values = sample_graph(name, sample), arrays(sample, 10 * size + case)
            node = graph.outputs["y0"]
            with np.errstate(all="ignore"):
                expected = OPS[name].evaluate(*values, **sample.attrs)
                result = run_lowering(node, dict(zip(graph.leaves, values, strict=True)))
            assert result is not None
            assert result.dtype == expected.dtype
            np.testing.assert_allclose(result, expected, 1e-12, 1e-14, err_msg=f"size {size}, sample {case}")


def projected(name: str, sample: Any) -> tuple[Graph, list[Node]] | None:
    """The scalar sum of r * op(x) with a leaf r, and its float leaves; None if it has no derivative."""
    if not all(isinstance(type, TensorType) for type in sample.types):
        return None
    graph = sample_graph(name, sample)
    y = graph.outputs["y0"]
    wanted = [x for x in graph.leaves if x.dtype.is_float]
    if not y.dtype.is_float or not wanted:
        return None
    r = leaf("input", "r", y.type)
    total = reduce("sum", r * y, *range(len(y.shape)))
    return Graph(name, (*graph.leaves, r), {"total": total}), wanted


def slope(graph: Graph, values: dict[str, Any], direction: dict[str, Any]) -> float:
    """The directional derivative of a graph's sum of outputs: central differences, extrapolated once."""

    def central(step: float) -> float:
        ahead = {k: v + step * direction[k] if k in direction else v for k, v in values.items()}
        behind = {k: v - step * direction[k] if k in direction else v for k, v in values.items()}
        up, down = interpret(graph, ahead, {})[0], interpret(graph, behind, {})[0]
        return sum(float(up[k] - down[k]) for k in up) / (2 * step)

    return (4 * central(STEP / 2) - central(STEP)) / 3


def check(scalar: Graph, wanted: list[Node], values: dict[str, Any], seed: int, where: str) -> Graph:
    """Compares the gradients of a graph's scalar with difference quotients; returns the gradients' graph."""
    found = Graph("gradient", scalar.leaves, dict(enumerate(gradients(scalar.outputs["total"], wanted))))  # type: ignore[arg-type]
    result = interpret(found, values, {})[0]
    random = np.random.default_rng(seed)
    for position, x in enumerate(wanted):
        v = np.asarray(random.uniform(-1, 1, x.shape))
        terms = result[position] * v  # type: ignore[index]
        numeric = slope(scalar, values, {x.attr("name"): v})
        error = abs(float(np.sum(terms)) - numeric)
        scale = max(float(np.sum(np.abs(terms))), 1e-3)
        assert error <= TOLERANCE * scale, f"{where}, operand {position}: {np.sum(terms)} against {numeric}"
    return found


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives_are_those_of_difference_quotients(name: str) -> None:
    """First derivatives at all sizes; second ones, for ops that are smooth, at three."""
    checked = 0
    for size in SIZES:
        for case, sample in enumerate(samples(name, size)):
            pair = projected(name, sample)
            if pair is None:
                continue
            scalar, wanted = pair
            values, where = arrays(sample, 100 * size + case), f"{name}, size {size}, sample {case}"
            random = np.random.default_rng(case)
            r = np.asarray(random.uniform(0.5, 1.5, scalar.leaves[-1].shape))
            bound = leaf_values(Graph("", scalar.leaves[:-1], {}), values) | {"r": r}
            first = check(scalar, wanted, bound, case, where)
            checked += 1
            if OPS[name].smooth and size in (1, 3, 17):
                check_second(first, wanted, bound, where)
    assert checked, f"{name} is differentiable and has no sample with float operands"


def check_second(first: Graph, wanted: list[Node], values: dict[str, Any], where: str) -> None:
    """The same check for the projection of the gradients on a leaf of their own."""
    random, totals, leaves = np.random.default_rng(7), [], list(first.leaves)
    for position, g in enumerate(first.outputs.values()):
        w = leaf("input", f"w{position}", g.type)
        leaves.append(w)
        values = values | {f"w{position}": np.asarray(random.uniform(0.5, 1.5, g.shape))}
        totals.append(reduce("sum", g * w, *range(len(g.shape))))
    total = totals[0]
    for other in totals[1:]:
        total = total + other
    r = next(x for x in first.leaves if x.attr("name") == "r")
    check(Graph("second", tuple(leaves), {"total": total}), [*wanted, r], values, 3, f"second derivative, {where}")


def test_the_type_f64_is_what_the_samples_are_made_of() -> None:
    """The compiled samples in f32 are made from those in f64, so no op may lack them where floats are operands."""
    for name in DIFFERENTIABLE:
        kinds = [t.dtype for s in samples(name, 3) for t in s.types if isinstance(t, TensorType)]
        assert F64 in kinds, name
