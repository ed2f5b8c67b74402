"""Movement: the elements at other places, no arithmetic; counters, gathers and one-hot codes."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, literal_as
from graphc.frontend.call import Site, Wrong
from graphc.frontend.classes import class_numbers
from graphc.frontend.dimension import dim_of, fits_limits
from graphc.frontend.functions import function
from graphc.frontend.literal import _static
from graphc.frontend.values import Literal, Many, Tensor, Value, tensor
from graphc.ir.dims import Dim, bounds, divide_exactly, product
from graphc.ir.node import constant, make
from graphc.ir.types import I32, TensorType
from graphc.ops.build import where


def _as_operand(site: Site, name: str, x: Tensor) -> Operand:
    given = site.operand(name)
    return Operand(x, given.span, given.name, given.origin, given.origin_text)


@function("reshape(x, shape=, like=)")
def _reshape(site: Site) -> Value:
    """The same elements in row-major order; one size may be -1. `like` takes the shape of a value."""
    if site.has("shape") == site.has("like"):
        site.error("GC0402", "`reshape` needs either a shape or like=", site.span)
        raise Wrong
    x = site.tensor("x")
    shape = site.dims("shape") if site.has("shape") else list(site.tensor("like").shape)
    open_axes = [i for i, dim in enumerate(shape) if dim == -1]
    if len(open_axes) > 1:
        site.error("GC0313", "one size of a reshape can be -1, not two", site.where("shape"))
        raise Wrong
    total = product(x.shape)
    if open_axes:
        rest = product(dim for dim in shape if dim != -1)
        missing = divide_exactly(total, rest) if rest != 0 else None
        if missing is None:
            site.error("GC0313", f"{x} cannot be cut into parts of {rest}", site.where("shape"))
            raise Wrong
        shape[open_axes[0]] = missing
    if any(bounds(dim)[0] < 1 for dim in shape):
        site.error("GC0313", "the sizes of a reshape are at least 1", site.where("shape"))
        raise Wrong
    if product(shape) != total:
        title = f"{x} has {total} elements, [{', '.join(map(str, shape))}] has {product(shape)}"
        site.error("GC0313", title, site.where("shape"), help="one size can be -1 to take what is left")
        raise Wrong
    return site.make("reshape", x.node, shape=tuple(shape))


@function("flatten(x)")
def _flatten(site: Site) -> Value:
    """Every axis but the first in one."""
    x = site.tensor("x")
    if x.rank < 2:
        return x
    return site.make("reshape", x.node, shape=(x.shape[0], product(x.shape[1:])))


@function("transpose(x, axes=)")
def _transpose(site: Site) -> Value:
    """The axes in another order: `axes` lists the axes of x; without it the order is reversed."""
    x = site.tensor("x")
    perm = tuple(range(x.rank))[::-1]
    if site.has("axes"):
        given = site.arguments["axes"]
        if not isinstance(given, s.Sequence):
            site.fail("axes", "must be a list such as [1, 0]")
            raise Wrong
        perm = tuple(site._axis(item, _as_operand(site, "x", x)) for item in given.items)
        if sorted(perm) != list(range(x.rank)):
            site.error("GC0306", f"`axes` must name each axis of {x} once", given.span)
            raise Wrong
    return tensor(site.make("transpose", x.node, perm=perm).node, tuple(x.flexible[i] for i in perm))


def _sequence(site: Site, name: str) -> list[Tensor]:
    """The tensors of a list argument, of one element type."""
    given = site.operand(name)
    if not isinstance(given.value, Many) or not given.value.items:
        site.fail(name, "must be a list of values such as [a, b]")
        raise Wrong
    made: list[Tensor] = []
    for item in given.value.items:
        if not isinstance(item, Tensor):
            site.fail(name, "must hold tensors")
            raise Wrong
        made.append(item)
    return made


@function("concat(values, axis=)")
def _concat(site: Site) -> Value:
    """One value after the other along an axis (the last)."""
    values = _sequence(site, "values")
    first = values[0]
    if first.rank == 0:
        site.fail("values", "must have an axis; see stack")
        raise Wrong
    axis = site.axis("axis", Operand(first, site.where("values")), -1)
    return site.make("concat", *(value.node for value in values), axis=axis)


@function("stack(values, axis=)")
def _stack(site: Site) -> Value:
    """Values of one shape along a new axis (the first)."""
    values = _sequence(site, "values")
    first = values[0]
    axis = site.integer("axis", 0, -first.rank - 1, first.rank) % (first.rank + 1)
    shape = (*first.shape[:axis], 1, *first.shape[axis:])
    for value in values:
        if value.node.type != first.node.type:
            site.error("GC0201", f"`stack` needs equal types, got {first} and {value}", site.where("values"))
            raise Wrong
    return site.make("concat", *(make("reshape", v.node, shape=shape) for v in values), axis=axis)


@function("split(x, parts=, sizes=, axis=)")
def _split(site: Site) -> Value:
    """Equal parts, or parts of the listed sizes, along an axis (the last)."""
    x = site.tensor("x")
    axis = site.axis("axis", _as_operand(site, "x", x), -1)
    dim = x.shape[axis]
    if site.has("parts") == site.has("sizes"):
        site.error("GC0402", "`split` needs either parts= or sizes=", site.span)
        raise Wrong
    sizes = site.dims("sizes") if site.has("sizes") else _equal_parts(site, dim)
    total: Dim = 0
    for size in sizes:
        total = total + size
    if total != dim or any(bounds(size)[0] < 1 for size in sizes):
        site.error("GC0313", f"sizes that add up to {total} do not split an axis of {dim}", site.where("sizes"))
        raise Wrong
    parts: list[Value] = []
    offset: Dim = 0
    for size in sizes:
        start: list[Dim] = [0] * x.rank
        stop = list(x.shape)
        start[axis], stop[axis] = offset, offset + size
        node = site.make("slice", x.node, start=tuple(start), stop=tuple(stop), step=(1,) * x.rank).node
        parts.append(tensor(node, tuple(free and i != axis for i, free in enumerate(x.flexible))))
        offset = offset + size
    return Many(tuple(parts))


def _equal_parts(site: Site, dim: Dim) -> list[Dim]:
    parts = site.integer("parts", None, 1, 10_000)
    size = divide_exactly(dim, parts)
    if size is None:
        site.error("GC0313", f"an axis of {dim} has no {parts} equal parts", site.where("parts"))
        raise Wrong
    return [size] * parts


@function("pad(x, widths, value=)")
def _pad(site: Site) -> Value:
    """`value` (0) around x; `widths` is a pair (before, behind) for each axis."""
    x = site.tensor("x")
    given = site.arguments["widths"]
    if not isinstance(given, s.Sequence) or len(given.items) != x.rank:
        site.fail("widths", f"must be a list of {x.rank} pairs such as [(1, 1)]")
        raise Wrong
    low: list[Dim] = []
    high: list[Dim] = []
    for pair in given.items:
        sides = pair.items if isinstance(pair, s.Sequence) and len(pair.items) == 2 else ()
        widths = [dim_of(site.shared, site.frame, side) for side in sides]
        if len(widths) != 2 or any(width is None for width in widths):
            site.error("GC0405", "a width is a pair such as (0, 1)", pair.span)
            raise Wrong
        if any(bounds(width)[0] < 0 for width in widths if width is not None):
            site.error("GC0405", "a width is not negative", pair.span)
            raise Wrong
        low.append(widths[0] or 0)
        high.append(widths[1] or 0)
    fill = _pad_value(site, x)
    made = site.make("pad", x.node, low=tuple(low), high=tuple(high), interior=(0,) * x.rank, value=fill)
    if not fits_limits(site.shared, made.node.type, site.span):
        raise Wrong
    return made


def _pad_value(site: Site, x: Tensor) -> float | int | bool:
    number = _static(site.value("value")) if site.has("value") else 0
    if number is None:
        site.fail("value", "must be a number known at compile time")
        raise Wrong
    if x.dtype.kind == "b":
        return bool(number)
    made = literal_as(site.shared, Literal(number), x.dtype, site.where("value"))
    if not isinstance(made, Tensor):
        raise Wrong
    return float(number) if x.dtype.is_float else int(number)


@function("slice(x, axis, start, stop, step=)")
def _slice(site: Site) -> Value:
    """x[start:stop:step] along one named axis."""
    x = site.tensor("x")
    axis = site.axis("axis", _as_operand(site, "x", x))
    from graphc.frontend.subscript import _within

    start, stop, step = site.dim("start"), site.dim("stop"), site.integer("step", 1, 1)
    for low, high in ((0, start), (start, stop), (stop, x.shape[axis])):
        if not _within(site.shared, low, high, site.span):
            raise Wrong
    starts: list[Dim] = [0] * x.rank
    stops, steps = list(x.shape), [1] * x.rank
    starts[axis], stops[axis], steps[axis] = start, stop, step
    made = site.make("slice", x.node, start=tuple(starts), stop=tuple(stops), step=tuple(steps))
    return tensor(made.node, tuple(free and i != axis for i, free in enumerate(x.flexible)))


@function("reverse(x, axis=)")
def _reverse(site: Site) -> Value:
    """The order along axes turned round."""
    x = site.tensor("x")
    return tensor(site.make("reverse", x.node, axes=site.axes("axis", _as_operand(site, "x", x))).node, x.flexible)


def _take(name: str) -> None:
    @function(f"{name}(table, index, axis=)")
    def run(site: Site) -> Value:
        """The slices of a table along an axis (the first) that the integers of `index` name."""
        table, index = site.tensor("table"), site.tensor("index", "iu")
        axis = site.axis("axis", _as_operand(site, "table", table), 0)
        _check_written(site, index, table.shape[axis])
        made = site.make("gather", table.node, index.node, axis=axis)
        flexible = (*table.flexible[:axis], *index.flexible, *table.flexible[axis + 1 :])
        return tensor(made.node, flexible)


def _check_written(site: Site, index: Tensor, size: Dim) -> None:
    """An index that is written in the file is checked here; one that comes from an input, at the call."""
    node = index.node
    if node.op != "const" or not isinstance(size, int) or not node.type.is_static:
        return
    values = node.definition.evaluate(**node.attrs_dict)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        span = _as_operand(site, "index", index).span
        site.shared.error("GC0311", f"the index {wrong} is outside of an axis of {size}", span)
        raise Wrong


_take("gather")
_take("take")


@function("iota(size)")
def _iota(site: Site) -> Value:
    """0, 1, ..., size - 1 as i32."""
    size = site.dim("size")
    made = TensorType(I32, (size,))
    if bounds(size)[0] < 1:
        site.fail("size", "must be at least 1")
        raise Wrong
    if not fits_limits(site.shared, made, site.span):
        raise Wrong
    return tensor(make("iota", dtype=I32, shape=(size,), axis=0))


@function("one_hot(index, size, type=)")
def _one_hot(site: Site) -> Value:
    """1 where the new last axis equals the index, else 0; of the module's float type."""
    index, size = site.tensor("index", "iu"), site.dim("size")
    dtype = site.dtype("type") if site.has("type") else site.real
    shape = (*index.shape, size)
    if not fits_limits(site.shared, TensorType(dtype, shape), site.span):
        raise Wrong
    positions = make("iota", dtype=I32, shape=shape, axis=index.rank)
    numbers = class_numbers(index.node, size)
    spread = make("broadcast", numbers, shape=shape, axes=tuple(range(index.rank)))
    kind = TensorType(dtype, shape)
    node = where(make("eq", positions, spread), constant(1, kind), constant(0, kind))
    return tensor(node, (*index.flexible, False))


@function("broadcast(x, shape)")
def _broadcast(site: Site) -> Value:
    """x at a larger shape: leading axes are added, flexible axes (written `_`) grow."""
    from graphc.frontend.arithmetic import as_type

    x, shape = site.tensor("x"), tuple(site.dims("shape"))
    wanted = TensorType(x.dtype, shape)
    if not fits_limits(site.shared, wanted, site.span):
        raise Wrong
    lead = len(shape) - x.rank
    if lead > 0 and shape[lead:] == x.shape and not any(x.flexible):
        return tensor(make("broadcast", x.node, shape=shape, axes=tuple(range(lead, len(shape)))))
    given = Operand(x, site.where("x"))
    made = as_type(site.shared, given, wanted, (False,) * len(shape), site.where("shape"), "the result")
    if not isinstance(made, Tensor):
        raise Wrong
    return made


@function("zeros_like(x)")
def _zeros_like(site: Site) -> Value:
    x = site.tensor("x")
    return tensor(constant(0, x.node.type), x.flexible)


@function("ones_like(x)")
def _ones_like(site: Site) -> Value:
    x = site.tensor("x")
    return tensor(constant(1, x.node.type), x.flexible)
