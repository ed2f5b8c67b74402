"""`require condition, "text"`: decided now if the sizes are known, else recorded for the load or the call."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import COMPARISONS
from graphc.frontend.dimension import dim_of
from graphc.frontend.scope import Frame, Shared
from graphc.ir.dims import Dim, bounds
from graphc.program import Requirement


def require(shared: Shared, frame: Frame, one: s.Require) -> None:
    """Each comparison of a condition joined by `and`."""
    conditions: list[s.Expression] = [one.condition]
    while conditions:
        node = conditions.pop(0)
        if isinstance(node, s.Binary) and node.operator == "and":
            conditions[:0] = [node.left, node.right]
        elif isinstance(node, s.Binary) and node.operator in COMPARISONS:
            _comparison(shared, frame, one, node)
        else:
            help = "write comparisons of dimensions, joined by `and`"
            shared.error("GC0309", "a requirement compares dimensions", node.span, help=help)


def _comparison(shared: Shared, frame: Frame, one: s.Require, node: s.Binary) -> None:
    left, right = dim_of(shared, frame, node.left), dim_of(shared, frame, node.right)
    if left is None or right is None:
        return
    verdict = decide(left, node.operator, right)
    if verdict is False:
        title = one.text or f"{node.span.text} does not hold"
        shared.error("GC0310", title, node.span, f"{left} {node.operator} {right} is false")
        frame.is_unmet = frame.kind == "block"
    elif verdict is None and not shared.is_symbolic_check:
        message = one.text or f"requires {left} {node.operator} {right}"
        shared.requirements.setdefault(Requirement(left, node.operator, right, message))


def decide(left: Dim, sign: str, right: Dim) -> bool | None:
    """Whether a comparison holds for all sizes (True), for none (False), or depends on them (None)."""
    low, high = bounds(left - right)
    match sign:
        case "==" | "!=":
            if left == right:
                return sign == "=="
            apart = low > 0 or (high is not None and high < 0)
            return (sign == "!=") if apart else None
        case "<":
            return True if high is not None and high < 0 else False if low >= 0 else None
        case "<=":
            return True if high is not None and high <= 0 else False if low > 0 else None
        case ">":
            return True if low > 0 else False if high is not None and high <= 0 else None
    return True if low >= 0 else False if high is not None and high < 0 else None
