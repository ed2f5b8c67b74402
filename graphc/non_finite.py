"""Where the first NaN or infinity comes from: an entry's graph as written, computed by the reference interpreter.

A value is at fault if it is not finite though what it was computed from is. Infinities that the program itself brings
in, such as `where(mask, x, -inf)`, are not followed: only what becomes of them counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.interpret import compute, resolve
from graphc.ir.node import Node, postorder
from graphc.ops.op import Elementwise
from graphc.program import Program
from graphc.source import Span

Array = Any  # numpy.ndarray


@dataclass(frozen=True)
class Fault:
    """`value` at `index` of what `node` computes; `operands` are its operands there, if it is elementwise."""

    node: Node
    index: tuple[int, ...]
    value: float
    operands: tuple[float, ...]
    step: int | None = None  # of the innermost scan that it is in
    outer: Node | None = None  # the outermost of these scans


@dataclass(frozen=True, slots=True)
class _Seen:
    has_nan: bool
    is_tainted: bool  # it goes back to a value at fault


def first_fault(graph: Graph, values: Mapping[str, Array], sizes: Mapping[str, int]) -> Fault | None:
    """The first value at fault on which an output or update that is not finite depends, or None.

    `values` binds the leaves by their names in `leaf_key`, `sizes` the run-time dimensions. In a scan it is a value of
    its body, in the first step that has one.
    """
    computed, seen = _compute_all(graph, values, sizes)
    bad = next((root for root in graph.roots if root in seen and seen[root].is_tainted), None)
    if bad is None:
        return None
    while (before := _before(bad, seen)) is not None:
        bad = before
    if bad.op == "scan":
        inner = _first_in_scan(bad, [computed[x] for x in bad.inputs], sizes)
        if inner is not None:
            return inner
    array = next(x for x in _arrays(computed[bad]) if not _is_finite(x))
    wrong = np.isnan(array) if np.isnan(array).any() else ~np.isfinite(array)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), array.shape))
    same = [computed[x] for x in bad.inputs] if isinstance(bad.definition, Elementwise) else []
    operands = tuple(float(x[index]) for x in same)
    return Fault(bad, index, float(array[index]), operands)


def _compute_all(
    graph: Graph, values: Mapping[str, Array], sizes: Mapping[str, int]
) -> tuple[dict[Node, Any], dict[Node, _Seen]]:
    """The value of every node, and what is wrong with those that are not finite."""
    computed: dict[Node, Any] = {}
    seen: dict[Node, _Seen] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes():
            computed[node] = _leaf(node, values) if node.is_leaf else compute(node, computed, sizes)
            found = _look(node, computed[node], seen)
            if found is not None:
                seen[node] = found
    return computed, seen


def _first_in_scan(scan: Node, operands: list[Array], sizes: Mapping[str, int]) -> Fault | None:
    """The fault of the first step that has one; see `graphc.ops.scan` for the operands."""
    body, carries = scan.attr("body"), scan.attr("carries")
    cut = carries + scan.attr("sequences")
    now, steps = operands[:carries], range(int(resolve(scan.attr("length"), sizes)))
    for t in reversed(steps) if scan.attr("reverse") else steps:
        given = [np.int32(t), *now, *(x[t] for x in operands[carries:cut]), *operands[cut:]]
        values = dict(zip(map(leaf_key, body.leaves), given, strict=True))
        fault = first_fault(body, values, sizes)
        if fault is not None and not fault.node.is_leaf:
            return replace(fault, step=t if fault.step is None else fault.step, outer=scan)
        computed, _ = _compute_all(body, values, sizes)
        now = [computed[x] for x in list(body.outputs.values())[:carries]]
    return None


def _arrays(value: Any) -> tuple[Array, ...]:
    """The arrays of a value: those of a tuple (what a scan gives), or the one."""
    return tuple(map(np.asarray, value)) if isinstance(value, tuple) else (np.asarray(value),)


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def leaf_key(node: Node) -> str:
    """The name of a leaf among the values; a parameter and its gradient have the same name."""
    name = str(node.attr("name"))
    return f"gradient/{name}" if node.attr("role") == "gradient" else name


def _leaf(node: Node, values: Mapping[str, Array]) -> Array:
    return np.asarray(values[leaf_key(node)])


def _look(node: Node, value: Any, seen: Mapping[Node, _Seen]) -> _Seen | None:
    """What is wrong with a value; None if nothing is."""
    wrong = [one for one in _arrays(value) if not _is_finite(one)]
    if not wrong:
        return None
    has_nan = any(bool(np.isnan(one).any()) for one in wrong)
    inputs = [seen[x] for x in node.inputs if x in seen]
    makes_it = not inputs or (has_nan and not any(x.has_nan for x in inputs))
    is_tainted = node.op != "const" and (makes_it or any(x.is_tainted for x in inputs))
    return _Seen(has_nan, is_tainted)


def _before(node: Node, seen: Mapping[Node, _Seen]) -> Node | None:
    """The operand that a fault comes from, NaNs first."""
    inputs = [x for x in node.inputs if x in seen and seen[x].is_tainted]
    return next((x for x in inputs if seen[x].has_nan), inputs[0] if inputs else None)


def describe(program: Program, entry: str, values: Mapping[str, Array], sizes: Mapping[str, int]) -> str | None:
    """The fault of an entry in words: op, index, and the line of the model file."""
    graph = program.entries[entry]
    fault = first_fault(graph, values, sizes)
    if fault is None:
        return None
    node, at = fault.node, f" at {list(fault.index)}" if fault.index else ""
    if node.is_leaf:
        return f"{entry}: the {node.attr('role')} `{node.attr('name')}` holds {fault.value}{at}"
    of = f" of {', '.join(f'{x:.6g}' for x in fault.operands)}" if fault.operands else ""
    when = "" if fault.step is None else f", in step {fault.step} of a scan"
    lines = [f"{entry}: `{node.op}`{of} gives {fault.value}{at} of {node.type}{when}"]
    is_known = fault.outer is None or node in program.spans
    lines += _places(program, graph, node if is_known or fault.outer is None else fault.outer)
    return "\n".join(lines)


def _places(program: Program, graph: Graph, node: Node) -> list[str]:
    """The line that the node comes from; and if that is in a library, the line of the model file that it is for."""
    span = program.spans.get(node)
    origin = program.origins.get(node)
    if span is None and origin is not None:
        span = program.spans.get(origin)
        lines = [f"  in the gradient of `{origin.op}`"]
    else:
        lines = []
    if span is not None:
        lines.append(_line(span))
    home = next((program.spans[x].source for x in program.inputs if x in program.spans), None)
    if span is None or span.source is not home:
        start = origin if origin is not None else node
        user = _first_user(program, graph, start, home)
        if user is not None:
            lines.append(("  on the way to:" if lines else "  for:") + _line(user)[1:])
    return lines


def _first_user(program: Program, graph: Graph, node: Node, home: object) -> Span | None:
    """The first place in the source `home` that depends on a node."""
    depends: dict[Node, None] = {node: None}
    for one in postorder(graph.roots):
        if one in depends or any(x in depends for x in one.inputs):
            depends[one] = None
            span = program.spans.get(one)
            if span is not None and span.source is home and one.op != "leaf":
                return span
    return None


def _line(span: Span) -> str:
    return f"  {span}  {span.source.line(span.first.line).strip()}"
