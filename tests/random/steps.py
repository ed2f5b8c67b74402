"""The steps of a random graph: each adds one value of an op family to the builder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from builder import GAP, Builder, Reject

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf
from graphc.ir.types import BOOL, I8, I32, I64, U8, TensorType
from graphc.ops.contraction import contract

Step = Callable[[Builder], Node]
LETTERS = "abcdefghij"
UNARY = ("neg", "abs", "sign", "relu", "sin", "cos", "tanh", "tanh", "sigmoid", "sigmoid", "erf", "exp", "expm1")
INTEGER = ("add", "sub", "mul", "floordiv", "mod", "min", "max", "neg", "abs", "pow")


def unary(b: Builder) -> Node:
    x, op = b.some("f"), b.pick(UNARY)
    if op in ("abs", "sign", "relu"):
        b.require_gap(b.value(x))
    return b.make(op, x)


def of_positive(b: Builder) -> Node:
    """A function of positive numbers, of something made positive."""
    x = b.some("f")
    positive = b.make("add", b.make("mul", x, x), b.constant(0.4, x.type))
    return b.make(b.pick(("log", "log1p", "sqrt", "rsqrt")), positive)


def rounding(b: Builder) -> Node:
    x, op = b.some("f"), b.pick(("floor", "ceil", "round"))
    value = b.value(x)
    b.require_gap(value - np.floor(value), value - np.ceil(value), value - np.floor(value) - 0.5)
    return b.make(op, x)


def binary(b: Builder) -> Node:
    x = b.some("f")
    y = b.like(x)
    return b.make(b.pick(("add", "sub", "mul", "add", "mul")), *((x, y) if b.chance(0.5) else (y, x)))


def division(b: Builder) -> Node:
    x = b.some("f")
    y = b.like(x)
    if np.any(np.abs(b.value(y)) < 0.2):
        y = b.make("add", b.make("mul", y, y), b.constant(0.5, y.type))
    op = b.pick(("div", "div", "mod", "floordiv"))
    if op != "div":
        ratio = b.value(x) / b.value(y)
        b.require_gap(ratio - np.rint(ratio))
        if np.any(ratio == np.rint(ratio)):
            raise Reject
    return b.make(op, x, y)


def power(b: Builder) -> Node:
    x = b.some("f")
    base = b.make("add", b.make("sigmoid", x), b.constant(0.5, x.type))
    exponent = b.constant(b.pick((2.0, 3.0, 0.5, -1.0, 0.0, 1.0)), x.type) if b.chance(0.6) else b.like(x)
    return b.make("pow", base, exponent)


def extremum(b: Builder) -> Node:
    x = b.some("f")
    y = b.like(x)
    if x is not y:
        b.require_gap(b.value(x) - b.value(y))
    return b.make(b.pick(("max", "min")), x, y)


def integers(b: Builder) -> Node:
    x, op = b.some("iu"), b.pick(INTEGER)
    return b.make(op, x) if op in ("neg", "abs") else b.make(op, x, b.like(x))


def comparison(b: Builder) -> Node:
    x = b.some("fiu")
    y = b.like(x)
    if x.dtype.is_float:
        b.require_gap(b.value(x) - b.value(y))
        if x is not y and np.any(b.value(x) == b.value(y)):
            raise Reject
    return b.make(b.pick(("eq", "ne", "lt", "le", "gt", "ge")), x, y)


def logic(b: Builder) -> Node:
    x = b.some("b")
    return b.make("not", x) if b.chance(0.3) else b.make(b.pick(("and", "or")), x, b.like(x))


def choice(b: Builder) -> Node:
    condition = b.some("b")
    x = b.some("fiub", shape=condition.shape)
    return b.make("where", condition, x, b.like(x))


def conversion(b: Builder) -> Node:
    x, dtype = b.some("fiub"), b.pick((b.floats, b.floats, I32, I64, I8, U8, BOOL))
    if x.dtype.is_float and not dtype.is_float:
        value = b.value(x)
        b.require_gap(value - np.rint(value))
    return b.make("cast", x, dtype=dtype)


def reduction(b: Builder) -> Node:
    x = b.some("fiub", rank=1)
    axes = tuple(i for i in range(len(x.shape)) if b.chance(0.5)) or (len(x.shape) - 1,)
    if x.dtype.kind == "b":
        return b.make(b.pick(("reduce_and", "reduce_or")), x, axes=axes)
    op = b.pick(("reduce_sum", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod"))
    if x.dtype.is_float and op in ("reduce_max", "reduce_min"):
        require_distinct(b, x, axes)
    if x.dtype.is_float and op == "reduce_prod":
        b.require_gap(b.value(x))
        if np.any(b.value(x) == 0):
            raise Reject
    return b.make(op, x, axes=axes)


def require_distinct(b: Builder, x: Node, axes: tuple[int, ...]) -> None:
    """Rejects elements that are nearly equal along the axes."""
    value = np.moveaxis(b.value(x), axes, range(len(axes)))
    ordered = np.sort(value.reshape(-1, *value.shape[len(axes) :]), 0)
    if np.any(np.diff(ordered, axis=0) < GAP):
        raise Reject


def position_of_extremum(b: Builder) -> Node:
    x = b.some("fi", rank=1)
    axis = int(b.random.integers(len(x.shape)))
    if x.dtype.is_float:
        require_distinct(b, x, (axis,))
    return b.make(b.pick(("argmax", "argmin")), x, axis=axis)


def reshape(b: Builder) -> Node:
    x = b.some("fib")
    shape: list[Dim] = list(x.shape)
    match b.pick(("unit", "merge", "split", "flat", "drop")):
        case "unit":
            shape.insert(int(b.random.integers(len(shape) + 1)), 1)
        case "merge" if len(shape) > 1:
            i = int(b.random.integers(len(shape) - 1))
            shape[i : i + 2] = [shape[i] * shape[i + 1]]
        case "split":
            i, n = b.pick((i, n) for i, n in enumerate(shape) if isinstance(n, int) and n % 2 == 0)
            shape[i : i + 1] = b.pick(([2, n // 2], [n // 2, 2]))
        case "flat":
            shape = [x.type.elements]
        case _:
            shape = [d for d in shape if d != 1]
    if len(shape) > 5:
        raise Reject
    return b.make("reshape", x, shape=tuple(shape))


def rearrangement(b: Builder) -> Node:
    x = b.some("fib", rank=1)
    rank = len(x.shape)
    if rank > 1 and b.chance(0.6):
        return b.make("transpose", x, perm=tuple(int(i) for i in b.random.permutation(rank)))
    axes = tuple(i for i in range(rank) if b.chance(0.5)) or (0,)
    return b.make("reverse", x, axes=axes)


def spreading(b: Builder) -> Node:
    x = b.some("fib")
    rank = len(x.shape) + int(b.random.integers(1, 3))
    if rank > 4:
        raise Reject
    axes = tuple(sorted(int(i) for i in b.random.choice(rank, len(x.shape), replace=False)))
    shape = [b.pick(b.dims) for _ in range(rank)]
    for axis, dim in zip(axes, x.shape, strict=True):
        shape[axis] = dim
    return b.make("broadcast", x, shape=tuple(shape), axes=axes)


def window(b: Builder) -> Node:
    x = b.some("fib", rank=1)
    start, stop, step = [], [], []
    for dim in x.shape:
        first = int(b.random.integers(0, dim)) if isinstance(dim, int) and dim > 0 and b.chance(0.5) else 0
        last = int(b.random.integers(first + 1, dim + 1)) if isinstance(dim, int) and dim > first else dim
        start.append(first)
        stop.append(last)
        step.append(b.pick((1, 1, 2, 3)))
    return b.make("slice", x, start=tuple(start), stop=tuple(stop), step=tuple(step))


def padding(b: Builder) -> Node:
    x = b.some("fib", rank=1)
    low, high, interior = (tuple(b.pick((0, 0, 1, 2)) for _ in x.shape) for _ in range(3))
    value = {"f": 0.5, "b": True}.get(x.dtype.kind, 3)
    return b.make("pad", x, low=low, high=high, interior=interior, value=value)


def concatenation(b: Builder) -> Node:
    x = b.some("fib", rank=1)
    axis = int(b.random.integers(len(x.shape)))
    others = [y for y in b.pool if y.dtype == x.dtype and len(y.shape) == len(x.shape)]
    others = [y for y in others if all(y.shape[i] == d for i, d in enumerate(x.shape) if i != axis)]
    parts = [b.pick(others) for _ in range(b.pick((1, 1, 2)))]
    return b.make("concat", x, *parts, axis=axis)


def index_below(b: Builder, size: Dim, shape: tuple[Dim, ...]) -> Node:
    return b.leaf(TensorType(b.pick((I32, I64, U8)), shape), below=b.size(size))


def lookup(b: Builder) -> Node:
    x = b.some("fi", rank=1)
    axis = int(b.random.integers(len(x.shape)))
    return b.make("gather", x, index_below(b, x.shape[axis], b.shape(0, 2)), axis=axis)


def scattering(b: Builder) -> Node:
    x = b.some("fi", rank=1)
    axis = int(b.random.integers(len(x.shape)))
    end = int(b.random.integers(axis, len(x.shape) + 1))
    size = b.pick(b.dims)
    return b.make("scatter_add", index_below(b, size, x.shape[axis:end]), x, axis=axis, size=size)


def contraction(b: Builder) -> Node:
    """Labels by dimension: axes of equal dimensions get one label more often than not."""
    x = b.some("f", rank=1)
    y = b.some("f", rank=1, dtype=x.dtype) if b.chance(0.5) else b.leaf(TensorType(x.dtype, b.shape(1, 3)), "param")
    left, right = LETTERS[: len(x.shape)], ""
    for dim in y.shape:
        shared = [n for n, d in zip(left, x.shape, strict=True) if d == dim and n not in right]
        right += b.pick(shared) if shared and b.chance(0.8) else LETTERS[len(left) + len(right)]
    result = [n for n in dict.fromkeys(left + right) if b.chance(0.35 if n in left and n in right else 0.8)]
    names = "".join(result[int(i)] for i in b.random.permutation(len(result)))
    if len(names) > 4:
        raise Reject
    node = contract(x, y, f"{left},{right}->{names}")
    if np.prod([b.size(d) for d in (*x.shape, *y.shape)]) > 100_000:
        raise Reject
    return b.make(node.op, *node.inputs, **node.attrs_dict)


def convolution(b: Builder) -> Node:
    """conv with weights of its own or, rarely, its transpose; images of rank 3 to 5."""
    x = b.some("f", rank=3)
    if len(x.shape) > 5 or not isinstance(x.shape[-1], int):
        raise Reject
    rank, channels = len(x.shape) - 2, x.shape[-1]
    groups = b.pick([1, 1, 1, *(g for g in (2, 3, channels) if channels % g == 0)])
    size = tuple(int(v) for v in b.random.integers(1, 4, rank))
    attrs = {
        "stride": tuple(int(v) for v in b.random.integers(1, 3, rank)),
        "low": tuple(int(b.random.integers(0, k)) for k in size),
        "high": tuple(int(b.random.integers(0, k)) for k in size),
        "dilation": tuple(int(v) for v in b.random.integers(1, 3, rank)),
        "groups": groups,
    }
    outputs = groups * int(b.random.integers(1, 5))
    w = b.leaf(TensorType(x.dtype, (*size, channels // groups, outputs)), "param")
    if any(
        b.size(n) + a + c < (k - 1) * d + 1
        for n, a, c, k, d in zip(x.shape[1:-1], attrs["low"], attrs["high"], size, attrs["dilation"], strict=True)
    ):
        raise Reject
    y = b.make("conv", b.make("mul", x, b.constant(0.2, x.type)), w, **attrs)
    return b.make("conv_data", y, w, size=x.shape[1:-1], **attrs) if b.chance(0.2) else y


def pooling(b: Builder) -> Node:
    x = b.some("f", rank=3)
    if len(x.shape) > 5:
        raise Reject
    rank = len(x.shape) - 2
    window = tuple(int(v) for v in b.random.integers(1, 4, rank))
    attrs = {
        "window": window,
        "stride": tuple(int(v) for v in b.random.integers(1, 4, rank)),
        "low": tuple(int(b.random.integers(0, k)) for k in window),
        "high": tuple(int(b.random.integers(0, k)) for k in window),
    }
    if any(
        b.size(n) + a + c < k for n, a, c, k in zip(x.shape[1:-1], attrs["low"], attrs["high"], window, strict=True)
    ):
        raise Reject
    if b.chance(0.5):
        return b.make("window_sum", x, **attrs)
    require_distinct(b, x, tuple(range(1, 1 + rank)))
    return b.make("max_pool", x, **attrs)


def classification(b: Builder) -> Node:
    x = b.some("f", rank=1)
    axis = int(b.random.integers(len(x.shape)))
    op = b.pick(("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy"))
    if op != "cross_entropy":
        return b.make(op, x, axis=axis)
    smoothing = b.pick((0.0, 0.0, 0.1))
    if b.chance(0.3):
        labels = b.make("softmax", b.like(x), axis=axis)
        return b.make(op, x, labels, axis=axis, smoothing=smoothing, ignore=None)
    labels = index_below(b, x.shape[axis], (*x.shape[:axis], *x.shape[axis + 1 :]))
    return b.make(op, x, labels, axis=axis, smoothing=smoothing, ignore=b.pick((None, 0)))


def binary_classification(b: Builder) -> Node:
    x = b.some("f")
    return b.make("binary_cross_entropy", x, b.make("sigmoid", b.like(x)))


def counting(b: Builder) -> Node:
    dtype = b.pick((b.floats, I32, I64))
    if b.chance(0.3):
        scalar = b.make("cast", b.make("dim", dim=b.pick(b.symbols)), dtype=b.floats)
        return b.make("broadcast", scalar, shape=b.shape(0, 2), axes=())
    shape = b.shape(1, 3)
    return b.make("iota", dtype=dtype, shape=shape, axis=int(b.random.integers(len(shape))))


def running_sum(b: Builder) -> Node:
    x = b.some("fi", rank=1)
    return b.make("cumsum", x, axis=b.pick(range(len(x.shape))), reverse=b.chance(0.5), exclusive=b.chance(0.5))


def order(b: Builder) -> Node:
    x = b.some("fiu", rank=1)
    axis = b.pick(range(len(x.shape)))
    if x.dtype.is_float:
        require_distinct(b, x, (axis,))
    return b.make("argsort", x, axis=axis, descending=b.chance(0.5))


def derivative_of_its_own(b: Builder) -> Node:
    """tanh with its right derivative by custom_vjp, and a stopped gradient where the derivative is 0 anyway."""
    x = b.some("f")
    if b.chance(0.4):
        b.require_gap(b.value(x))
        return b.make("stop_gradient", b.make("sign", x))
    y = b.make("tanh", b.make("stop_gradient", x))
    saved, dy = leaf("input", "saved", y.type), leaf("input", "dy", y.type)
    rule = Graph("rule", (saved, dy), {"dx": dy * (1.0 - saved * saved)})
    return b.make("custom_vjp", y, x, y, rule=rule, count=1)


STEPS: tuple[tuple[Step, int], ...] = (
    (unary, 6), (of_positive, 2), (rounding, 1), (binary, 8), (division, 2), (power, 2), (extremum, 2), (integers, 2),
    (comparison, 2), (logic, 1), (choice, 3), (conversion, 2), (reduction, 5), (position_of_extremum, 1), (reshape, 3),
    (rearrangement, 3), (spreading, 3), (window, 2), (padding, 2), (concatenation, 2), (lookup, 2), (scattering, 2),
    (contraction, 5), (classification, 3), (binary_classification, 1), (counting, 1), (derivative_of_its_own, 1),
    (convolution, 3), (pooling, 2), (running_sum, 1), (order, 1),
)  # fmt: skip
"""The steps with their weights."""
