"""A graph under construction together with its values, so that each step can see what it does."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.ops  # noqa: F401
from graphc.ir.dims import Dim, evaluate, symbol
from graphc.ir.interpret import resolve
from graphc.ir.node import OPS, Node, constant, leaf, make
from graphc.ir.types import DType, TensorType
from graphc.ops.build import broadcast

Array = Any
LIMIT = 20.0  # values stay below, so that rounding errors do
GAP = 3e-3  # distance from kinks and ties: far above rounding and difference quotients
MAX_ELEMENTS = 4000


class Reject(Exception):
    """A step does not fit the values at hand; another one is tried."""


class Builder:
    """`pool` holds the nodes made so far, `values` their arrays, `bound` those of the leaves by name."""

    def __init__(self, seed: int, floats: DType) -> None:
        self.random = np.random.default_rng(seed)
        self.floats = floats
        self.symbols = (symbol("B"), symbol("T", 1, 12))
        self.sizes = {"B": self.pick((1, 2, 3, 5, 8, 17)), "T": self.pick((1, 2, 4, 7))}
        statics = [int(n) for n in self.random.choice((1, 2, 3, 4, 5, 8, 9, 16), 3)]
        self.dims: list[Dim] = [*self.symbols, *statics]
        self.pool: list[Node] = []
        self.leaves: list[Node] = []
        self.values: dict[Node, Array] = {}
        self.bound: dict[str, Array] = {}

    def pick(self, items: Any) -> Any:
        items = list(items)
        if not items:
            raise Reject
        return items[int(self.random.integers(len(items)))]

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def shape(self, low: int = 0, high: int = 3) -> tuple[Dim, ...]:
        return tuple(self.pick(self.dims) for _ in range(int(self.random.integers(low, high + 1))))

    def size(self, dim: Dim) -> int:
        return evaluate(dim, self.sizes)

    def leaf(self, type: TensorType, role: str = "input", below: int = 100) -> Node:
        """A new leaf with random values: floats around 0, integers in [0, below)."""
        name = f"{role[0]}{len(self.leaves)}"
        node, shape = leaf(role, name, type), tuple(map(self.size, type.shape))
        if type.dtype.is_float:
            array = self.random.uniform(-2, 2, shape)
        elif type.dtype.kind == "b":
            array = self.random.random(shape) < 0.5
        else:
            array = self.random.integers(0, below, shape)
        self.bound[name] = self.values[node] = np.asarray(array).astype(type.dtype.numpy)
        self.leaves.append(node)
        return node

    def make(self, op: str, *inputs: Node, **attrs: Any) -> Node:
        """A node with its value; rejects values that are too many, too large or not finite."""
        node = make(op, *inputs, **attrs)
        if node not in self.values:
            if np.prod([self.size(d) for d in node.shape]) > MAX_ELEMENTS:
                raise Reject
            with np.errstate(all="ignore"):
                resolved = {name: resolve(value, self.sizes) for name, value in attrs.items()}
                value = OPS[op].evaluate(*(self.value(x) for x in inputs), **resolved)
            if node.dtype.is_float and not np.all(np.abs(value) < LIMIT):
                raise Reject
            self.values[node] = np.asarray(value)
        return node

    def value(self, node: Node) -> Array:
        """The node's value; nodes that rules and helpers made are computed on the way."""
        if node not in self.values:
            self.make(node.op, *node.inputs, **node.attrs_dict)
        return self.values[node]

    def constant(self, value: float, type: TensorType) -> Node:
        node = constant(value, type)
        self.value(node)
        return node

    def some(self, kinds: str, rank: int = 0, **wanted: Any) -> Node:
        """A node of the pool whose dtype is of one of the kinds, preferring young ones."""
        fits = [x for x in self.pool if x.dtype.kind in kinds and len(x.shape) >= rank]
        fits = [x for x in fits if all(getattr(x, name) == value for name, value in wanted.items())]
        return self.pick(fits[-6:] if self.chance(0.7) else fits)

    def like(self, x: Node) -> Node:
        """Another operand of a node's type: from the pool, by broadcast, or new."""
        fits = [y for y in self.pool if y.type == x.type and y is not x]
        if fits and self.chance(0.6):
            return self.pick(fits)
        if self.chance(0.15):
            return x
        if x.shape and self.chance(0.5):
            axes = tuple(i for i in range(len(x.shape)) if self.chance(0.5))
            part = self.leaf(x.type.with_shape(tuple(x.shape[i] for i in axes)), "param")
            spread = broadcast(part, x.shape, axes)
            self.value(spread)
            return spread
        if self.chance(0.5):
            number = float(self.random.uniform(0.3, 2)) if x.dtype.is_float else int(self.random.integers(1, 5))
            return self.constant(number if x.dtype.kind != "b" else bool(number > 2), x.type)
        return self.leaf(x.type)

    def require_gap(self, *arrays: Array) -> None:
        """Rejects values nearer to 0 than GAP, unless they are 0 exactly."""
        for array in arrays:
            if np.any((np.abs(array) < GAP) & (array != 0)):
                raise Reject
