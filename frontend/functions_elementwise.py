"""Elementwise functions and activations."""

from __future__ import annotations

import math

from graphc.frontend.arithmetic import Operand, build, common_shape, elementwise, expand, unify_types
from graphc.frontend.call import Site, Wrong
from graphc.frontend.functions import function
from graphc.frontend.literal import fold_function
from graphc.frontend.values import Literal, Many, Size, Tensor, Value, tensor
from graphc.ir.graph import Graph
from graphc.ir.node import Node, constant, leaf, make
from graphc.ir.types import BOOL
from graphc.ops.build import cast, where

UNARY = (
    *("exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil"),
    *("round", "relu", "isnan", "isinf"),
)


def _unary(name: str, kinds: str) -> None:
    @function(f"{name}(x)")
    def run(site: Site) -> Value:
        folded = fold_function(name, site.value("x"))
        if folded is not None:
            return folded
        x = site.tensor("x", kinds)
        if name == "relu" and not x.node.type.dtype.is_float:
            return tensor(site.make("max", x.node, constant(0, x.node.type)).node, x.flexible)
        return tensor(site.make(name, x.node).node, x.flexible)


for _name in UNARY:
    _unary(_name, "fiu" if _name == "relu" else "f")
_unary("abs", "fiu")
_unary("sign", "fiu")
_unary("stop_gradient", "")


def _extremum(name: str) -> None:
    """max and min: of two values element by element, of one over axes."""

    @function(f"{name}(x, y=, axis=, keep=)")
    def run(site: Site) -> Value:
        if site.has("y"):
            if site.has("axis") or site.has("keep"):
                site.error("GC0404", f"`{name}` of two values has no axis", site.span)
                raise Wrong
            sides = (site.value("x"), site.value("y"))
            if all(isinstance(side, Literal) for side in sides):
                pick = max if name == "max" else min
                return Literal(pick(site.number("x"), site.number("y")))
            return site.combine(name, "x", "y")
        from graphc.frontend.functions_reduction import reduced

        x, _, axes = reduced(site)
        if not axes:
            return x
        made = site.make(f"reduce_{name}", x.node, axes=axes)
        return tensor(made.node, tuple(free for i, free in enumerate(x.flexible) if i not in axes))


_extremum("max")
_extremum("min")


@function("clip(x, low, high)")
def _clip(site: Site) -> Value:
    """min(max(x, low), high); NaN stays NaN."""
    raised = site.combine("max", "x", "low")
    if not isinstance(raised, Tensor):
        raise Wrong
    operands = (Operand(raised, site.where("x")), site.operand("high"))
    return elementwise(site.shared, "min", operands, site.real, site.span, "`clip`")


@function("where(condition, yes, no)")
def _where(site: Site) -> Value:
    """Element by element `yes` where the condition holds, else `no`."""
    condition = site.tensor("condition", "b")
    yes, no = site.operand("yes"), site.operand("no")
    sides = unify_types(site.shared, (yes, no), site.real, site.span, "`where`")
    if sides is None:
        raise Wrong
    values = [condition, *sides]
    shape, flexible = condition.shape, condition.flexible
    for value, given in zip(sides, (yes, no), strict=True):
        common = common_shape(Tensor(constant(False, condition.node.type.with_shape(shape)), flexible), value)
        if isinstance(common, int):
            also = [(site.where("condition"), str(condition)), (given.span, str(value)), *given.origins()]
            title = f"`where` joins {condition} and {value}"
            site.shared.error("GC0201", title, site.mark, f"axis {-common} differs", also=also)
            raise Wrong
        shape, flexible = common
    nodes = [expand(value, shape, flexible) for value in values]
    made = build(site.shared, "where", (), nodes, site.span)
    if not isinstance(made, Tensor):
        raise Wrong
    return Tensor(made.node, flexible)


@function("cast(x, type)")
def _cast(site: Site) -> Value:
    """The same numbers in another element type."""
    dtype = site.dtype("type")
    given = site.operand("x")
    value = given.value
    if isinstance(value, Literal | Size) and dtype != BOOL and dtype.is_float:
        from graphc.frontend.arithmetic import literal_as

        made = literal_as(site.shared, value, dtype, given.span)
        if not isinstance(made, Tensor):
            raise Wrong
        return made
    x = site.tensor("x")
    return tensor(cast(x.node, dtype), x.flexible)


@function("leaky_relu(x, slope=)")
def _leaky_relu(site: Site) -> Value:
    """x where x >= 0, else slope * x (0.01)."""
    x, slope = site.tensor("x", "f"), float(site.number("slope", 0.01))
    return _pick(x, x.node, x.node * slope)


@function("elu(x, alpha=)")
def _elu(site: Site) -> Value:
    """x where x >= 0, else alpha * (exp(x) - 1)  (Clevert et al. 2015)."""
    x, alpha = site.tensor("x", "f"), float(site.number("alpha", 1.0))
    return _pick(x, x.node, _negative_exponential(x.node) * alpha)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017


@function("selu(x)")
def _selu(site: Site) -> Value:
    """scale * elu(x, alpha) with the constants of Klambauer et al. 2017."""
    x = site.tensor("x", "f")
    inner = _pick(x, x.node, _negative_exponential(x.node) * SELU_ALPHA)
    return tensor(inner.node * SELU_SCALE, x.flexible)


def _negative_exponential(x: Node) -> Node:
    """exp(x) - 1 for negative x, without overflow (and NaN derivatives) where it is not wanted."""
    return make("expm1", make("min", x, constant(0.0, x.type)))


def _pick(x: Tensor, yes: Node, no: Node) -> Tensor:
    return tensor(where(make("ge", x.node, constant(0.0, x.node.type)), yes, no), x.flexible)


@function("softplus(x)")
def _softplus(site: Site) -> Value:
    """log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|)): no overflow.

    -|x| is min(x, -x), for at 0 its derivative is 1: there relu gives 0, and softplus has the derivative 1/2.
    """
    x = site.tensor("x", "f")
    return tensor(make("relu", x.node) + make("log1p", make("exp", make("min", x.node, -x.node))), x.flexible)


@function("silu(x)")
def _silu(site: Site) -> Value:
    """x * sigmoid(x)."""
    x = site.tensor("x", "f")
    return tensor(x.node * make("sigmoid", x.node), x.flexible)


@function("gelu(x, approximate=)")
def _gelu(site: Site) -> Value:
    """x * Phi(x) by erf; approximate=tanh is the formula of Hendrycks and Gimpel 2016."""
    x = site.tensor("x", "f")
    if site.word("approximate", ("none", "tanh"), "none") == "tanh":
        inner = (x.node + x.node * x.node * x.node * 0.044715) * math.sqrt(2.0 / math.pi)
        return tensor(x.node * 0.5 * (make("tanh", inner) + 1.0), x.flexible)
    still, kind = make("stop_gradient", x.node), x.node.type
    dy = leaf("input", "cotangent", kind)
    given = leaf("input", "x", kind)
    rule = Graph("gelu", (given, dy), {"x": dy * _gelu_slope(given)})
    return tensor(make("custom_vjp", still * _normal_cdf(still), x.node, x.node, rule=rule, count=1), x.flexible)


def _normal_cdf(x: Node) -> Node:
    return (make("erf", x * math.sqrt(0.5)) + 1.0) * 0.5


def _gelu_slope(x: Node) -> Node:
    """Phi(x) + x * phi(x) of x alone: one tensor for the backward pass, where the product rule would keep four."""
    density = make("exp", -(x * x) * 0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return _normal_cdf(x) + x * density


@function("hard_step(x)")
def _hard_step(site: Site) -> Value:
    """1 where x >= 0, else 0; its derivative is taken as 1 (straight through)."""
    x = site.tensor("x", "f")
    still = make("stop_gradient", x.node)
    kind = x.node.type
    y = where(make("ge", still, constant(0.0, kind)), constant(1.0, kind), constant(0.0, kind))
    dy = leaf("input", "cotangent", kind)
    rule = Graph("hard_step", (dy,), {"x": dy})
    return tensor(make("custom_vjp", y, x.node, rule=rule, count=1), x.flexible)


@function("cosine(step, total)")
def _cosine(site: Site) -> Value:
    """(1 + cos(pi * min(step / total, 1))) / 2: from 1 to 0 over `total` steps (Loshchilov and Hutter 2017)."""
    step, total = site.tensor("step", "f"), float(site.number("total"))
    if not total > 0.0:
        site.fail("total", "must be positive")
        raise Wrong
    done = make("min", step.node / total, constant(1.0, step.node.type))
    return tensor((make("cos", done * math.pi) + 1.0) * 0.5, step.flexible)


@function("zeros()")
def _zeros(site: Site) -> Value:
    return Literal(0)


@function("ones()")
def _ones(site: Site) -> Value:
    return Literal(1)


@function("constant(value)")
def _constant(site: Site) -> Value:
    value = site.value("value")
    if not isinstance(value, Literal):
        site.fail("value", "must be a number known at compile time")
        raise Wrong
    return value


@function("grad(y, x)")
def _grad(site: Site) -> Value:
    """The derivative of the float scalar y by x, which y was computed from; of x's type."""
    from graphc.autodiff import gradients

    y = site.tensor("y")
    given = site.operand("x")
    values = given.value.items if isinstance(given.value, Many) else (given.value,)
    if y.rank or not y.dtype.is_float:
        site.error(
            "GC0602", f"only a float scalar has a gradient, not {y}", site.where("y"), help="take its mean or sum"
        )
        raise Wrong
    for value in values:
        if not isinstance(value, Tensor) or not value.dtype.is_float:
            site.error("GC0602", "the gradient is taken by a float value", given.span)
            raise Wrong
    xs = [value for value in values if isinstance(value, Tensor)]
    if any(_is_written(x.node) for x in xs):
        # equal constants are one node, and a scan keeps copies of its own: their uses cannot be told apart
        message = "the gradient is taken by a constant, which every equal one in the file is as well"
        site.error("GC0602", message, given.span, help="`stop_gradient(...)` around it makes it a value of its own")
        raise Wrong
    made = [tensor(node, x.flexible) for node, x in zip(gradients(y.node, [x.node for x in xs]), xs, strict=True)]
    return made[0] if not isinstance(given.value, Many) else Many(tuple(made))


def _is_written(node: Node) -> bool:
    """Whether a value is a constant in the shape that its place asks for."""
    while node.op in ("broadcast", "cast", "reshape", "transpose"):
        node = node.inputs[0]
    return node.op in ("const", "iota", "dim")
