"""`clip = global_norm(limit)` or `clip = value(limit)`: what happens to all gradients before the update."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import to_tensor
from graphc.frontend.expression import evaluate, real_of
from graphc.frontend.literal import _static
from graphc.frontend.scope import Frame, Shared, nearest
from graphc.frontend.values import Poison, Tensor
from graphc.ir.node import Node, constant, make
from graphc.ir.types import DType
from graphc.ops.build import cast, fill, reduce


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """How gradients are clipped; `limit` is a scalar node."""

    kind: str
    limit: Node

    def __call__(self, grads: dict[Node, Node]) -> dict[Node, Node]:
        """The gradients, clipped. The norm is taken over all of them together, in the order of the parameters."""
        if self.kind == "value":
            return {p: self._by_value(g) for p, g in grads.items()}
        total: Node | None = None
        for gradient in grads.values():
            wide = cast(gradient, self.limit.dtype)
            part = reduce("sum", wide * wide, *range(len(wide.shape)))
            total = part if total is None else total + part
        if total is None:
            return grads
        # min(1, limit / norm): a norm of 0 gives 1, for limit / 0 is inf; NaN stays NaN.
        scale = make("min", self.limit / make("sqrt", total), constant(1.0, self.limit.type))
        return {p: g * fill(cast(scale, g.dtype), g.shape) for p, g in grads.items()}

    def _by_value(self, gradient: Node) -> Node:
        bound = fill(cast(self.limit, gradient.dtype), gradient.shape)
        return make("min", make("max", gradient, -bound), bound)


def clip_of(shared: Shared, frame: Frame, node: s.Expression) -> Clip | None:
    """The clip a section asks for; None after an error."""
    name = node.function.name if isinstance(node, s.Call) and isinstance(node.function, s.Name) else ""
    if not isinstance(node, s.Call) or name not in ("global_norm", "value"):
        help = nearest(name, ("global_norm", "value")) or "clip = global_norm(1.0), or clip = value(0.5)"
        shared.error("GC0606", "clip is global_norm(limit) or value(limit)", node.span, help=help)
        return None
    if len(node.arguments) != 1 or (node.arguments[0].name and node.arguments[0].name.name != "limit"):
        shared.error("GC0402", f"`{name}` takes one limit", node.span)
        return None
    return _clip(shared, frame, name, node.arguments[0].value, real_of(shared, frame))


def _clip(shared: Shared, frame: Frame, name: str, node: s.Expression, real: DType) -> Clip | None:
    value = evaluate(shared, frame, node)
    number = _static(value)
    if number is not None and not number > 0:
        shared.error("GC0405", f"the limit of `{name}` must be positive, not {number}", node.span)
        return None
    if number is not None:
        from graphc.frontend.values import Literal

        value = Literal(float(number))
    limit = to_tensor(shared, value, real, node.span)
    if isinstance(limit, Poison):
        return None
    if not isinstance(limit, Tensor) or limit.rank or not limit.dtype.is_float:
        shared.error("GC0405", f"the limit of `{name}` must be a float scalar", node.span)
        return None
    return Clip(name, limit.node)
