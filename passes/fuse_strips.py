"""Fusion of contractions with what is done to whole rows of their results: attention, a strip of rows at a time.

In  scores = contract(q, k);  probs = softmax(scores);  y = contract(probs, v)  the rows of `probs` follow from the same
rows of `scores`, and the rows of y from the same rows of `probs`.  One kernel computes a strip of rows of the first,
folds and changes it, and multiplies it further, before the next strip is begun; what nobody else reads never lies in
memory as a whole.  The same holds for two of the three, as in the backward pass.

Contractions that sum over the rows of what the group reads or computes (the gradients by keys and values) join it for
the sake of the cache: they run when all rows of an index of the batch axes are done.  A concatenation of nothing but
results of its contractions joins it as well: each is stored at its place.

It pays where the first contraction has batch axes: each of its products is small, and lies in the cache while the
strips pass.  A single large product is better off alone: it would read its weights once for every strip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphc.ir.dims import Dim, product
from graphc.ir.graph import Graph, inline
from graphc.ir.node import Node, leaf, make
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import parse
from graphc.ops.movement import placed_parts
from graphc.ops.op import Reduction, Structured
from graphc.passes.grouping import is_elementwise
from graphc.passes.normalise_contract import contract_axes
from graphc.passes.pipeline import graph_pass

WHOLE = 1 << 18  # elements of all rows of an index of the batch axes, if they are kept for sums over rows


@graph_pass("fuse-strips")
def fuse_strips(graph: Graph) -> Graph:
    """Makes contractions and the row by row group between them one kernel, which works on a strip of rows at a time."""
    strips = list(_Finder(graph).strips())
    return graph.with_roots(_Merge(graph, strips).roots()) if strips else graph


@dataclass(eq=False)
class Strip:
    """Kernels that become one, in order: a contraction, a group folding rows, a contraction or none, and others.

    `across` are contractions that sum over rows of a tensor of the group's shape, `joined` is a concatenation of what
    contractions give, behind its reshapes.
    """

    first: Node
    rows: Node
    second: Node | None
    across: list[Node] = field(default_factory=list)
    joined: list[Node] = field(default_factory=list)

    @property
    def parts(self) -> list[Node]:
        return [part for part in (self.first, self.rows, self.second, *self.across, *self.joined) if part is not None]


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.users = graph, graph.users()
        self.roots = dict.fromkeys(graph.roots)
        self.taken: dict[Node, Strip] = {}

    def strips(self) -> Iterator[Strip]:
        """Every strip of the graph; no kernel is part of two."""
        for rows in self.graph.nodes():
            if rows in self.taken or not _folds_rows(rows):
                continue
            first = next((x for x in map(_kernel_of, rows.inputs) if self._is_first(x, rows)), None)
            if first is None:
                continue
            second = next((x for x in self._readers(rows) if self._is_second(x, rows)), None)
            strip = Strip(first, rows, second)
            self._add_across(strip)
            strip.joined = next((x for c in _last(strip) for v in self._values(c) if (x := self._joined(v, strip))), [])
            self.taken.update(dict.fromkeys(strip.parts, strip))
            yield strip

    def _readers(self, kernel: Node) -> list[Node]:
        """The nodes that read results of a kernel, in order."""
        return list(dict.fromkeys(reader for value in self._values(kernel) for reader in self.users[value]))

    def _values(self, kernel: Node) -> list[Node]:
        items = [x for x in self.users[kernel] if x.op == "item"]
        return items or [kernel]

    def _is_first(self, kernel: Node, rows: Node) -> bool:
        """Whether a kernel is a batched contraction that is read by the rows alone, in their shape."""
        contract = _contraction(kernel)
        if contract is None or kernel in self.taken or contract.shape != _shape(rows):
            return False
        values = self._values(kernel)
        if any(value in self.roots for value in values) or self._readers(kernel) != [rows]:
            return False
        if not all(_reads_in_place(rows, value) for value in values):
            return False
        axes, result = contract_axes(contract.attr("spec")), parse(contract.attr("spec"))[2]
        apart = (result[-2] in axes.m and result[-1] in axes.n) or (result[-2] in axes.n and result[-1] in axes.m)
        return bool(axes.batch) and apart and contract.dtype.is_float

    def _is_second(self, kernel: Node, rows: Node) -> bool:
        """Whether a kernel multiplies rows of the group's result, and needs nothing else that follows from them."""
        contract = _contraction(kernel)
        if contract is None or kernel in self.taken:
            return False
        values = self._values(rows)
        read = [x for x in kernel.inputs if x in values]
        if len(read) != 1 or any(self._follows(x, rows) for x in kernel.inputs if x not in values):
            return False
        return multiplies_rows(contract, _inner(kernel, read[0]), _shape(rows))

    def _add_across(self, strip: Strip) -> None:
        """Adds the contractions that sum over rows, if neither they nor the strip wait for the other."""
        shape, values = _shape(strip.rows), self._values(strip.rows)
        size = product(shape[-2:])
        if not isinstance(size, int) or size > WHOLE:
            return
        whole = [*values, *(x for x in strip.rows.inputs if tuple(x.shape) == shape)]
        for kernel in dict.fromkeys(reader for value in whole for reader in self.users[value]):
            contract = None if kernel in self.taken or kernel in strip.parts else _contraction(kernel)
            read = [x for x in kernel.inputs if x in whole]
            if contract is None or len(read) != 1 or not turns_rows(contract, _inner(kernel, read[0]), shape):
                continue
            others = [x for x in kernel.inputs if x is not read[0] or x not in values]
            waits = any(self._follows(x, part) for x in others for part in strip.parts)
            needed = [x for part in strip.parts for x in part.inputs if _kernel_of(x) not in strip.parts]
            if not waits and not any(self._follows(x, kernel) for x in needed):
                strip.across.append(kernel)

    def _joined(self, value: Node, strip: Strip) -> list[Node]:
        """The concatenation that alone reads a value, all parts of it from the strip, and its reshapes before it."""
        while (readers := self.users[value]) and readers[0].op == "reshape":
            value = readers[0]
        if not readers or readers[0].op != "concat" or (parts := placed_parts(readers[0])) is None:
            return []
        concat = readers[0]
        reshapes: list[Node] = []
        if len(dict.fromkeys(concat.inputs)) < len(concat.inputs):
            return []
        for x, part in zip(concat.inputs, parts, strict=True):
            kernel = _kernel_of(part.value)
            contract = _contraction(kernel) if kernel in _last(strip) else None
            if contract is None or part.value.shape != contract.shape or part.strides[-1] != 1:
                return []
            chain = [x]
            while chain[-1] is not part.value:
                chain.append(chain[-1].inputs[0])
            if any(len(self.users[y]) != 1 or y in self.roots for y in chain):
                return []
            reshapes += reversed(chain[:-1])
        return [*reshapes, concat]

    def _follows(self, node: Node, source: Node) -> bool:
        """Whether a node is computed from the source; a part of a strip waits for all that the strip reads."""
        seen: dict[Node, None] = {}
        stack = [node]
        while stack:
            x = stack.pop()
            if x is source:
                return True
            if x not in seen:
                seen[x] = None
                strip = self.taken.get(x)
                stack.extend(x.inputs if strip is None else (y for part in strip.parts for y in part.inputs))
        return False


def _last(strip: Strip) -> list[Node]:
    """The contractions behind the rows."""
    return [*([] if strip.second is None else [strip.second]), *strip.across]


def multiplies_rows(contract: Node, rows: Node, shape: tuple[Dim, ...]) -> bool:
    """Whether a contraction is rows of `rows` times another operand: rows stay rows, their elements are summed."""
    if sum(x is rows for x in contract.inputs) != 1 or rows.shape != shape:
        return False
    *labels, result = parse(contract.attr("spec"))
    side = next(i for i, x in enumerate(contract.inputs) if x is rows)
    own, other = labels[side], labels[1 - side]
    outer, row, summed = own[:-2], own[-2], own[-1]
    new = [x for x in other if x not in own]
    if len(new) != 1 or result[-1] != new[0] or row in other or summed in result:
        return False
    return row in result and all(x in result for x in outer)


def turns_rows(contract: Node, rows: Node, shape: tuple[Dim, ...]) -> bool:
    """Whether a contraction sums over the rows of `rows`: its columns become rows of the result."""
    if sum(x is rows for x in contract.inputs) != 1 or tuple(rows.shape) != shape or not contract.dtype.is_float:
        return False
    *labels, result = parse(contract.attr("spec"))
    side = next(i for i, x in enumerate(contract.inputs) if x is rows)
    own, other = labels[side], labels[1 - side]
    outer, summed, kept = own[:-2], own[-2], own[-1]
    new = [x for x in other if x not in own]
    if len(new) != 1 or result[-1] != new[0] or summed not in other or summed in result:
        return False
    return kept in result and kept not in other and all(x in result for x in outer)


def _kernel_of(value: Node) -> Node:
    return value.inputs[0] if value.op == "item" else value


def _body(kernel: Node) -> list[Node]:
    """The nodes of a kernel that compute something."""
    if kernel.op != "fused":
        return [kernel]
    body: Graph = kernel.attr("body")
    return [node for node in body.nodes() if not node.is_leaf]


def _contraction(kernel: Node) -> Node | None:
    """The contraction of a kernel that is one."""
    structured = [node for node in _body(kernel) if isinstance(node.definition, Structured)]
    folds = any(isinstance(node.definition, Reduction) for node in _body(kernel))
    if len(structured) != 1 or structured[0].op != "contract" or folds:
        return None
    return structured[0] if elements_of(structured[0]) is None else None


def _folds_rows(kernel: Node) -> bool:
    """Whether a kernel folds the last of two or more axes, element by element otherwise."""
    if kernel.op != "fused" or any(isinstance(node.definition, Structured) for node in _body(kernel)):
        return False
    folds = [node for node in _body(kernel) if isinstance(node.definition, Reduction)]
    ranks = [node.inputs[0].type.rank for node in folds]
    return bool(folds) and ranks[0] > 1 and all(node.attr("axes") == (ranks[0] - 1,) for node in folds)


def _shape(rows: Node) -> tuple[Dim, ...]:
    """The shape that a group folds."""
    fold = next(node for node in _body(rows) if isinstance(node.definition, Reduction))
    return tuple(fold.inputs[0].shape)


def _inner(kernel: Node, value: Node) -> Node:
    """What stands for an input inside of a kernel."""
    if kernel.op != "fused":
        return value
    leaves: tuple[Node, ...] = kernel.attr("body").leaves
    return leaves[kernel.inputs.index(value)]


def _reads_in_place(rows: Node, value: Node) -> bool:
    """Whether a group reads an input only at the elements that it computes, not transposed or shifted."""
    given = _inner(rows, value)
    readers = [node for node in _body(rows) if given in node.inputs]
    return all(isinstance(node.definition, Reduction) or is_elementwise(node) for node in readers)


class _Merge:
    """The graph with every strip as one fused node."""

    def __init__(self, graph: Graph, strips: list[Strip]) -> None:
        self.graph = graph
        self.strip_of = {part: strip for strip in strips for part in strip.parts}
        self.users = graph.users()
        self.new: dict[Node, Node] = {}

    def roots(self) -> list[Node]:
        """The new roots; iterative, since graphs may be deep."""
        stack = list(reversed(self.graph.roots))
        while stack:
            node = stack[-1]
            if node in self.new:
                stack.pop()
                continue
            strip = self.strip_of.get(_kernel_of(node))
            needs = list(node.inputs) if strip is None else self._reads(strip)
            missing = [x for x in needs if x not in self.new]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            if strip is None:
                self.new[node] = make(node.op, *(self.new[x] for x in node.inputs), **node.attrs_dict)
            else:
                self._build(strip)
        return [self.new[root] for root in self.graph.roots]

    def _reads(self, strip: Strip) -> list[Node]:
        """What a strip reads from memory."""
        inputs = dict.fromkeys(x for part in strip.parts for x in part.inputs)
        return [x for x in inputs if _kernel_of(x) not in strip.parts]

    def _build(self, strip: Strip) -> None:
        read = self._reads(strip)
        inner = {x: leaf("input", f"a{i}", x.type) for i, x in enumerate(read)}
        leaves = tuple(inner.values())
        for part in strip.parts:
            inner.update(self._opened(part, [inner[x] for x in part.inputs]))
        stored = [x for part in strip.parts for x in self._values(part) if self._is_read_outside(x, strip)]
        results = {f"r{i}": inner[x] for i, x in enumerate(stored)}
        fused = make("fused", *(self.new[x] for x in read), body=Graph("body", leaves, results))
        for i, x in enumerate(stored):
            self.new[x] = fused if len(stored) == 1 else make("item", fused, index=i)

    def _opened(self, part: Node, operands: list[Node]) -> dict[Node, Node]:
        """The values of a part, computed from other operands, without a group of its own."""
        if part.op != "fused":
            return {part: make(part.op, *operands, **part.attrs_dict)}
        results = inline(part.attr("body"), operands)
        return {value: results[value.attr("index") if value.op == "item" else 0] for value in self._values(part)}

    def _values(self, part: Node) -> list[Node]:
        items = [x for x in self.users[part] if x.op == "item"]
        return items or [part]

    def _is_read_outside(self, value: Node, strip: Strip) -> bool:
        return value in self.graph.roots or any(reader not in strip.parts for reader in self.users[value])
