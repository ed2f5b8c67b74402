"""One graph as a native function of NumPy arrays: what tests and tools compile without a model file."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.codegen.entry import emit_entry, plan_entry
from graphc.codegen.index_bounds import index_bounds
from graphc.codegen.llvm import Module, compile_object
from graphc.codegen.target import Target, host
from graphc.ir.dims import evaluate
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.linking.link import link
from graphc.passes import levels
from graphc.runtime.buffers import aligned_bytes
from graphc.runtime.errors import IndexRangeError
from graphc.runtime.library import Library

Arrays = dict[str, Any]


def compile_graph(
    graph: Graph, passes: str = "O2", target: Target | None = None, memory: Callable[[int], Any] = aligned_bytes
) -> Callable[[Mapping[str, Any], Mapping[str, int]], tuple[Arrays, Arrays]]:
    """A function (leaf values by name, sizes) -> (outputs by name, updated leaves by name).

    `passes` is a pipeline's text.  Values must have the leaves' dtypes and shapes; they are copied first.
    `memory` gives at least so many bytes, at a multiple of 64 if that many were asked for: leaves, results and scratch.
    Raises IndexRangeError for an index out of range.
    """
    target = target or host()
    optimised = levels.pipeline(passes).run(graph)
    code = plan_entry("entry", optimised, target, tuple(index_bounds(graph)))
    symbols = graph.symbols()
    module = Module(target)
    emit_entry(code, module, symbols)
    library = Library(link(compile_object(module.text(), target)), ["entry"])
    function = library.function("entry", 4)

    def array_of(node: Node, sizes: Mapping[str, int]) -> Any:
        shape, kind = tuple(evaluate(d, sizes) for d in node.shape), np.dtype(node.dtype.numpy)
        size = math.prod(shape) * kind.itemsize
        return memory(size)[:size].view(kind).reshape(shape)

    def run(values: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Arrays, Arrays]:
        leaves = {node: array_of(node, sizes) for node in graph.leaves}
        for node, array in leaves.items():
            array[...] = np.asarray(values[node.attr("name")], node.dtype.numpy).reshape(array.shape)
        outputs = {name: array_of(node, sizes) for name, node in graph.outputs.items()}
        arrays = [*leaves.values(), *outputs.values()]
        table = (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))
        dims = (ctypes.c_int64 * max(1, len(symbols)))(*(sizes[s.name] for s in symbols))
        arena = memory(code.arena_bytes(sizes))
        status = function(ctypes.addressof(table), ctypes.addressof(dims), arena.ctypes.data, None)
        if status:
            raise IndexRangeError(f"{graph.leaves[status - 1].attr('name')} holds an index out of range")
        assert library is not None
        return outputs, {str(leaf.attr("name")): leaves[leaf] for leaf in graph.updates}

    return run
