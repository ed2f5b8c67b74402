"""Dimensions and types as written -> dimensions and types of the graph, with exact integers and checked limits."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.frontend import elsewhere
from graphc.frontend import syntax as s
from graphc.frontend.resolve import ModuleScope
from graphc.frontend.scope import Frame, Precision, Shared, nearest
from graphc.ir.dims import Dim, bounds, divide_exactly, floordiv, symbols, words
from graphc.ir.types import DTYPES, F32, F64, DType, TensorType
from graphc.source import Span

LATER_DTYPES = ("bf16", "f16")


@dataclass(frozen=True, slots=True)
class Declared:
    """A written type: the axes as dimensions, those written `_` flexible (size 1)."""

    type: TensorType
    flexible: tuple[bool, ...]
    axes: tuple[str, ...]  # as written
    note: str  # what the names stand for: "C = 10, D = 784"


def binary_spine(node: s.Binary) -> tuple[s.Expression, list[s.Binary]]:
    """The leftmost operand of a chain of binary operators, and the chain from the inside out."""
    chain = [node]
    while isinstance(chain[-1].left, s.Binary):
        chain.append(chain[-1].left)
    return chain[-1].left, chain[::-1]


def dim_of(shared: Shared, frame: Frame, node: s.Expression) -> Dim | None:
    """The dimension an expression stands for; None after an error."""
    if isinstance(node, s.Binary):
        first, chain = binary_spine(node)
        total = dim_of(shared, frame, first)
        for link in chain:
            right = dim_of(shared, frame, link.right)
            total = None if total is None or right is None else combine(shared, link, total, right)
            if total is not None and not is_short(shared, total, link.span):
                return None
        return total
    match node:
        case s.Number(value=int(value)):
            return value
        case s.DimensionName(name=name):
            return lookup_dim(shared, frame, name, node.span)
        case s.Unary(operator="-", operand=operand):
            inner = dim_of(shared, frame, operand)
            return None if inner is None else -inner
        case s.Number():
            shared.error("GC0301", f"a dimension is an integer, not {node.value}", node.span)
        case s.BroadcastAxis() | s.LeadingAxes():
            shared.error("GC0301", f"`{node.span.text}` has no size", node.span)
        case s.Name(name=name):
            help = "dimensions are Uppercase names and numbers"
            shared.error("GC0301", f"`{name}` is a value, not a dimension", node.span, help=help)
        case _:
            help = "dimensions are made of numbers and Uppercase names with + - * / // %"
            shared.error("GC0301", "this is no dimension", node.span, help=help)
    return None


def lookup_dim(shared: Shared, frame: Frame, name: str, span: Span) -> Dim | None:
    """The value of a dimension's name; None after an error."""
    binding = frame.dims.get(name)
    if binding is not None:
        if binding.dim is None:
            also = [(binding.span, "declared here")]
            shared.error("GC0305", f"the dimension `{name}` is not known here", span, also=also)
        return binding.dim
    from graphc.frontend.functions import FUNCTIONS

    help = nearest(name, frame.dims)
    if not help and len(name) > 1 and (meant := elsewhere.advice(name, FUNCTIONS)):
        help = f"{meant} Uppercase names are dimensions" if meant.endswith("?") else meant
    elif not help and frame.kind == "block":
        help = f"blocks are closed: add {name} to the block's dimensions [...]"
    elif not help:
        help = f"declare it: dim {name}"
    shared.error("GC0102", f"unknown dimension `{name}`", span, help=help)
    return None


def combine(shared: Shared, node: s.Binary, left: Dim, right: Dim) -> Dim | None:
    """left operator right on dimensions; `/` must be exact."""
    match node.operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if node.operator not in ("/", "//", "%"):
        shared.error("GC0301", f"`{node.operator}` does not work on dimensions", node.operator_span)
        return None
    low, high = bounds(right)
    if low <= 0 and (high is None or high <= 0 or isinstance(right, int)):
        shared.error("GC0302", f"division by {right}", node.operator_span, f"{left} {node.operator} {right}")
        return None
    if node.operator == "//":
        return floordiv(left, right)
    if node.operator == "%":
        return left - floordiv(left, right) * right
    exact = divide_exactly(left, right)
    if exact is not None:
        return exact
    if isinstance(left, int) and isinstance(right, int):
        title = f"{left} / {right} is not a whole number"
        shared.error("GC0302", title, node.span, help="// rounds down")
        return None
    return floordiv(left, right)


def dtype_of(shared: Shared, frame: Frame, name: s.Identifier, *, is_param: bool = False) -> DType | None:
    """The element type of a name; `real` is the module's float type."""
    if name.name == "real":
        precision = precision_of(shared, frame.module)
        return precision.params if is_param else precision.compute
    found = DTYPES.get(name.name)
    if found is None and name.name in LATER_DTYPES:
        shared.unsupported(f"the element type {name.name} is", name.span, "GC0903", _instead_of(name.name))
    elif found is None:
        same = elsewhere.DTYPES.get(name.name)
        help = f"write {same}" if same else nearest(name.name, [*DTYPES, "real"])
        help = help or "there are real, " + ", ".join(DTYPES)
        shared.error("GC0104", f"unknown element type `{name.name}`", name.span, help=help)
    return found


def precision_of(shared: Shared, module: ModuleScope) -> Precision:
    """What `real` means in a file: what its `precision` line says, else as in the file that is compiled."""
    if not module.precisions:
        return shared.precision
    settings: dict[str, DType] = {}
    operands = None
    for line in module.precisions:
        for setting in line.settings:
            settings[setting.name.name] = {"f64": F64}.get(setting.dtype.name, F32)
            if (setting.name.name, setting.dtype.name) == ("compute", "bf16"):
                operands = "bf16"
    compute = settings.get("compute", F32)
    return Precision(settings.get("params", compute), compute, operands)


def product_attrs(shared: Shared, frame: Frame, dtype: DType) -> dict[str, str]:
    """What a product of operands of a type is told of them; an optimizer's are never rounded."""
    rounded = precision_of(shared, frame.module).operands
    return {"elements": rounded} if rounded is not None and dtype == F32 and frame.kind != "optimizer" else {}


def check_precision(shared: Shared, module: ModuleScope) -> None:
    """Reports what a file's `precision` lines ask for and cannot have."""
    seen: dict[str, Span] = {}
    compute = precision_of(shared, module).compute
    for line in module.precisions:
        for setting in line.settings:
            name, dtype = setting.name.name, setting.dtype.name
            if name not in ("params", "compute", "accumulate"):
                help = nearest(name, ("params", "compute", "accumulate")) or "there are params, compute, accumulate"
                shared.error("GC0107", f"unknown precision `{name}`", setting.name.span, help=help)
            elif name in seen:
                shared.error("GC0103", f"`{name}` is set twice", setting.span, also=[(seen[name], "first here")])
            elif (name, dtype) == ("compute", "bf16"):
                pass
            elif dtype in LATER_DTYPES:
                shared.unsupported(f"{name} = {dtype} is", setting.dtype.span, "GC0903", _instead_of(dtype))
            elif dtype not in ("f32", "f64"):
                known = "f32, f64 or bf16" if name == "compute" else "f32 or f64"
                shared.error("GC0107", f"{name} is {known}, not {dtype}", setting.dtype.span)
            elif name == "accumulate" and dtype != compute.name:
                written = precision_of(shared, module).operands or compute
                shared.unsupported(f"accumulate = {dtype} with compute = {written} is", setting.span, "GC0903")
            seen.setdefault(name, setting.span)


def _instead_of(dtype: str) -> str:
    if dtype == "bf16":
        return "use f32; `precision compute = bf16` rounds the operands of products"
    return "use f32 or f64"


def declared(shared: Shared, frame: Frame, type: s.Type, *, is_param: bool = False) -> Declared | None:
    """A written type without `...`; None after an error."""
    dtype = dtype_of(shared, frame, type.dtype, is_param=is_param)
    shape: list[Dim | None] = []
    for axis in type.axes:
        if isinstance(axis, s.LeadingAxes):
            shared.error("GC0303", "`...` stands only in the types of a block's arguments and outputs", axis.span)
            shape.append(None)
        else:
            shape.append(1 if isinstance(axis, s.BroadcastAxis) else dim_of(shared, frame, axis))
    known = tuple(dim for dim in shape if dim is not None)
    if dtype is None or len(known) < len(shape):
        return None
    made = TensorType(dtype, known)
    if not check_sizes(shared, made, type):
        return None
    flexible = tuple(isinstance(axis, s.BroadcastAxis) for axis in type.axes)
    return Declared(made, flexible, axis_texts(type), dims_note(frame, type.axes))


def axis_texts(type: s.Type) -> tuple[str, ...]:
    """The axes of a type as they are written."""
    return tuple(axis.span.text for axis in type.axes)


def dims_note(frame: Frame, axes: tuple[s.Expression, ...]) -> str:
    """`C = 10, D = 784` for the dimension names in a type, in order; names that stand for themselves are left out."""
    parts: dict[str, None] = {}
    stack = list(reversed(axes))
    while stack:
        node = stack.pop()
        if isinstance(node, s.DimensionName):
            binding = frame.dims.get(node.name)
            if binding is not None and binding.dim is not None and str(binding.dim) != node.name:
                parts[f"{node.name} = {binding.dim}"] = None
        stack.extend(reversed(node.children()))
    return ", ".join(parts)


def check_sizes(shared: Shared, made: TensorType, where: s.Type) -> bool:
    """Whether every size of a type is within the limits; reports the first that is not."""
    for dim, axis in zip(made.shape, where.axes, strict=False):
        if not check_dim(shared, dim, axis.span):
            return False
    return fits_limits(shared, made, where.span)


def check_dim(shared: Shared, dim: Dim, span: Span) -> bool:
    """A size is at least 1 and below the limit."""
    if not is_short(shared, dim, span):
        return False
    low, high = bounds(dim)
    if high is not None and high < 1:
        shared.error("GC0304", f"a dimension of {dim}", span, "dimensions are at least 1")
        return False
    if low > shared.limits.dimension:
        shared.error("GC0803", f"a dimension of {dim}; the limit is {shared.limits.dimension}", span)
        return False
    return True


def is_short(shared: Shared, dim: Dim, span: Span) -> bool:
    """Whether a dimension is short enough to calculate with; A1 = A * A, A2 = A1 * A1 ... doubles with every line."""
    most = shared.limits.dimension_words
    if isinstance(dim, int):
        is_ok = dim.bit_length() <= 512
        title = f"a dimension beyond 2^512; the limit is {shared.limits.dimension}"
    else:
        is_ok = words(dim, most) <= most
        title = f"a dimension of more than {most} numbers and symbols"
    if not is_ok:
        shared.error("GC0803", title, span)
    return is_ok


def fits_limits(shared: Shared, made: TensorType, span: Span) -> bool:
    """Rank and number of elements are within the limits, at the least sizes of the run-time dimensions."""
    if made.rank > shared.limits.rank:
        shared.error("GC0803", f"a value of {made.rank} axes; the limit is {shared.limits.rank}", span)
        return False
    count = 1
    for dim in made.shape:
        if not is_short(shared, dim, span):
            return False
        least = bounds(dim)[0]
        if least > shared.limits.dimension:
            shared.error("GC0803", f"a dimension of {dim}; the limit is {shared.limits.dimension}", span, str(made))
            return False
        count *= max(least, 1)
    if count > shared.limits.elements:
        title = f"a tensor of at least {count} elements; the limit is {shared.limits.elements}"
        shared.error("GC0803", title, span, str(made))
        return False
    return True


def is_static(dim: Dim) -> bool:
    """Whether a size is known at compile time."""
    return not symbols(dim)
