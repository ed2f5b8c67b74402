"""Run-time dimensions: solved from the shapes of the inputs, checked against bounds and requirements.

Each axis of an input gives one equation `expression = size`. Equations with a single unknown in which it is linear are
solved (over the integers), the others checked once all is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.runtime.buffers import describe
from graphc.runtime.dimexpr import Expr, evaluate, linear, show, symbols
from graphc.runtime.errors import InputShapeError
from graphc.runtime.signature import Leaf, Signature

Shape = tuple[int, ...]


def solve(signature: Signature, leaves: Sequence[Leaf], shapes: Sequence[Shape]) -> dict[str, int]:
    """The value of every run-time symbol, in the signature's order; `InputShapeError` when the shapes do not fit.

    A symbol that no leaf mentions gets its lower bound: nothing that is computed depends on it.
    """
    found: dict[str, tuple[int, str]] = {}  # symbol -> value, the input that gave it
    pending: list[tuple[Leaf, Shape, int]] = []
    for leaf, shape in zip(leaves, shapes, strict=True):
        if len(shape) != len(leaf.shape):
            raise InputShapeError(
                f"`{leaf.name}` has shape {shape}, rank {len(shape)}; "
                f"it should be {describe(leaf)}, rank {len(leaf.shape)}{_axis_hint(leaf, shape)}"
            )
        pending += [(leaf, shape, axis) for axis in range(len(shape))]
    progress = True
    while progress and pending:
        before = len(pending)
        pending = [item for item in pending if not _settle(item, found)]
        progress = len(pending) < before
    if pending:
        leaf, shape, axis = pending[0]
        raise InputShapeError(f"`{leaf.name}`: {show(leaf.shape[axis])} = {shape[axis]} does not determine its sizes")
    dims = {dim.name: found[dim.name][0] if dim.name in found else max(dim.lo, 1) for dim in signature.dims}
    _check_bounds(signature, dims, found)
    return dims


def _axis_hint(leaf: Leaf, shape: Shape) -> str:
    """How to add or drop the one axis by which a shape differs, if that is what is wrong."""
    wanted = leaf.shape
    if wanted and shape == wanted[1:]:
        return f": {leaf.name}[None] is one row"
    if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        return f": {leaf.name}[..., None] has the last axis"
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        return f": {leaf.name}[..., 0] is without the last axis"
    return ""


def _settle(item: tuple[Leaf, Shape, int], found: dict[str, tuple[int, str]]) -> bool:
    """Check or solve one equation; False if it has to wait for others."""
    leaf, shape, axis = item
    expr, size = leaf.shape[axis], shape[axis]
    known = {name: value for name, (value, _) in found.items()}
    unknown = [name for name in symbols(expr) if name not in known]
    if not unknown:
        value = evaluate(expr, known)
        if value != size:
            raise InputShapeError(_mismatch(leaf, shape, axis, value, found))
        return True
    form = linear(expr, unknown[0], known) if len(unknown) == 1 else None
    if form is None or form[0] == 0:
        return False
    slope, offset = form
    value, rest = divmod(size - offset, slope)
    if rest:
        raise InputShapeError(
            f"`{leaf.name}` has shape {shape}; it should be {describe(leaf)}: "
            f"axis {axis} is {size}, which no whole {unknown[0]} gives"
        )
    found[unknown[0]] = value, leaf.name
    return True


def _mismatch(leaf: Leaf, shape: Shape, axis: int, value: int, found: dict[str, tuple[int, str]]) -> str:
    """What it is, what it should be, and where the solved sizes came from."""
    expr: Expr = leaf.shape[axis]
    text = f"`{leaf.name}` has shape {shape}; it should be {describe(leaf)}: "
    if isinstance(expr, str):
        return text + f"{expr} = {found[expr][0]} from {found[expr][1]}, {shape[axis]} from {leaf.name}"
    solved = ", ".join(f"{name} = {found[name][0]} from {found[name][1]}" for name in symbols(expr))
    return text + f"axis {axis} is {shape[axis]}, not {value}" + (f" ({solved})" if solved else "")


def _check_bounds(signature: Signature, dims: dict[str, int], found: dict[str, tuple[int, str]]) -> None:
    for dim in signature.dims:
        if dim.name in found and not (dim.lo <= dims[dim.name] and (dim.hi is None or dims[dim.name] <= dim.hi)):
            bounds = f"at least {dim.lo}" if dim.hi is None else f"from {dim.lo} to {dim.hi}"
            value, source = found[dim.name]
            raise InputShapeError(f"{dim.name} = {value} from {source}; it must be {bounds}")
    for need in signature.requires:
        if all(name in found for name in symbols(need.expr)) and not evaluate(need.expr, dims):
            solved = ", ".join(f"{name} = {dims[name]}" for name in symbols(need.expr))
            raise InputShapeError(f"{need.message} ({show(need.expr)} does not hold for {solved})")
