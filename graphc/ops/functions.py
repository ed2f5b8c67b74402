"""Functions of one float: exponentials, roots, circular functions, activations, rounding."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.node import Node, make
from graphc.ops.build import compare, where
from graphc.ops.elementwise import Unary
from graphc.ops.op import Array, Cotangents, register


@register
class Exp(Unary):
    """e to the power x."""

    name = "exp"
    cost = 10

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy * node,)

    def evaluate(self, x: Array) -> Array:
        return np.exp(x)


@register
class Log(Unary):
    """The natural logarithm; -inf at 0, NaN below."""

    name = "log"
    cost = 12
    domain = (0.4, 3.0)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy / node.inputs[0],)

    def evaluate(self, x: Array) -> Array:
        return np.log(x)


@register
class Log1p(Unary):
    """log(1 + x), exact also for small x."""

    name = "log1p"
    cost = 14
    domain = (-0.6, 2.0)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy / (1.0 + node.inputs[0]),)

    def evaluate(self, x: Array) -> Array:
        return np.log1p(x)


@register
class Expm1(Unary):
    """exp(x) - 1, exact also for small x."""

    name = "expm1"
    cost = 14

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy * (node + 1.0),)

    def evaluate(self, x: Array) -> Array:
        return np.expm1(x)


@register
class Sqrt(Unary):
    """The square root; NaN below 0.

    Its slope at 0 is infinite; the derivative is taken as 0 there, so that the norm of a zero vector has the
    subgradient 0 instead of NaN.
    """

    name = "sqrt"
    cost = 5
    domain = (0.3, 3.0)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        flat = compare("eq", node, 0.0)
        return (where(flat, 0.0, dy / (2.0 * where(flat, 1.0, node))),)

    def evaluate(self, x: Array) -> Array:
        return np.sqrt(x)


@register
class Rsqrt(Unary):
    """1 / sqrt(x); inf at 0, where its derivative is infinite too."""

    name = "rsqrt"
    cost = 6
    domain = (0.4, 3.0)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (-0.5 * dy * node / node.inputs[0],)

    def evaluate(self, x: Array) -> Array:
        return (1 / np.sqrt(x)).astype(x.dtype)


@register
class Sin(Unary):
    """The sine of x in radians."""

    name = "sin"
    cost = 16

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy * make("cos", *node.inputs),)

    def evaluate(self, x: Array) -> Array:
        return np.sin(x)


@register
class Cos(Unary):
    """The cosine of x in radians."""

    name = "cos"
    cost = 16

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (-(dy * make("sin", *node.inputs)),)

    def evaluate(self, x: Array) -> Array:
        return np.cos(x)


@register
class Tanh(Unary):
    """The hyperbolic tangent, between -1 and 1."""

    name = "tanh"
    cost = 16

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy * (1.0 - node * node),)

    def evaluate(self, x: Array) -> Array:
        return np.tanh(x)


@register
class Sigmoid(Unary):
    """1 / (1 + exp(-x)), between 0 and 1, without overflow."""

    name = "sigmoid"
    cost = 14

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy * (node * (1.0 - node)),)

    def evaluate(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))
        return (np.where(x >= 0, 1, small) / (1 + small)).astype(x.dtype)


@register
class Erf(Unary):
    """The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x."""

    name = "erf"
    cost = 18

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,) = node.inputs
        return (dy * (2.0 / math.sqrt(math.pi) * make("exp", -(x * x))),)

    def evaluate(self, x: Array) -> Array:
        values = [math.erf(v) for v in x.ravel().tolist()]
        return np.array(values, x.dtype).reshape(x.shape)


@register
class Relu(Unary):
    """max(x, 0); NaN stays NaN.  The derivative at 0 is 0."""

    name = "relu"
    away_from = (0.0,)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (where(compare("gt", node, 0.0), dy, 0.0),)

    def evaluate(self, x: Array) -> Array:
        return np.maximum(x, x.dtype.type(0))


class Rounding(Unary):
    """What floor, ceil and round share: a derivative of 0 and kinks halfway or at the integers."""

    away_from = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (None,)


@register
class Floor(Rounding):
    """The greatest whole number not above x; the derivative is 0."""

    name = "floor"

    def evaluate(self, x: Array) -> Array:
        return np.floor(x)


@register
class Ceil(Rounding):
    """The least whole number not below x; the derivative is 0."""

    name = "ceil"

    def evaluate(self, x: Array) -> Array:
        return np.ceil(x)


@register
class Round(Rounding):
    """The nearest whole number, halves to the even one; the derivative is 0."""

    name = "round"

    def evaluate(self, x: Array) -> Array:
        return np.rint(x)
