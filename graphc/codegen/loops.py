"""From a group of pointwise and reduction nodes to a loop nest.

All reductions of a group fold the same axes of one shape, so that the group is one nest: loops over the kept axes,
inside them one sweep over the folded axes for each stage of reductions, then a last sweep that stores what has the
full shape.  A softmax has three sweeps over a row.  Neighbouring axes that every access steps through as one long
axis are merged.  The last axis runs by vector: over a folded one the vector is folded at the end of the sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Fold,
    For,
    KernelError,
    Load,
    Scalar,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    closure,
    indices,
    scalars_of,
    stores_of,
)
from graphc.codegen.scalars import Pull, linear, merges
from graphc.ir.dims import Dim, product
from graphc.ir.node import Node
from graphc.ops.movement import is_joined
from graphc.ops.op import DEAR, Elementwise, Reduction, instructions


@dataclass(frozen=True)
class Space:
    """The iteration space of a group: the full shape, and which of its axes are folded."""

    shape: tuple[Dim, ...]
    folded: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.folded)

    @property
    def kept_shape(self) -> tuple[Dim, ...]:
        return tuple(self.shape[axis] for axis in self.kept)


def space_of(outputs: list[Node], inputs: Mapping[Node, Buffer]) -> Space:
    """The iteration space of the nodes between `inputs` and `outputs`."""
    for node in inner_nodes(outputs, inputs):
        if isinstance(node.definition, Reduction):
            return Space(node.inputs[0].shape, tuple(node.attr("axes")))
    shape = next((n.shape for n in outputs if n.op != "concat"), None)
    if shape is None:  # written part by part, if all parts are of one shape
        parts = dict.fromkeys(x.shape for n in outputs for x in n.inputs)
        shape = next(iter(parts)) if len(parts) == 1 else outputs[0].shape
    return Space(shape, ())


def build(outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> tuple[tuple[Stmt, ...], list[Buffer]]:
    """(statements, scratch buffers) that compute the output nodes from the input ones."""
    space = space_of(list(outputs), inputs)
    for node in outputs:
        if node.shape not in (space.shape, space.kept_shape) and not is_joined(node, space.shape):
            raise KernelError(f"a result of {list(node.shape)} in a loop nest over {list(space.shape)}")
    draft = Nest(space, outputs, inputs, [(axis,) for axis in range(len(space.shape))])
    runs = draft.mergeable_runs()
    nest = draft if len(runs) == len(space.shape) else Nest(space, outputs, inputs, runs)
    return nest.stmts, nest.scratch


def inner_nodes(outputs: list[Node], inputs: Mapping[Node, Buffer]) -> list[Node]:
    """The nodes to compute, in order; what lies behind the inputs is not among them."""
    order: list[Node] = []
    placed: dict[Node, None] = {}
    for root in outputs:
        stack = [root]
        while stack:
            node = stack[-1]
            if node in placed or node in inputs:
                stack.pop()
                continue
            waiting = [x for x in node.inputs if x not in placed and x not in inputs]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            placed[node] = None
            order.append(node)
    return order


class Nest:
    """One way to build the nest: `runs` says which axes are merged into one loop."""

    def __init__(
        self,
        space: Space,
        outputs: Mapping[Node, Buffer],
        inputs: Mapping[Node, Buffer],
        runs: list[tuple[int, ...]],
    ) -> None:
        self.space, self.outputs = space, outputs
        self.pull = Pull(inputs)
        self.inner = inner_nodes(list(outputs), inputs)
        self.scratch: list[Buffer] = []
        self.index: list[Affine] = [Affine()] * len(space.shape)
        self.vars: list[tuple[Var, bool]] = []  # (variable, folded)
        for run in runs:
            var = Var("ijklmnpq"[len(self.vars) % 8], product(space.shape[axis] for axis in run))
            self.vars.append((var, run[0] in space.folded))
            self.index[run[-1]] = affine(var)
        self.runs = runs
        self.full = tuple(self.index)
        self.row = tuple(self.index[axis] for axis in space.kept)
        self.stmts = self._nest()

    def mergeable_runs(self) -> list[tuple[int, ...]]:
        """Runs of neighbouring axes, all kept or all folded, that every index steps through as one axis."""
        every = closure(tuple(scalars_of(self.stmts)))
        at = [i for s in every for i in indices(s)] + [s.at for s in stores_of(self.stmts)]
        runs: list[tuple[int, ...]] = []
        for axis, (var, folded) in enumerate(self.vars):
            if runs and self.vars[axis - 1][1] == folded and merges(at, self.vars[axis - 1][0], var):
                runs[-1] = (*runs[-1], axis)
            else:
                runs.append((axis,))
        return runs

    def _nest(self) -> tuple[Stmt, ...]:
        stages = self._stages()
        last = max(stages.values(), default=0)
        shape = self.space.shape
        joined = [n for n in self.outputs if is_joined(n, shape) and n.shape != self.space.kept_shape]
        full = [n for n in self.outputs if n.shape == shape] + [x for n in joined for x in n.inputs]
        kept = [n for n in self.outputs if n.shape != shape and n not in joined]
        spilled: dict[Node, Buffer] = {}
        sweeps: list[list[Stmt]] = []
        for stage in range(last + 1):
            folds = [n for n in self.inner if isinstance(n.definition, Reduction) and stages[n] == stage]
            if folds:
                later = [n for n in self.inner if isinstance(n.definition, Reduction) and stages[n] > stage] + full
                stores = self._spill([n.inputs[0] for n in folds], later, spilled)
                sweep = self._folding(folds, stores)
                sweeps.append(sweep + self._keep(folds) if later else sweep)
                for node, buffer in spilled.items():
                    at = linear(buffer, tuple(affine(v) for v in self._spill_vars()))
                    self.pull.give(node, self.full, Load(node.dtype, buffer, at))
                if spilled:  # later sweeps build on the copies, not on what this one computed from scratch
                    self.pull.forget({n: None for n in self.inner if n.shape == self.space.shape and n not in spilled})
        stores = [self._store(n) for n in self.outputs if n.shape == shape]
        stores += [part for n in joined for part in self._store_parts(n)]
        sweeps.append(self._storing(stores) if self.space.folded and full else stores)
        sweeps[-1 if sweeps[-1] else -2] += [
            Store(self.outputs[n], linear(self.outputs[n], self.row), self._value(n, self.row)) for n in kept
        ]
        return self._around([sweep for sweep in sweeps if sweep])

    def _around(self, sweeps: list[list[Stmt]]) -> tuple[Stmt, ...]:
        """The loops over the kept axes around the sweeps of a row."""
        body = [stmt for sweep in sweeps for stmt in sweep]
        for position, (var, folded) in reversed(list(enumerate(self.vars))):
            if not folded:
                body = [For(var, tuple(body), vector=position == len(self.vars) - 1)]
        return tuple(body)

    def _keep(self, folds: list[Node]) -> list[Stmt]:
        """What keeps the results of a sweep for later ones, if they need more than registers."""
        return []

    def _spill_vars(self) -> tuple[Var, ...]:
        """The axes of a spilled value."""
        return tuple(var for var, folded in self.vars if folded)

    def place(self, output: Buffer) -> Affine:
        """Where a result of the full shape is stored."""
        return linear(output, self.full)

    def _store(self, node: Node) -> Store:
        return Store(self.outputs[node], self.place(self.outputs[node]), self._value(node, self.full))

    def _store_parts(self, node: Node) -> Iterator[Store]:
        """The stores of a concatenation: every part at its place."""
        buffer, axis = self.outputs[node], node.attr("axis")
        start: Dim = 0
        for part in node.inputs:
            at = tuple(index + start if i == axis else index for i, index in enumerate(self.full))
            yield Store(buffer, linear(buffer, at), self._value(part, self.full))
            start = start + part.shape[axis]

    def _stages(self) -> dict[Node, int]:
        """node -> the number of sweeps that must be over before it can be computed."""
        stages: dict[Node, int] = {}
        for node in self.inner:
            stages[node] = max(
                (stages[x] + isinstance(x.definition, Reduction) for x in node.inputs if x in stages), default=0
            )
        return stages

    def _value(self, node: Node, at: tuple[Affine, ...], pull: Pull | None = None) -> Scalar:
        """The node's scalar; operands of the same level are made first, so that a long chain needs no recursion."""
        pull = pull or self.pull
        todo: list[Node] = []
        seen: dict[Node, None] = {node: None}
        stack = [node]
        while stack:
            todo.append(current := stack.pop())
            if current in pull.buffers or isinstance(current.definition, Reduction):
                continue
            for x in current.inputs:
                if x not in seen and x.shape == node.shape:
                    seen[x] = None
                    stack.append(x)
        reachable = dict.fromkeys(todo)
        for x in self.inner:
            if x in reachable and isinstance(x.definition, Elementwise):
                pull.read(x, at)
        return pull.read(node, at)

    def _fold(self, node: Node) -> Fold:
        definition = node.definition
        temp = Temp(node.dtype, f"t{len(self.pull.values)}")
        value = self._value(node.inputs[0], self.full)
        self.pull.give(node, self.row, temp)
        return Fold(temp, definition.combine, definition.identity(node.dtype), value)

    def _folding(self, nodes: list[Node], stores: list[Stmt]) -> list[Stmt]:
        """The sweep that folds what these reductions fold, and makes these stores."""
        return [self._sweep([self._fold(node) for node in nodes], stores)]

    def _storing(self, stores: list[Stmt]) -> list[Stmt]:
        """The last sweep, which stores what has the full shape."""
        return [self._sweep([], stores)]

    def _sweep(self, folds: list[Fold], stores: list[Stmt]) -> For:
        """Loops over the folded axes; a fold over several axes folds the inner loop's result further out."""
        body = tuple(stores)
        swept = [(position, var) for position, (var, folded) in enumerate(self.vars) if folded]
        loop: For | None = None
        for depth, (position, var) in enumerate(reversed(swept)):
            outermost = depth == len(swept) - 1
            targets = [f.temp if outermost else Temp(f.temp.dtype, f"{f.temp.name}.{depth}") for f in folds]
            now = tuple(Fold(t, f.combine, f.identity, f.value) for t, f in zip(targets, folds, strict=True))
            folds = [Fold(f.temp, f.combine, f.identity, t) for t, f in zip(targets, folds, strict=True)]
            loop = For(var, body, vector=position == len(self.vars) - 1, folds=now)
            body = (loop,)
        assert loop is not None, "a sweep needs a folded axis"
        return loop

    def _spill(self, now: list[Node], later: list[Node], spilled: dict[Node, Buffer]) -> list[Stmt]:
        """Stores that keep expensive values of this sweep in a scratch row for later sweeps."""
        if len(self.space.shape) - 1 not in self.space.folded:
            return []  # a row of vectors: recomputing is cheaper than a scratch strip
        here, wanted = self._needs(now, spilled), self._needs(later, spilled)
        stores: list[Stmt] = []
        shape = tuple(var.extent for var in self._spill_vars())
        at = tuple(affine(var) for var in self._spill_vars())
        for node in here:
            if node in wanted and instructions(node.op) >= DEAR and node.shape == self.space.shape:
                buffer = Buffer(f"scratch{len(self.scratch)}", node.dtype, shape, "scratch")
                self.scratch.append(buffer)
                stores.append(Store(buffer, linear(buffer, at), self._value(node, self.full)))
                spilled[node] = buffer
        return stores

    def _needs(self, roots: list[Node], spilled: dict[Node, Buffer]) -> dict[Node, None]:
        """What a sweep would compute for these roots: full-shape nodes, not through what is spilled or folded."""
        needed: dict[Node, None] = {}
        stack = [r.inputs[0] if isinstance(r.definition, Reduction) else r for r in roots]
        while stack:
            node = stack.pop()
            if node in needed or node in spilled or node in self.pull.buffers or node.shape != self.space.shape:
                continue
            needed[node] = None
            stack.extend(node.inputs)
        return {n: None for n in self.inner if n in needed}


__all__ = ["Nest", "Space", "build", "inner_nodes", "space_of"]
