"""Random numbers: functions of (seed, step, site, index), the same for any number of threads and whenever computed.

`step` is the number of the training step that is next, so that `gradients` draws what `step` will; outside of training
two calls between the same steps draw the same.  Only `dropout` is a matter of training alone.  A draw inside of a scan
is another one at every step of the scan.
"""

from __future__ import annotations

import math

from graphc.frontend.arithmetic import Operand, elementwise
from graphc.frontend.call import Site, Wrong
from graphc.frontend.dimension import fits_limits
from graphc.frontend.functions import function
from graphc.frontend.literal import _static
from graphc.frontend.sites import SEED
from graphc.frontend.values import Literal, Size, Tensor, Value
from graphc.ir.dims import bounds
from graphc.ir.node import Node, constant, leaf, make
from graphc.ir.types import I64, TensorType
from graphc.ops.build import cast, fill, where

SPREAD = (0x9E3779B97F4A7C15 - 2**64, 0x5851F42D4C957F2D)  # as i64
STEP = leaf("step", "step", TensorType(I64))


def _draw(site: Site, kind: TensorType, count: int = 1) -> list[Node]:
    """One or two independent numbers in [0, 1) for each index, of a site of their own."""
    if site.frame.kind in ("const", "optimizer"):
        where_to = "a model, block or train section"
        site.error("GC0013", f"`{site.name}` belongs into {where_to}, not into {site.frame.kind} code")
        raise Wrong
    number = site.shared.sites.number(site.frame.path, site.span)
    attrs = {"site": number, "shape": kind.shape, "dtype": kind.dtype}
    seed = _seed(site.frame.indices)
    nodes = [make("random_uniform", seed, STEP, half=half, **attrs) for half in range(count)]
    for node in nodes:
        site.shared.spans.setdefault(node, site.span)
    return nodes


def _seed(indices: tuple[Node, ...]) -> Node:
    """The seed of a draw; inside of scans a different one for every step of them, by multiples of odd numbers mod 2^64.

    Philox takes any two keys for independent.  The factors are those of a Weyl sequence (2^64 / golden ratio) and of
    Knuth's linear congruential generator, so that no two steps of nested scans share a key.
    """
    seed = SEED
    for index in indices:
        seed = seed * SPREAD[1] + (cast(index, I64) + 1) * SPREAD[0]
    return seed


def _uniform(site: Site, kind: TensorType) -> Node:
    return _draw(site, kind)[0]


def _kind(site: Site) -> tuple[TensorType, tuple[bool, ...]]:
    """The type of the result: the shape from `shape` or `like`, the element type from `type`, `like` or `real`."""
    if site.has("shape") == site.has("like"):
        help = f"{site.name}([B, D]) or {site.name}(like=x)"
        site.error("GC0402", f"`{site.name}` needs either a shape or like=", site.span, help=help)
        raise Wrong
    dtype = site.dtype("type") if site.has("type") else None
    if dtype is not None and not dtype.is_float:
        site.fail("type", f"must be a float type, not {dtype}")
        raise Wrong
    if site.has("like"):
        x = site.tensor("like", "f" if dtype is None else "")
        return TensorType(dtype or x.dtype, x.shape), x.flexible
    shape = tuple(site.dims("shape"))
    if any(bounds(dim)[0] < 1 for dim in shape):
        site.fail("shape", "must hold sizes of at least 1")
        raise Wrong
    kind = TensorType(dtype or site.real, shape)
    if not fits_limits(site.shared, kind, site.where("shape")):
        raise Wrong
    return kind, (False,) * len(shape)


def _operand(site: Site, name: str, default: float) -> Operand:
    """A setting: a number, a scalar, or a tensor that broadcasts to the result."""
    return site.operand(name) if site.has(name) else Operand(Literal(default), site.span)


def _number(value: Operand) -> float | None:
    """A setting known at compile time."""
    number = _static(value.value)
    return None if number is None else float(number)


def _scaled(site: Site, x: Tensor, factor: Operand, offset: Operand) -> Value:
    """x * factor + offset, of x's type and shape."""
    made: Value = x
    for op, other, neutral in (("mul", factor, 1.0), ("add", offset, 0.0)):
        if _number(other) == neutral:
            continue
        made = elementwise(site.shared, op, (Operand(made, site.span), other), site.real, site.span, f"`{site.name}`")
        if not isinstance(made, Tensor):
            raise Wrong
    if isinstance(made, Tensor) and made.shape != x.shape:
        title = f"`{site.name}` draws {x}, and its settings are {made}"
        site.error("GC0201", title, site.mark, help="settings are scalars or have the shape of the result")
        raise Wrong
    return made


@function("uniform(shape=, low=, high=, like=, type=)")
def _uniform_function(site: Site) -> Value:
    """Numbers in [low, high), by default [0, 1)."""
    kind, flexible = _kind(site)
    low, high = _operand(site, "low", 0.0), _operand(site, "high", 1.0)
    a, b = _number(low), _number(high)
    if a is not None and b is not None:
        if not a <= b or not math.isfinite(b - a):
            site.fail("high", "must not be less than `low`" if a > b else "and `low` must be finite")
            raise Wrong
        width = Operand(Literal(b - a), high.span)
    else:
        span = high.span
        width = Operand(elementwise(site.shared, "sub", (high, low), site.real, span, f"`{site.name}`"), span)
        if not isinstance(width.value, Tensor):
            raise Wrong
    return _scaled(site, Tensor(_uniform(site, kind), flexible), width, low)


@function("normal(shape=, mean=, std=, like=, type=)")
def _normal(site: Site) -> Value:
    """mean + std * z with z standard normal, by Box and Muller 1958 from two uniform numbers."""
    kind, flexible = _kind(site)
    mean, std = _operand(site, "mean", 0.0), _operand(site, "std", 1.0)
    number = _number(std)
    if number is not None and not 0.0 <= number < math.inf:
        site.fail("std", "must not be negative")
        raise Wrong
    first, second = _draw(site, kind, 2)
    positive = constant(1.0, kind) - first  # in (0, 1], exactly
    radius = make("sqrt", make("log", positive) * -2.0)
    z = radius * make("cos", second * (2.0 * math.pi))
    return _scaled(site, Tensor(z, flexible), std, mean)


@function("bernoulli(p, shape=, like=, type=)")
def _bernoulli(site: Site) -> Value:
    """1 with probability p, else 0, as floats; NaN where p is NaN. No derivative flows to p."""
    given = site.operand("p")
    number = _static(given.value)
    if isinstance(number, bool) or (number is not None and not 0.0 <= number <= 1.0):
        site.fail("p", f"must be from 0 to 1, not {number}")
        raise Wrong
    p = site.tensor("p", "f")
    if site.has("shape") or site.has("like"):
        kind, flexible = _kind(site)
        if p.dtype != kind.dtype or p.rank:
            site.fail("p", f"must be a number or a {kind.dtype} scalar where the shape is given, not {p}")
            raise Wrong
        chance = fill(p.node, kind.shape)
    else:
        kind, flexible, chance = p.node.type, p.flexible, p.node
    chance = make("stop_gradient", chance)
    drawn = cast(make("lt", _uniform(site, kind), chance), kind.dtype)
    if number is None:
        drawn = where(make("isnan", chance), chance, drawn)
    return Tensor(drawn, flexible)


@function("dropout(x, rate)")
def _dropout(site: Site) -> Value:
    """In the training step x / (1 - rate), with each element replaced by 0 with probability `rate`; else x itself.

    Srivastava et al. 2014, inverted: inference needs no scaling.  A rate that is a value of the graph is kept within
    0..1; a rate of NaN makes NaN.
    """
    x = site.tensor("x", "f")
    given = site.operand("rate")
    if not isinstance(given.value, Literal | Size):
        return _dropout_by(site, x, given)
    rate = _static(given.value)
    if rate is None or isinstance(rate, bool) or not 0.0 <= rate < 1.0:
        what = "must be a number" if rate is None else f"must be at least 0 and less than 1, not {rate}"
        site.fail("rate", what)
        raise Wrong
    if rate == 0 or not site.frame.is_training:
        return x
    return Tensor(_dropped(site, x, constant(float(rate), x.node.type), x.node * (1.0 / (1.0 - rate))), x.flexible)


def _dropout_by(site: Site, x: Tensor, given: Operand) -> Value:
    """dropout at a rate known at run time: a hyper-parameter, say."""
    rate = site.tensor("rate", "f")
    if rate.rank or rate.dtype != x.dtype:
        site.fail("rate", f"must be a number or a {x.dtype} scalar, not {rate}")
        raise Wrong
    if not site.frame.is_training:
        return x
    zero, one = constant(0.0, rate.node.type), constant(1.0, rate.node.type)
    within = make("stop_gradient", make("min", make("max", rate.node, zero), one))
    kept = x.node * fill(one / (one - within), x.shape)
    return Tensor(_dropped(site, x, fill(within, x.shape), kept), x.flexible)


def _dropped(site: Site, x: Tensor, rate: Node, kept: Node) -> Node:
    """0 in place of `kept` where a draw is below the rate."""
    return where(make("lt", _uniform(site, x.node.type), rate), 0.0, kept)
