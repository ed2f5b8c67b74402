"""Composites of classification: softmax and its logarithm, logsumexp, and the cross entropies.

They stay whole for readable graphs and for derivatives in terms of their own value, until `decompose`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from graphc.ir.node import Node, constant, make
from graphc.ir.types import F64, I32, I64, U8, TensorType, TypeMismatch
from graphc.ops.build import cast, compare, fill, reduce, size_of, splat, spread, where, zeros
from graphc.ops.op import Array, Composite, Cotangents, Sample, expect, register
from graphc.ops.rules import check_axis, check_kind, check_same, without


class AlongAxis(Composite):
    """A composite of one float operand along one axis."""

    def infer(self, x: TensorType, *, axis: int) -> TensorType:
        check_kind(self.name, x, "f")
        check_axis(self.name, x.rank, axis)
        return x

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)),), {"axis": 0})
        yield Sample((TensorType(F64, (3, size)),), {"axis": 1})
        yield Sample((TensorType(F64, (size, 4)),), {"axis": 0})
        yield Sample((TensorType(F64, (2, size, 3)),), {"axis": 2})


def _shifted(x: Node, axis: int) -> Node:
    """x minus its greatest element along the axis: its exponentials cannot overflow."""
    return x - spread(reduce("max", x, axis), x.shape, (axis,))


def _log_total(shifted: Node, axis: int) -> Node:
    """log(sum(exp(shifted))), without the axis."""
    return make("log", reduce("sum", make("exp", shifted), axis))


@register
class Softmax(AlongAxis):
    """softmax(x, axis): exp(x) divided by its sum along the axis; NaN if there is a NaN, or all are -inf."""

    name = "softmax"

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,), axis = node.inputs, node.attr("axis")
        weighted = dy * node
        if x.op == "where" and splat(x.inputs[2]) == -math.inf:  # 0 there, so that nobody needs to know dy
            weighted = where(x.inputs[0], weighted, 0.0)
        mean = spread(reduce("sum", weighted, axis), node.shape, (axis,))
        return (node * (dy - mean),)

    def evaluate(self, x: Array, *, axis: int) -> Array:
        e = np.exp(x - np.max(x, axis, keepdims=True))
        return e / np.sum(e, axis, keepdims=True)

    def decompose(self, node: Node) -> Node:
        axis = node.attr("axis")
        e = make("exp", _shifted(node.inputs[0], axis))
        return e / spread(reduce("sum", e, axis), node.shape, (axis,))


@register
class LogSoftmax(AlongAxis):
    """log_softmax(x, axis): the logarithm of softmax, exact also where softmax is nearly 0."""

    name = "log_softmax"

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        axis = node.attr("axis")
        return (dy - make("exp", node) * spread(reduce("sum", dy, axis), node.shape, (axis,)),)

    def evaluate(self, x: Array, *, axis: int) -> Array:
        z = x - np.max(x, axis, keepdims=True)
        return z - np.log(np.sum(np.exp(z), axis, keepdims=True))

    def decompose(self, node: Node) -> Node:
        axis = node.attr("axis")
        z = _shifted(node.inputs[0], axis)
        return z - spread(_log_total(z, axis), node.shape, (axis,))


@register
class LogSumExp(AlongAxis):
    """logsumexp(x, axis): log(sum(exp(x))) along the axis without overflow; -inf if all are -inf."""

    name = "logsumexp"

    def infer(self, x: TensorType, *, axis: int) -> TensorType:
        return super().infer(x, axis=axis).with_shape(without(x.shape, (axis,)))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,), axis = node.inputs, node.attr("axis")
        finite = spread(_finite(node), x.shape, (axis,))
        return (spread(dy, x.shape, (axis,)) * make("exp", x - finite),)

    def evaluate(self, x: Array, *, axis: int) -> Array:
        greatest = np.max(x, axis, keepdims=True)
        greatest = np.where(np.isinf(greatest), x.dtype.type(0), greatest)
        return np.log(np.sum(np.exp(x - greatest), axis)) + np.squeeze(greatest, axis)

    def decompose(self, node: Node) -> Node:
        (x,), axis = node.inputs, node.attr("axis")
        greatest = _finite(reduce("max", x, axis))
        return _log_total(x - spread(greatest, x.shape, (axis,)), axis) + greatest


def _finite(x: Node) -> Node:
    """x with 0 for infinities, so that inf - inf does not arise."""
    return where(make("isinf", x), 0.0, x)


@register
class CrossEntropy(Composite):
    """cross_entropy(logits, labels, axis, smoothing, ignore): -sum(target * log_softmax(logits)) along the axis.

    Labels are class numbers (integers of the logits' shape without the axis; one outside of the classes is an
    error) or distributions (floats of the logits' shape and dtype).  The target is the labels' distribution
    times 1 - smoothing, plus smoothing / classes.  Rows whose label is the integer `ignore` (None: no row) give
    0, and so do their derivatives.  The result has the logits' shape without the axis.
    """

    name = "cross_entropy"

    def infer(
        self, logits: TensorType, labels: TensorType, *, axis: int, smoothing: float, ignore: int | None
    ) -> TensorType:
        check_kind("cross_entropy", logits, "f", 0)
        check_kind("cross_entropy", labels, "fiu", 1)
        check_axis("cross_entropy", logits.rank, axis, 0)
        rows = logits.with_shape(without(logits.shape, (axis,)))
        valid = type(smoothing) is float and 0 <= smoothing < 1
        expect(valid, f"cross_entropy: smoothing {smoothing!r} is not in [0, 1)")
        if labels.dtype.is_float:
            if labels.shape == rows.shape:
                message = f"cross_entropy: class numbers are integers, not {labels}"
                raise TypeMismatch(message, (1,), f"declare them {rows.with_dtype(I32)}, or use cast(..., i32)")
            check_same("cross_entropy", logits, labels)
            expect(ignore is None, "cross_entropy: ignore needs integer labels", 1)
            return rows
        wanted = rows.with_dtype(labels.dtype)
        message = f"cross_entropy: along axis {axis} of {logits} the class numbers are {wanted}, not {labels}"
        expect(labels.shape == rows.shape, message, 0, 1)
        low, high = labels.dtype.range()
        valid = ignore is None or (type(ignore) is int and low <= ignore <= high)
        expect(valid, f"cross_entropy: ignore {ignore!r} is not a value of {labels.dtype}", 1)
        return rows

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (logits, labels), axis = node.inputs, node.attr("axis")
        dy = spread(self._live(node, dy), logits.shape, (axis,))
        probabilities = make("softmax", logits, axis=axis)
        target = self._target(node)
        if not labels.dtype.is_float:
            return (probabilities - target) * dy, None
        total = spread(reduce("sum", target, axis), logits.shape, (axis,))
        scale = node.attr("smoothing") - 1.0
        return (probabilities * total - target) * dy, scale * (dy * make("log_softmax", logits, axis=axis))

    def _live(self, node: Node, rows: Node) -> Node:
        """Rows with 0 for those that are ignored."""
        labels, ignore = node.inputs[1], node.attr("ignore")
        return rows if ignore is None else where(compare("eq", labels, ignore), 0.0, rows)

    def _is_label(self, node: Node) -> Node:
        """Whether an index along the axis is the row's label; small labels are widened, as classes may be many."""
        (logits, labels), axis = node.inputs, node.attr("axis")
        labels = labels if labels.dtype == I64 else cast(labels, I32)
        classes = make("iota", dtype=labels.dtype, shape=logits.shape, axis=axis)
        return make("eq", classes, spread(labels, logits.shape, (axis,)))

    def _target(self, node: Node) -> Node:
        """The target distribution, of the logits' type."""
        (logits, labels), smoothing = node.inputs, float(node.attr("smoothing"))
        if labels.dtype.is_float:
            target = labels
        else:
            target = where(self._is_label(node), constant(1.0, logits.type), zeros(logits.type))
        if not smoothing:
            return target
        classes = size_of(logits.shape[node.attr("axis")], logits.dtype)
        return (1.0 - smoothing) * target + fill(smoothing / classes, logits.shape)

    def evaluate(self, logits: Array, labels: Array, *, axis: int, smoothing: float, ignore: int | None) -> Array:
        classes, live = logits.shape[axis], np.array(True)
        if labels.dtype.kind == "f":
            target = labels
        else:
            live = np.full(labels.shape, True) if ignore is None else labels != ignore
            if np.any(live & ((labels < 0) | (labels >= classes))):
                raise IndexError(f"a label is outside of [0, {classes})")
            indices = np.expand_dims(np.where(live, labels, 0).astype(np.int64), axis)
            position = np.arange(classes).reshape([-1 if i == axis else 1 for i in range(logits.ndim)])
            target = (position == indices).astype(logits.dtype)
        target = (1 - smoothing) * target + smoothing / classes if smoothing else target
        z = logits - np.max(logits, axis, keepdims=True)
        total = np.log(np.sum(np.exp(z), axis, keepdims=True))
        # A target of 0 takes no part, also where the logarithm is -inf.
        losses = np.sum(np.where(target == 0, logits.dtype.type(0), target * (total - z)), axis)
        return np.where(live, losses, 0).astype(logits.dtype)

    def decompose(self, node: Node) -> Node:
        """log(sum(exp(z))) * sum(target) - sum(target * z), with z the shifted logits; the sum is 1 for integers."""
        (logits, labels), axis = node.inputs, node.attr("axis")
        z = _shifted(logits, axis)
        total = _log_total(z, axis)
        if not labels.dtype.is_float and not node.attr("smoothing"):
            return self._live(node, total - reduce("sum", where(self._is_label(node), z, 0.0), axis))
        target = self._target(node)
        terms = target * (spread(total, logits.shape, (axis,)) - z)
        return self._live(node, reduce("sum", where(compare("eq", target, 0.0), 0.0, terms), axis))

    def samples(self, size: int) -> Iterator[Sample]:
        rows, floats = TensorType(F64, (size, 5)), TensorType(F64, (5, size))
        plain = {"axis": 1, "smoothing": 0.0, "ignore": None}
        yield Sample((rows, TensorType(I32, (size,))), plain, integers=(0, 5))
        yield Sample((rows, TensorType(I64, (size,))), {**plain, "smoothing": 0.1, "ignore": 2}, integers=(0, 5))
        yield Sample((rows, TensorType(U8, (size,))), {**plain, "ignore": 2}, integers=(0, 5))
        yield Sample((floats, floats), {**plain, "axis": 0}, domain=(0.1, 1.0))
        yield Sample((floats, floats), {**plain, "smoothing": 0.2}, domain=(0.1, 1.0))
        yield Sample((TensorType(F64, (size,)), TensorType(I32)), {**plain, "axis": 0}, integers=(0, size))


@register
class BinaryCrossEntropy(Composite):
    """binary_cross_entropy(logit, target): -t * log(sigmoid(x)) - (1 - t) * log(1 - sigmoid(x)), element by element.

    Computed as max(x, 0) - x * t + log1p(exp(-|x|)), exact for every logit.  Targets are floats from 0 to 1.
    """

    name = "binary_cross_entropy"

    def infer(self, logit: TensorType, target: TensorType) -> TensorType:
        check_kind("binary_cross_entropy", logit, "f", 0)
        check_kind("binary_cross_entropy", target, "f", 1)
        check_same("binary_cross_entropy", logit, target)
        return logit

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        x, t = node.inputs
        return (make("sigmoid", x) - t) * dy, -(x * dy)

    def evaluate(self, x: Array, t: Array) -> Array:
        return np.maximum(x, x.dtype.type(0)) - x * t + np.log1p(np.exp(-np.abs(x)))

    def decompose(self, node: Node) -> Node:
        x, t = node.inputs
        return make("relu", x) - x * t + make("log1p", make("exp", -make("abs", x)))

    def samples(self, size: int) -> Iterator[Sample]:
        for shape in ((size,), (2, size)):
            yield Sample((TensorType(F64, shape), TensorType(F64, shape)))
