"""Exact equations of comparisons, logic, choice and conversion."""

from __future__ import annotations

from graphc.ir.node import Node, make
from graphc.ir.rewrite import Rule, rule
from graphc.ir.types import BOOL, DType
from graphc.passes.match import is_positive_zero, is_splat, splat, splat_value

OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


@rule("and", "or")
def logic_constant(node: Node) -> Node | None:
    """x and true -> x, x and false -> false; x or false -> x, x or true -> true"""
    x, y = node.inputs
    value = splat_value(y)
    if value is None:
        return None
    return x if value == (node.op == "and") else y


@rule("and", "or")
def logic_same(node: Node) -> Node | None:
    """x and x -> x, x or x -> x"""
    a, b = node.inputs
    return a if a is b else None


@rule("not")
def not_not(node: Node) -> Node | None:
    """not not x -> x"""
    (x,) = node.inputs
    return x.inputs[0] if x.op == "not" else None


@rule("not")
def not_comparison(node: Node) -> Node | None:
    """not a == b -> a != b; not a < b -> a >= b for integers, which know no NaN"""
    (x,) = node.inputs
    if x.op not in OPPOSITE or (x.op not in ("eq", "ne") and x.inputs[0].dtype.is_float):
        return None
    return make(OPPOSITE[x.op], *x.inputs)


@rule("eq", "ne", "lt", "le", "gt", "ge")
def compare_self(node: Node) -> Node | None:
    """x < x -> false; x == x -> true for all but floats"""
    a, b = node.inputs
    if a is not b or (node.op not in ("lt", "gt") and a.dtype.is_float):
        return None
    return splat(node.op in ("eq", "le", "ge"), node.type)


@rule("eq", "ne")
def compare_bool(node: Node) -> Node | None:
    """x == true -> x, x == false -> not x, for bools; likewise !="""
    x, y = node.inputs
    value = splat_value(y)
    if x.dtype != BOOL or value is None:
        return None
    return x if value == (node.op == "eq") else make("not", x)


@rule("where")
def where_constant(node: Node) -> Node | None:
    """where(true, a, b) -> a, where(false, a, b) -> b"""
    condition, a, b = node.inputs
    value = splat_value(condition)
    return None if value is None else a if value else b


@rule("where")
def where_same(node: Node) -> Node | None:
    """where(c, a, a) -> a"""
    _, a, b = node.inputs
    return a if a is b else None


@rule("where")
def where_not(node: Node) -> Node | None:
    """where(not c, a, b) -> where(c, b, a)"""
    condition, a, b = node.inputs
    return make("where", condition.inputs[0], b, a) if condition.op == "not" else None


@rule("where")
def where_bool(node: Node) -> Node | None:
    """where(c, true, false) -> c, where(c, false, true) -> not c"""
    condition, a, b = node.inputs
    if a.dtype != BOOL:
        return None
    if is_splat(a, True) and is_splat(b, False):
        return condition
    return make("not", condition) if is_splat(a, False) and is_splat(b, True) else None


@rule("where")
def where_where(node: Node) -> Node | None:
    """where(c, where(c, a, _), b) -> where(c, a, b); likewise in the other branch"""
    condition, a, b = node.inputs
    if a.op == "where" and a.inputs[0] is condition:
        return make("where", condition, a.inputs[1], b)
    if b.op == "where" and b.inputs[0] is condition:
        return make("where", condition, a, b.inputs[2])
    return None


@rule("where")
def where_spread(node: Node) -> Node | None:
    """where(x > c, pool_spread(dy, argmax_pool(x)), 0) -> pool_spread(where(max_pool(x) > c, dy, 0), argmax_pool(x))

    Likewise for other comparisons: what is spread comes to elements that are their windows' greatest ones.
    """
    condition, spread, nothing = node.inputs
    if condition.op not in OPPOSITE or spread.op != "pool_spread" or not is_positive_zero(nothing):
        return None
    (x, bound), (dy, place) = condition.inputs, spread.inputs
    value = splat_value(bound)
    windows = {name: number for name, number in spread.attrs_dict.items() if name != "size"}
    if value is None or place.op != "argmax_pool" or place.inputs[0] is not x or place.attrs_dict != windows:
        return None
    greatest = make("max_pool", x, **windows)
    wanted = make(condition.op, greatest, splat(value, greatest.type))
    kept = make("where", wanted, dy, splat(0.0, dy.type))
    return make("pool_spread", kept, place, **spread.attrs_dict)


@rule("cast")
def cast_same(node: Node) -> Node | None:
    """cast(x) to its own type -> x"""
    (x,) = node.inputs
    return x if x.dtype == node.dtype else None


@rule("cast")
def cast_cast(node: Node) -> Node | None:
    """cast(cast(x)) -> cast(x), where the inner one loses nothing that the outer one keeps"""
    (x,) = node.inputs
    if x.op != "cast":
        return None
    (source,) = x.inputs
    if not _holds(source.dtype, x.dtype):
        return None
    same_kind = x.dtype.is_float == source.dtype.is_float or source.dtype == BOOL
    if not same_kind and not node.dtype.is_float and node.dtype not in (source.dtype, BOOL):
        return None  # integer -> float -> integer saturates where integer -> integer wraps around
    return source if source.dtype == node.dtype else make("cast", source, dtype=node.dtype)


def _holds(source: DType, target: DType) -> bool:
    """Whether every value of `source` is a value of `target`."""
    if source == BOOL:
        return True
    if target == BOOL:
        return False
    if source.is_float:
        return target.is_float and target.size >= source.size
    low, high = source.range()
    if target.is_float:
        return high < 1 << (24 if target.size == 4 else 53)
    least, greatest = target.range()
    return least <= low and high <= greatest


LOGIC_RULES: tuple[Rule, ...] = (
    logic_constant, logic_same, not_not, not_comparison, compare_self, compare_bool,
    where_constant, where_same, where_not, where_bool, where_where, where_spread, cast_same, cast_cast,
)  # fmt: skip
