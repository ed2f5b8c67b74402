"""Equations of data movement: nothing is computed, so all are exact; broadcasts move towards the results."""

from __future__ import annotations

from graphc.ir.axes import reshape_groups
from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ir.rewrite import Rule, rule
from graphc.ops.op import Elementwise
from graphc.passes.match import splat, splat_value


@rule("reshape", "transpose", "broadcast", "slice", "reverse")
def move_splat(node: Node) -> Node | None:
    """move(c) -> c"""
    value = splat_value(node.inputs[0])
    return None if value is None else splat(value, node.type)


@rule("concat")
def concat_splats(node: Node) -> Node | None:
    """concat(c, c, ...) -> c"""
    first = node.inputs[0]
    value = splat_value(first)
    if value is None or any(x is not splat(value, x.type) for x in node.inputs):
        return None
    return splat(value, node.type)


@rule("pad")
def pad_splat(node: Node) -> Node | None:
    """pad(c, with c) -> c"""
    value = splat_value(node.inputs[0])
    if value is None or splat(value, node.type) is not splat(node.attr("value"), node.type):
        return None
    return splat(value, node.type)


@rule("reshape", "transpose", "broadcast")
def move_nothing(node: Node) -> Node | None:
    """reshape to the same shape -> x; likewise a transpose or broadcast that keeps every axis"""
    (x,) = node.inputs
    if node.op == "transpose":
        return x if node.attr("perm") == tuple(range(x.type.rank)) else None
    return x if x.shape == node.shape else None


@rule("reshape")
def reshape_reshape(node: Node) -> Node | None:
    """reshape(reshape(x)) -> reshape(x)"""
    (x,) = node.inputs
    return make("reshape", x.inputs[0], shape=node.shape) if x.op == "reshape" else None


@rule("transpose")
def transpose_transpose(node: Node) -> Node | None:
    """transpose(transpose(x)) -> transpose(x)"""
    (x,) = node.inputs
    if x.op != "transpose":
        return None
    inner = x.attr("perm")
    return make("transpose", x.inputs[0], perm=tuple(inner[axis] for axis in node.attr("perm")))


@rule("transpose")
def transpose_units(node: Node) -> Node | None:
    """transpose that moves only axes of size 1 -> reshape"""
    (x,), perm = node.inputs, node.attr("perm")
    moved = [axis for axis in perm if x.shape[axis] != 1]
    return make("reshape", x, shape=node.shape) if moved == sorted(moved) else None


@rule("transpose")
def transpose_gather(node: Node) -> Node | None:
    """transpose(gather(table, index)) -> gather(table, transpose(index)), where only axes of the index move"""
    (x,) = node.inputs
    perm = perm_of_index(node, x.attr("axis"), x.inputs[1]) if x.op == "gather" else None
    if perm is None:
        return None
    return make("gather", x.inputs[0], make("transpose", x.inputs[1], perm=perm), axis=x.attr("axis"))


def perm_of_index(node: Node, axis: int, index: Node) -> tuple[int, ...] | None:
    """How a transpose moves the axes of an index, from `axis` on; None if it moves others."""
    perm, end = node.attr("perm"), axis + index.type.rank
    own = tuple(i - axis for i in perm[axis:end])
    fixed = all(i == to for to, i in enumerate(perm) if not axis <= to < end)
    return own if fixed and sorted(own) == list(range(len(own))) else None


@rule("broadcast")
def broadcast_broadcast(node: Node) -> Node | None:
    """broadcast(broadcast(x)) -> broadcast(x)"""
    (x,), axes = node.inputs, node.attr("axes")
    if x.op != "broadcast":
        return None
    return make("broadcast", x.inputs[0], shape=node.shape, axes=tuple(axes[a] for a in x.attr("axes")))


@rule("broadcast")
def broadcast_iota(node: Node) -> Node | None:
    """broadcast(iota) -> iota"""
    (x,) = node.inputs
    if x.op != "iota":
        return None
    return make("iota", dtype=node.dtype, shape=node.shape, axis=node.attr("axes")[x.attr("axis")])


@rule("broadcast")
def broadcast_inserted(node: Node) -> Node | None:
    """broadcast(reshape that inserts unit axes) -> broadcast"""
    (x,), axes = node.inputs, node.attr("axes")
    if x.op != "reshape":
        return None
    sources = x.definition.maps_axes(x)
    (inner,) = x.inputs
    kept = [] if sources is None else [i for i in sources if i is not None]
    if sources is None or kept != list(range(inner.type.rank)):
        return None
    placed = tuple(axis for axis, source in zip(axes, sources, strict=True) if source is not None)
    return make("broadcast", inner, shape=node.shape, axes=placed)


@rule("reshape")
def reshape_broadcast(node: Node) -> Node | None:
    """reshape(broadcast(x)) -> broadcast(reshape(x)), where the axes of x keep to themselves"""
    (x,) = node.inputs
    groups = reshape_groups(x.shape, node.shape) if x.op == "broadcast" else None
    if groups is None:
        return None
    own = x.attr("axes")
    placed: list[int] = []
    shape: list[Dim] = []
    for before, after in groups:
        inside = [axis for axis in before if axis in own]
        if inside and any(x.shape[axis] != 1 for axis in before if axis not in own):
            return None  # axes of x and repeated ones merge
        if inside:
            placed += after
            shape += [node.shape[axis] for axis in after]
    (inner,) = x.inputs
    return make("broadcast", make("reshape", inner, shape=tuple(shape)), shape=node.shape, axes=tuple(placed))


@rule("transpose")
def transpose_broadcast(node: Node) -> Node | None:
    """transpose(broadcast(x)) -> broadcast(transpose(x))"""
    (x,), perm = node.inputs, node.attr("perm")
    if x.op != "broadcast":
        return None
    places = [perm.index(axis) for axis in x.attr("axes")]
    order = tuple(sorted(range(len(places)), key=places.__getitem__))
    (inner,) = x.inputs
    return make("broadcast", make("transpose", inner, perm=order), shape=node.shape, axes=tuple(sorted(places)))


@rule("slice")
def slice_everything(node: Node) -> Node | None:
    """x[:, :] -> x"""
    (x,) = node.inputs
    whole = all(n == 0 for n in node.attr("start")) and all(n == 1 for n in node.attr("step"))
    return x if whole and x.shape == node.shape else None


@rule("slice")
def slice_slice(node: Node) -> Node | None:
    """x[a:b:s][c:d:t] -> x[a + c*s : a + (d-1)*s + 1 : s*t]"""
    (x,) = node.inputs
    if x.op != "slice" or any(n == 0 for n in node.shape):
        return None
    start, stop, step = [], [], []
    for axis in range(x.type.rank):
        low, by = x.attr("start")[axis], x.attr("step")[axis]
        start.append(low + node.attr("start")[axis] * by)
        stop.append(low + (node.attr("stop")[axis] - 1) * by + 1)
        step.append(by * node.attr("step")[axis])
    result = make("slice", x.inputs[0], start=tuple(start), stop=tuple(stop), step=tuple(step))
    return result if result.type == node.type else None


@rule("slice")
def slice_broadcast(node: Node) -> Node | None:
    """broadcast(x)[...] -> broadcast(x[...])"""
    (x,) = node.inputs
    if x.op != "broadcast":
        return None
    axes = x.attr("axes")
    start, stop, step = (tuple(node.attr(name)[axis] for axis in axes) for name in ("start", "stop", "step"))
    inner = make("slice", x.inputs[0], start=start, stop=stop, step=step)
    return make("broadcast", inner, shape=node.shape, axes=axes)


@rule("slice")
def slice_concat(node: Node) -> Node | None:
    """concat(x, y, ...)[i:j] -> x[i:j], where one part holds it all"""
    (x,) = node.inputs
    if x.op != "concat":
        return None
    axis, offset = x.attr("axis"), 0
    start, stop = node.attr("start")[axis], node.attr("stop")[axis]
    for part in x.inputs:
        low: Dim = start - offset
        high: Dim = stop - offset
        size = part.shape[axis]
        if _is_within(low, high, size):
            starts, stops = list(node.attr("start")), list(node.attr("stop"))
            starts[axis], stops[axis] = low, high
            return make("slice", part, start=tuple(starts), stop=tuple(stops), step=node.attr("step"))
        offset = offset + size
    return None


def _is_within(low: Dim, high: Dim, size: Dim) -> bool:
    if low == 0 and high == size:
        return True
    return all(isinstance(n, int) for n in (low, high, size)) and 0 <= low <= high <= size  # type: ignore[operator]


@rule("pad")
def pad_nothing(node: Node) -> Node | None:
    """pad by nothing -> x"""
    counts = (*node.attr("low"), *node.attr("high"), *node.attr("interior"))
    return node.inputs[0] if all(n == 0 for n in counts) else None


@rule("concat")
def concat_one(node: Node) -> Node | None:
    """concat(x) -> x; parts without elements are left out"""
    axis = node.attr("axis")
    parts = [x for x in node.inputs if x.shape[axis] != 0] or list(node.inputs[:1])
    if len(parts) == 1:
        return parts[0]
    return make("concat", *parts, axis=axis) if len(parts) < len(node.inputs) else None


@rule("concat")
def concat_concat(node: Node) -> Node | None:
    """concat(concat(x, y), z) -> concat(x, y, z)"""
    axis = node.attr("axis")
    nested = [x.op == "concat" and x.attr("axis") == axis for x in node.inputs]
    if not any(nested):
        return None
    parts = [part for x, inner in zip(node.inputs, nested, strict=True) for part in (x.inputs if inner else (x,))]
    return make("concat", *parts, axis=axis)


@rule("reverse")
def reverse_nothing(node: Node) -> Node | None:
    """reverse along axes of size 1 -> x"""
    (x,), axes = node.inputs, node.attr("axes")
    kept = tuple(axis for axis in axes if x.shape[axis] != 1 and not _is_repeated(x, axis))
    if not kept:
        return x
    return make("reverse", x, axes=kept) if kept != axes else None


def _is_repeated(x: Node, axis: int) -> bool:
    """Whether a broadcast makes all elements along the axis equal."""
    return x.op == "broadcast" and axis not in x.attr("axes")


@rule("reverse")
def reverse_reverse(node: Node) -> Node | None:
    """reverse(reverse(x)) -> x, axis by axis"""
    (x,) = node.inputs
    if x.op != "reverse":
        return None
    once = set(node.attr("axes")) ^ set(x.attr("axes"))
    return make("reverse", x.inputs[0], axes=tuple(sorted(once)))


@rule()
def hoist_broadcast(node: Node) -> Node | None:
    """f(broadcast(x), broadcast(y), c) -> broadcast(f(x, y, c)), for elementwise f"""
    if not node.inputs or not isinstance(node.definition, Elementwise):
        return None
    spread = [x for x in node.inputs if x.op == "broadcast"]
    if not spread or any(x.op != "broadcast" and splat_value(x) is None for x in node.inputs):
        return None
    widest = max(spread, key=lambda x: len(x.attr("axes")))
    axes, shape = widest.attr("axes"), widest.inputs[0].shape
    operands: list[Node] = []
    for x in node.inputs:
        if x.op != "broadcast":
            operands.append(splat(splat_value(x), x.type.with_shape(shape)))
            continue
        if any(axis not in axes for axis in x.attr("axes")):
            return None
        inner = x.inputs[0]
        placed = tuple(axes.index(axis) for axis in x.attr("axes"))
        operands.append(inner if inner.shape == shape else make("broadcast", inner, shape=shape, axes=placed))
    return make("broadcast", make(node.op, *operands, **node.attrs_dict), shape=node.shape, axes=axes)


SPLAT_RULES: tuple[Rule, ...] = (move_splat, concat_splats, pad_splat)
MOVEMENT_RULES: tuple[Rule, ...] = (
    *SPLAT_RULES, move_nothing, reshape_reshape, transpose_transpose, transpose_units, transpose_gather,
    broadcast_broadcast, broadcast_iota, broadcast_inserted, reshape_broadcast,
    transpose_broadcast, slice_everything, slice_slice, slice_broadcast, slice_concat, pad_nothing, concat_one,
    concat_concat, reverse_nothing, reverse_reverse, hoist_broadcast,
)  # fmt: skip
