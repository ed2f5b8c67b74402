"""Solving a block's dimensions from its arguments, and checking what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type
from graphc.frontend.dimension import dim_of, dtype_of, fits_limits
from graphc.frontend.scope import DimBinding, Frame, Shared
from graphc.frontend.static import check_setting, takes_setting
from graphc.frontend.values import POISON, Poison, Tensor, Value
from graphc.ir.dims import Dim, divide_exactly
from graphc.ir.types import TensorType


def unsolved(frame: Frame, node: s.Expression) -> list[str]:
    """The generics in an axis that are not known yet."""
    found: dict[str, None] = {}
    stack = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, s.DimensionName):
            binding = frame.dims.get(one.name)
            if binding is not None and binding.dim is None:
                found[one.name] = None
        stack.extend(one.children())
    return list(found)


def solve_axis(shared: Shared, frame: Frame, node: s.Expression, dim: Dim) -> None:
    """Gives the one unknown generic of an axis its value, if the axis is G, k*G, G*k, G+k, k+G or G-k."""
    while True:
        if isinstance(node, s.DimensionName):
            binding = frame.dims.get(node.name)
            if binding is not None and binding.dim is None:
                frame.dims[node.name] = DimBinding(dim, binding.span)
            return
        if not isinstance(node, s.Binary) or node.operator not in ("*", "+", "-"):
            return
        on_left = bool(unsolved(frame, node.left))
        known, open_side = (node.right, node.left) if on_left else (node.left, node.right)
        if unsolved(frame, known) or (node.operator == "-" and not on_left):
            return
        value = dim_of(shared, frame, known)
        if value is None:
            return
        if node.operator == "*":
            quotient = divide_exactly(dim, value)
            if quotient is None:
                return
            dim = quotient
        else:
            dim = dim - value if node.operator == "+" else dim + value
        node = open_side


def solve_argument(shared: Shared, frame: Frame, parameter: s.Parameter, value: Value) -> None:
    """Learns dimensions (and the axes `...` stands for) from one argument."""
    if not isinstance(value, Tensor):
        return
    axes = parameter.type.axes
    start = _leading(axes)
    if start is not None:
        behind = len(axes) - start - 1
        if value.rank < start + behind:
            return
        if frame.leading is None:
            frame.leading = value.shape[start : value.rank - behind]
        middle: list[s.Expression | None] = [None] * (value.rank - start - behind)
        pattern: list[s.Expression | None] = [*axes[:start], *middle, *axes[start + 1 :]]
    else:
        pattern = list(axes)
    if len(pattern) != value.rank:
        return
    for axis, dim, free in zip(pattern, value.shape, value.flexible, strict=True):
        if axis is not None and not isinstance(axis, s.BroadcastAxis) and not free and unsolved(frame, axis):
            solve_axis(shared, frame, axis, dim)


def _leading(axes: tuple[s.Expression, ...]) -> int | None:
    return next((i for i, axis in enumerate(axes) if isinstance(axis, s.LeadingAxes)), None)


def expected(shared: Shared, frame: Frame, type: s.Type) -> tuple[TensorType, tuple[bool, ...]] | None:
    """A type of a signature with everything solved; None after an error."""
    dtype = dtype_of(shared, frame, type.dtype)
    shape: list[Dim] = []
    flexible: list[bool] = []
    for axis in type.axes:
        if isinstance(axis, s.LeadingAxes):
            if frame.leading is None:
                shared.error("GC0305", "nothing says which axes `...` stands for", axis.span)
                return None
            shape.extend(frame.leading)
            flexible.extend([False] * len(frame.leading))
            continue
        dim = 1 if isinstance(axis, s.BroadcastAxis) else dim_of(shared, frame, axis)
        if dim is None:
            return None
        shape.append(dim)
        flexible.append(isinstance(axis, s.BroadcastAxis))
    if dtype is None:
        return None
    made = TensorType(dtype, tuple(shape))
    return (made, tuple(flexible)) if fits_limits(shared, made, type.span) else None


def check_argument(shared: Shared, frame: Frame, parameter: s.Parameter, given: Operand, block: str) -> Value:
    """An argument as its parameter's type: as a declaration would take it, but nothing broadcasts except scalars."""
    if takes_setting(parameter):
        return check_setting(shared, given, parameter, block)
    wanted = expected(shared, frame, parameter.type)
    if wanted is None:
        return POISON
    type, flexible = wanted
    value = given.value
    if isinstance(value, Tensor) and value.dtype == type.dtype and value.rank == type.rank:
        differs = [i for i in range(type.rank) if value.shape[i] != type.shape[i]]
        if not differs:
            return Tensor(value.node, tuple(a or b for a, b in zip(flexible, value.flexible, strict=True)))
    if isinstance(value, Tensor) and any(value.flexible) and value.rank == type.rank:
        flexible = tuple(a or b for a, b in zip(flexible, value.flexible, strict=True))
    what = f"`{parameter.name.name}` of `{block}`"
    return as_type(shared, given, type, flexible, parameter.type.span, what)


def check_solved(shared: Shared, frame: Frame, block: s.Block, arguments: Mapping[str, Operand], call: s.Call) -> bool:
    """Every generic has a value, but for those that the body makes; names the first that has none.

    Where an argument has another number of axes than its parameter, that is the reason.
    """
    made = _made_by_body(frame, block)
    for generic in block.generics:
        binding = frame.dims[generic.name]
        if binding.dim is None and generic.name not in made:
            if _other_rank(shared, frame, block, arguments):
                return False
            help = f"give it at the declaration: {block.name.name}[{generic.name}=...]"
            title = f"the dimension `{generic.name}` of `{block.name.name}` does not follow from the arguments"
            shared.error("GC0305", title, call.span, help=help, also=[(generic.span, "declared here")])
            return False
    return True


def _other_rank(shared: Shared, frame: Frame, block: s.Block, arguments: Mapping[str, Operand]) -> bool:
    """Whether an argument's number of axes left sizes unsolved: that is reported."""
    for parameter in block.parameters:
        given, axes = arguments.get(parameter.name.name), parameter.type.axes
        value = given.value if given is not None else None
        if given is None or not isinstance(value, Tensor) or not any(unsolved(frame, axis) for axis in axes):
            continue
        least = len(axes) - (_leading(axes) is not None)
        if value.rank < least or (value.rank > least and least == len(axes)):
            wanted = parameter.type.span.text
            title = f"`{parameter.name.name}` of `{block.name.name}` is {wanted}, not {value}"
            has = f"a rank of {value.rank}, not {least}" + (" or more" if least < len(axes) else "")
            also = [(parameter.type.span, "declared here"), *given.origins()]
            missing = ", ".join([*map(str, value.shape), "1"])
            help = f"an axis of size 1 is added by reshape(x, [{missing}])" if value.rank == least - 1 else ""
            shared.error("GC0204", title, given.span, has, help=help, also=also)
            return True
    return False


def _made_by_body(frame: Frame, block: s.Block) -> list[str]:
    """The unknown generics that stand in types of outputs, and in no type that the body declares."""
    declared = [one for one in block.body if isinstance(one, s.ParamTensor | s.State)]
    needed = [name for one in declared for axis in one.type.axes for name in unsolved(frame, axis)]
    made = [name for output in block.outputs for axis in output.type.axes for name in unsolved(frame, axis)]
    return [name for name in made if name not in needed]


def finish(shared: Shared, frame: Frame, block: s.Block) -> list[Value]:
    """The outputs of a body, each of its declared type."""
    results: list[Value] = []
    for output in block.outputs:
        binding = frame.names.get(output.name.name)
        if binding is None:
            title = f"the output `{output.name.name}` of `{block.name.name}` is never assigned"
            shared.error("GC0408", title, output.name.span)
            results.append(POISON)
            continue
        if isinstance(binding.value, Poison):
            results.append(POISON)
            continue
        solve_argument(shared, frame, output, binding.value)
        wanted = expected(shared, frame, output.type)
        if wanted is None:
            results.append(POISON)
            continue
        given = Operand(binding.value, binding.span)
        what = f"the output `{output.name.name}`"
        results.append(as_type(shared, given, wanted[0], wanted[1], output.type.span, what))
    return results
