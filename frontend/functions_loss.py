"""Losses. Each is the mean over its rows; `reduction=sum` adds them up and `reduction=none` keeps one value a row."""

from __future__ import annotations

from graphc.frontend.arithmetic import Operand, elementwise
from graphc.frontend.call import Site, Wrong
from graphc.frontend.classes import at_class, class_numbers, row_weights
from graphc.frontend.functions import function
from graphc.frontend.pattern import matching
from graphc.frontend.values import Tensor, Value, tensor
from graphc.ir.dims import product
from graphc.ir.node import Node, constant, make
from graphc.ir.types import TensorType
from graphc.ops.build import cast, compare, reduce, size_of, where


def _reduced(site: Site, rows: Node, weights: Node | None = None) -> Tensor:
    """The rows as `reduction` says; the mean is their sum over the sum of their `weights` (1 each)."""
    how = site.word("reduction", ("mean", "sum", "none"), "mean")
    if how == "none":
        return tensor(rows)
    total = reduce("sum", rows, *range(len(rows.shape)))
    if how == "sum":
        return tensor(total)
    if weights is None:
        return tensor(total / size_of(product(rows.shape), rows.dtype))
    whole = reduce("sum", weights, *range(len(rows.shape)))
    # Without a row that counts the mean is 0, as their sum is.
    return tensor(where(compare("eq", whole, 0.0), 0.0, total) / where(compare("eq", whole, 0.0), 1.0, whole))


@function("cross_entropy(logits, labels, axis=, smoothing=, ignore=, weights=, reduction=)")
def _cross_entropy(site: Site) -> Value:
    """-log of the probability that softmax gives the label; labels are class numbers or distributions.

    With `weights` a row is multiplied by the weight of its class, and the mean is by weight, too.
    """
    logits, labels = site.tensor("logits", "f"), site.tensor("labels", "fiu")
    _warn_of_probabilities(site, "logits", logits, "softmax")
    given = site.operand("logits")
    axis = site.axis("axis", Operand(logits, given.span, given.name, given.origin, given.origin_text), -1)
    smoothing = float(site.number("smoothing", 0.0))
    if not 0.0 <= smoothing < 1.0:
        site.fail("smoothing", "must be at least 0 and less than 1")
        raise Wrong
    ignore = site.integer("ignore") if site.has("ignore") else None
    if ignore is not None and labels.dtype.is_float:
        site.fail("ignore", "needs labels that are class numbers")
        raise Wrong
    rows = site.make("cross_entropy", logits.node, labels.node, axis=axis, smoothing=smoothing, ignore=ignore)
    live = None if ignore is None else cast(compare("ne", labels.node, ignore), logits.dtype)
    if not site.has("weights"):
        return _reduced(site, rows.node, live)
    weights = row_weights(site, logits, labels, axis)
    return _reduced(site, rows.node * weights, weights if live is None else weights * live)


@function("binary_cross_entropy(logit, target, reduction=)")
def _binary_cross_entropy(site: Site) -> Value:
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), from the logit x."""
    logit, target = site.tensor("logit", "f"), site.tensor("target")
    if logit.shape != target.shape or logit.dtype != target.dtype:
        _mismatch(site, "logit", logit, "target", target)
    _warn_of_probabilities(site, "logit", logit, "sigmoid")
    return _reduced(site, site.make("binary_cross_entropy", logit.node, target.node).node)


def _warn_of_probabilities(site: Site, name: str, logits: Tensor, function: str) -> None:
    """A warning where a loss that applies softmax or sigmoid itself is given the result of one."""
    if logits.node.op in ("softmax", "sigmoid"):
        title = f"`{site.name}` takes logits, and these are the result of `{logits.node.op}`"
        help = f"give it what stands inside of {logits.node.op}(...): the loss applies {function} itself"
        site.shared.warn("GC0607", title, site.where(name), help=help)


def _mismatch(site: Site, one: str, a: Tensor, two: str, b: Tensor) -> None:
    left, right = site.operand(one), site.operand(two)
    also = [(left.span, str(a)), (right.span, str(b)), *left.origins(), *right.origins()]
    title = f"`{site.name}` compares {a} with {b}"
    code = "GC0203" if a.dtype != b.dtype else "GC0201"
    site.shared.error(code, title, site.mark, also=also, help="both must be of one type and shape")
    raise Wrong


def _difference(site: Site) -> Tensor:
    """prediction - target, of one type and shape (a scalar target broadcasts)."""
    x, given = site.tensor("x", "f"), site.operand("y")
    if isinstance(given.value, Tensor) and given.value.rank and given.value.shape != x.shape:
        _mismatch(site, "x", x, "y", given.value)
    operands = (Operand(x, site.where("x")), given)
    made = elementwise(site.shared, "sub", operands, site.real, site.span, f"`{site.name}`", site.mark)
    if not isinstance(made, Tensor):
        raise Wrong
    return made


@function("mse(x, y, reduction=)")
def _mse(site: Site) -> Value:
    """The mean of (x - y) ** 2."""
    distance = _difference(site).node
    return _reduced(site, distance * distance)


@function("mae(x, y, reduction=)")
def _mae(site: Site) -> Value:
    """The mean of |x - y|."""
    return _reduced(site, make("abs", _difference(site).node))


@function("huber(x, y, delta=, reduction=)")
def _huber(site: Site) -> Value:
    """e * e / 2 where |e| <= delta, else delta * (|e| - delta / 2), with e = x - y  (Huber 1964)."""
    distance, delta = _difference(site).node, float(site.number("delta", 1.0))
    if delta <= 0.0:
        site.fail("delta", "must be positive")
        raise Wrong
    size = make("abs", distance)
    inside = compare("le", size, delta)
    return _reduced(site, where(inside, distance * distance * 0.5, (size - 0.5 * delta) * delta))


@function("hinge(x, y, reduction=)")
def _hinge(site: Site) -> Value:
    """The mean of max(0, 1 - x * y) for targets y of -1 and 1."""
    x, y = site.tensor("x", "f"), site.tensor("y", "f")
    if x.shape != y.shape or x.dtype != y.dtype:
        _mismatch(site, "x", x, "y", y)
    return _reduced(site, make("relu", constant(1.0, x.node.type) - x.node * y.node))


@function("nll(log_probabilities, labels, axis=, reduction=)")
def _nll(site: Site) -> Value:
    """-log p of the label, from log p (the result of log_softmax) and class numbers."""
    x, labels = site.tensor("log_probabilities", "f"), site.tensor("labels", "iu")
    given = site.operand("log_probabilities")
    axis = site.axis("axis", Operand(x, given.span, given.name, given.origin, given.origin_text), -1)
    rows = tuple(dim for i, dim in enumerate(x.shape) if i != axis)
    if labels.shape != rows:
        also = [(site.where("log_probabilities"), str(x)), (site.where("labels"), str(labels))]
        help = f"one class number for each row: {TensorType(labels.dtype, rows)}"
        site.shared.error("GC0201", f"`nll` compares {x} with the labels {labels}", site.mark, also=also, help=help)
        raise Wrong
    return _reduced(site, -at_class(x.node, class_numbers(labels.node, x.shape[axis]), axis))


@function("sum_squares(pattern)")
def _sum_squares(site: Site) -> Value:
    """The sum of the squares of every parameter whose path fits the pattern, in the order of the parameters."""
    from graphc.frontend import syntax as s

    given = site.arguments["pattern"]
    if not isinstance(given, s.Text):
        site.fail("pattern", 'must be a pattern of parameter paths such as "*.w"')
        raise Wrong
    found = matching(site.shared, given.value, given.span)
    total: Node | None = None
    for variable in found:
        if not variable.leaf.dtype.is_float:
            continue
        x = cast(variable.leaf, site.real)
        square = reduce("sum", x * x, *range(len(x.shape)))
        total = square if total is None else total + square
    if total is None:
        raise Wrong
    return tensor(total)
