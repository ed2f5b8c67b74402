"""One graph node or fused group to one Kernel: which kind it is, and the structured kinds themselves.

Pointwise and reduction groups become loop nests (graphc.codegen.loops).  A contraction becomes a `Contract` whose
epilogue is the rest of its group; where its axes do not fit the skeleton, a loop nest.  What runs in a given order,
such as a scatter, is in graphc.codegen.serial.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.codegen import convolution, convolution_window, loops, product_parts, strips
from graphc.codegen.column_parts import in_parts
from graphc.codegen.contraction_fit import ContractionFit
from graphc.codegen.convolution_window import is_depthwise
from graphc.codegen.kernel import (
    Buffer,
    Contract,
    For,
    Kernel,
    KernelError,
    Stmt,
    verify_kernel,
)
from graphc.codegen.loop_code import workspace_elements
from graphc.codegen.prepacking import packed_before
from graphc.codegen.product_parts import parts_read
from graphc.codegen.row_stream import streamed
from graphc.codegen.serial import SERIAL
from graphc.codegen.target import Target
from graphc.ir.graph import rebuild
from graphc.ir.node import Node, make
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import parse
from graphc.ops.op import Structured


def lower(name: str, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], target: Target) -> Kernel:
    """The kernel that computes `outputs` from `inputs`; every node between them becomes part of it."""
    inner = loops.inner_nodes(list(outputs), inputs)
    structured = [n for n in inner if isinstance(n.definition, Structured)]
    if any(elements_of(n) == "bf16" for n in structured):
        raise KernelError("a product of rounded operands has no kernel; the pass pair-operands comes first")
    scratch: list[Buffer] = []
    if strips.is_strip(inner):
        body, scratch = strips.build(outputs, inputs)
        scratch += _add_workspace(body, target)
    elif structured and structured[0].definition.kernel in SERIAL:
        body, scratch = SERIAL[structured[0].definition.kernel](structured[0], outputs[structured[0]], inputs)
    elif structured and structured[0].op == "contract" and (parts := parts_read(structured[0], inner)):
        body, scratch = product_parts.build(structured[0], parts, outputs, inputs, target)
        scratch += _add_workspace(body, target)
    elif structured and structured[0].op == "contract":
        found = ContractionFit(structured[0], outputs, inputs).build()
        if found is None:
            body, scratch = loops.build(_as_product(structured[0], outputs), inputs)
        else:
            scratch = _add_workspace(found, target)
            body, panels = packed_before(found, target)
            scratch = panels or scratch
    elif structured and structured[0].definition.kernel == "convolution" and not is_depthwise(structured[0]):
        body, scratch = convolution.build(structured[0], outputs, inputs, target)
    elif structured and structured[0].definition.kernel in ("convolution", "window"):
        body, scratch = convolution_window.build(structured, outputs, inputs)
    else:
        body, scratch = loops.build(outputs, inputs)
        body, sums = streamed(body)
        body, more = in_parts(body, target)
        scratch += sums + more
    buffers = tuple(dict.fromkeys([*outputs.values(), *inputs.values(), *scratch]))
    kernel = Kernel(name, buffers, body, _words(outputs, inputs))
    verify_kernel(kernel)
    return kernel


def _add_workspace(body: tuple[Stmt, ...], target: Target) -> list[Buffer]:
    """Gives every contraction the scratch memory it packs an operand into, if it does."""
    added: list[Buffer] = []
    for stmt in body:
        if isinstance(stmt, For):
            added += _add_workspace(stmt.body, target)
        elif isinstance(stmt, Contract) and (elements := workspace_elements(stmt, target)) != 0:
            workspace = Buffer("workspace", stmt.temp.dtype, (elements,), "scratch")
            object.__setattr__(stmt, "workspace", workspace)
            added.append(workspace)
    return added


def _words(outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> str:
    ops = [n.op for n in loops.inner_nodes(list(outputs), inputs) if n.op != "const"]
    return " ".join(ops[:12]) + (f" .. ({len(ops)} ops)" if len(ops) > 12 else "")


def _as_product(node: Node, outputs: Mapping[Node, Buffer]) -> dict[Node, Buffer]:
    """The outputs with a contraction said as a product that is summed: for shapes the skeleton is not made for."""
    (a, b), (la, lb, lr) = node.inputs, parse(node.attr("spec"))
    summed = [x for x in dict.fromkeys(la + lb) if x not in lr]
    every = [*lr, *summed]
    sizes = dict(zip(la + lb, (*a.shape, *b.shape), strict=True))
    shape = tuple(sizes[x] for x in every)
    wide = []
    for x, labels in ((a, la), (b, lb)):
        order = sorted(range(len(labels)), key=lambda i, labels=labels: every.index(labels[i]))  # type: ignore[misc]
        moved = x if order == sorted(order) else make("transpose", x, perm=tuple(order))
        axes = tuple(sorted(every.index(label) for label in labels))
        wide.append(moved if moved.shape == shape else make("broadcast", moved, shape=shape, axes=axes))
    result = wide[0] * wide[1]
    if summed:
        result = make("reduce_sum", result, axes=tuple(range(len(lr), len(every))))
    roots = rebuild(outputs, lambda n, _: result if n is node else None)
    return dict(zip(roots, outputs.values(), strict=True))
