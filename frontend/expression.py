"""Expressions -> values. Chains that lean left are walked with a loop, everything else recurses within a bound."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import OPERATORS, Operand, elementwise, to_tensor
from graphc.frontend.dimension import binary_spine, fits_limits, lookup_dim, precision_of
from graphc.frontend.elsewhere import advice, conversion, is_library
from graphc.frontend.literal import fold, fold_unary
from graphc.frontend.matmul import matmul
from graphc.frontend.scope import Binding, Frame, Shared, nearest
from graphc.frontend.values import (
    POISON,
    BlockValue,
    Function,
    Instance,
    InstanceArray,
    Literal,
    Many,
    ModuleValue,
    Poison,
    Size,
    Tensor,
    Value,
    Word,
    describe,
)
from graphc.ir.node import Node
from graphc.ir.types import DType
from graphc.source import Span

LITERAL_NAMES: dict[str, Literal] = {
    "inf": Literal(float("inf")),
    "nan": Literal(float("nan")),
    "true": Literal(True),
    "false": Literal(False),
}


def real_of(shared: Shared, frame: Frame) -> DType:
    """The type of a decimal that meets no other operand here."""
    return frame.element or precision_of(shared, frame.module).compute


def evaluate(shared: Shared, frame: Frame, node: s.Expression) -> Value:
    """The value of an expression; errors are reported, and poison stands for what they leave."""
    shared.count(node.span)
    shared.enter(node.span)
    value = _evaluate(shared, frame, node)
    shared.leave()
    if isinstance(value, Tensor):
        _place(shared, frame, value.node, node.span)
        if value.node.type not in shared.sizes:
            shared.sizes[value.node.type] = fits_limits(shared, value.node.type, node.span)
        if not shared.sizes[value.node.type]:
            return POISON
    return value


def _place(shared: Shared, frame: Frame, node: Node, span: Span) -> None:
    """Where a node comes from: its first place, but for what a library's block gives a model the model's own line."""
    before = shared.spans.setdefault(node, span)
    if frame.kind in ("model", "train") and before.source is not span.source:
        shared.spans[node] = span


def _evaluate(shared: Shared, frame: Frame, node: s.Expression) -> Value:
    match node:
        case s.Number(value=number):
            return Literal(number)
        case s.Name(name=name):
            return lookup(shared, frame, name, node.span)
        case s.DimensionName(name=name):
            dim = lookup_dim(shared, frame, name, node.span)
            return POISON if dim is None else Size(dim)
        case s.Binary():
            return _binary(shared, frame, node)
        case s.Unary():
            return _unary(shared, frame, node)
        case s.Pipe():
            return _pipe(shared, frame, node)
        case s.Call():
            return call(shared, frame, node, None, node.span)
        case s.Subscript():
            from graphc.frontend.subscript import subscript

            return subscript(shared, frame, node)
        case s.Attribute():
            return _attribute(shared, frame, node)
        case s.Einsum():
            from graphc.frontend.einsum import einsum

            return einsum(shared, frame, node)
        case s.Text(value=text):
            return Word(text)
        case s.Sequence(items=items):
            return Many(tuple(evaluate(shared, frame, item) for item in items))
    return shared.error("GC0206", f"`{node.span.text[:20]}` is no value here", node.span)


def operand(shared: Shared, frame: Frame, node: s.Expression) -> Operand:
    """An expression's value with what messages say about it."""
    value = evaluate(shared, frame, node)
    if isinstance(node, s.Name):
        return named_operand(frame, node.name, value, node.span)
    return Operand(value, node.span)


def named_operand(frame: Frame, name: str, value: Value, span: Span) -> Operand:
    """The operand of a name: with the place of its declared type, and what its dimensions are."""
    binding = frame.names.get(name)
    if binding is None or binding.type_span is None:
        return Operand(value, span, name)
    return Operand(value, span, name, binding.type_span, origin_text(frame, name, binding))


def origin_text(frame: Frame, name: str, binding: Binding) -> str:
    """`w is f32[10, 784]  (C = 10, D = 784)`."""
    notes = []
    if isinstance(binding.value, Tensor):
        for text, dim in zip(binding.axes, binding.value.shape, strict=False):
            if text[:1].isupper() and str(dim) != text:
                notes.append(f"{text} = {dim}")
    note = f"  ({', '.join(dict.fromkeys(notes))})" if notes else ""
    return f"{name} is {describe(binding.value)}{note}"


def lookup(shared: Shared, frame: Frame, name: str, span: Span) -> Value:
    """The meaning of a lowercase name."""
    binding = frame.names.get(name)
    if binding is not None:
        return binding.value
    if name in LITERAL_NAMES:
        return LITERAL_NAMES[name]
    found = frame.module.find(name)
    if found is not None:
        declaration, module = found
        if isinstance(declaration, s.Block):
            return BlockValue(declaration, module)
        if isinstance(declaration, s.Constant):
            from graphc.frontend.constant import constant_value

            return constant_value(shared, declaration, module)
        return shared.error("GC0206", f"`{name}` is an optimizer, not a value", span)
    if name in frame.module.modules:
        return ModuleValue(frame.module.modules[name])
    if name in frame.module.broken:
        return POISON
    from graphc.frontend.functions import FUNCTIONS, LATER

    if name in FUNCTIONS:
        return Function(name)
    if name in LATER:
        return shared.unsupported(f"`{name}` is", span, "GC0902")
    if name == "step" and frame.kind in ("model", "block"):
        help = "`step` exists in train sections and optimizers"
        return shared.error("GC0101", "`step` has no value here", span, help=help)
    if frame.scan is not None and name in frame.scan.emitted:
        title = f"`{name}` has no value inside of the scan that emits it"
        return shared.error("GC0101", title, span, help="an emit is collected; to take a value on, carry it")
    if name in frame.ended:
        also = [(frame.ended[name], "one value for each step of the scan")]
        help = "to have the last value afterwards, carry it; to have all of them, emit it"
        return shared.error("GC0101", f"`{name}` has no value behind its scan", span, help=help, also=also)
    known = [*frame.names, *frame.module.names(), *FUNCTIONS]
    help = conversion(name) or nearest(name, known) or advice(name, FUNCTIONS)
    return shared.error("GC0101", f"unknown name `{name}`", span, help=help)


def _binary(shared: Shared, frame: Frame, node: s.Binary) -> Value:
    first, chain = binary_spine(node)
    left = operand(shared, frame, first)
    for link in chain:
        shared.count(link.span)
        right = operand(shared, frame, link.right)
        span = node.span.source.span(node.span.start, link.right.span.end) if link is not node else node.span
        value = apply(shared, frame, link, left, right, span)
        if isinstance(value, Tensor):
            shared.spans.setdefault(value.node, span)
        left = Operand(value, span)
    return left.value


def apply(shared: Shared, frame: Frame, link: s.Binary, left: Operand, right: Operand, span: Span) -> Value:
    """One operator on two operands."""
    real = real_of(shared, frame)
    if isinstance(left.value, Poison) or isinstance(right.value, Poison):
        return POISON
    if link.operator == "@":
        return matmul(shared, frame, left, right, span, link.operator_span, real)
    for side in (left, right):
        if not isinstance(side.value, Tensor | Literal | Size):
            title = f"`{link.operator}` needs values, found {describe(side.value)}"
            return shared.error("GC0206", title, side.span)
    if not isinstance(left.value, Tensor) and not isinstance(right.value, Tensor):
        folded = fold(shared, link, left.value, right.value, real)
        if folded is not None:
            return folded
    what = f"`{link.operator}`"
    return elementwise(shared, OPERATORS[link.operator], (left, right), real, span, what, link.operator_span)


def _unary(shared: Shared, frame: Frame, node: s.Unary) -> Value:
    inner = operand(shared, frame, node.operand)
    folded = fold_unary(node.operator, inner.value)
    if folded is not None:
        return folded
    op = "not" if node.operator == "not" else "neg"
    return elementwise(shared, op, (inner,), real_of(shared, frame), node.span, f"`{node.operator}`")


def _pipe(shared: Shared, frame: Frame, node: s.Pipe) -> Value:
    chain = [node]
    while isinstance(chain[-1].left, s.Pipe):
        chain.append(chain[-1].left)
    left = operand(shared, frame, chain[-1].left)
    for link in reversed(chain):
        shared.count(link.span)
        right = link.right
        if isinstance(right, s.Name | s.Attribute):
            right = s.Call(right.span, right, ())
        if not isinstance(right, s.Call):
            help = "write x |> f or x |> f(a=1)"
            return shared.error("GC0401", "the right side of `|>` must be a function or a call", right.span, help=help)
        left = Operand(call(shared, frame, right, left, link.right.span), link.span)
        if isinstance(left.value, Tensor):
            _place(shared, frame, left.value.node, link.right.span)
    return left.value


def call(shared: Shared, frame: Frame, node: s.Call, piped: Operand | None, span: Span) -> Value:
    """A call of a function, block or instance; `piped` is what `|>` puts before the arguments."""
    if isinstance(node.function, s.Name) and node.function.name == "d" and frame.cotangents is not None:
        return _cotangent(shared, frame, node)
    function = evaluate(shared, frame, node.function)
    match function:
        case Poison():
            for argument in node.arguments:
                if not isinstance(argument.value, s.Name):
                    evaluate(shared, frame, argument.value)
            return POISON
        case Function(name=name):
            from graphc.frontend.call import call_function

            return call_function(shared, frame, name, node, piped, span)
        case BlockValue() | Instance():
            return shared.call_block(shared, frame, function, node, piped, span)
        case InstanceArray():
            help = "for one in layers: x = one(x)"
            return shared.error("GC0401", "an array of instances is called one by one", node.function.span, help=help)
    return shared.error("GC0401", f"{describe(function)} cannot be called", node.function.span)


def _cotangent(shared: Shared, frame: Frame, node: s.Call) -> Value:
    assert frame.cotangents is not None
    argument = node.arguments[0].value if len(node.arguments) == 1 else None
    if not isinstance(argument, s.Name) or argument.name not in frame.cotangents:
        names = ", ".join(frame.cotangents)
        return shared.error("GC0601", "d(...) takes the name of an output", node.span, help=f"outputs: {names}")
    return frame.cotangents[argument.name]


def _attribute(shared: Shared, frame: Frame, node: s.Attribute) -> Value:
    name = node.name.name
    if isinstance(node.base, s.Name | s.DimensionName) and _is_foreign(frame, node.base.name):
        help = _instead(name, "functions have bare names: relu(x)")
        return shared.error("GC0101", f"unknown name `{node.base.name}`", node.base.span, help=help)
    base = evaluate(shared, frame, node.base)
    match base:
        case Poison():
            return POISON
        case ModuleValue(module=module):
            return _module_attribute(shared, module.find(name), base, node)
        case InstanceArray(items=items):
            if name.isdigit() and int(name[:9]) < len(items):
                return items[int(name)]
            return shared.error("GC0101", f"no instance {name}: there are {len(items)}", node.name.span)
        case Instance():
            return _member(shared, base, node)
    return shared.error("GC0101", f"{describe(base)} has no `{name}`", node.name.span, help=_instead(name, ""))


def _instead(name: str, otherwise: str) -> str:
    """What to write for a method or a library's function of that name."""
    from graphc.frontend.functions import FUNCTIONS

    return f"write {name}(x)" if name in FUNCTIONS else advice(name, FUNCTIONS) or otherwise


def _is_foreign(frame: Frame, name: str) -> bool:
    """Whether a name that means nothing here is that of another tool's library."""
    means = name in frame.names or name in frame.dims or name in frame.module.modules or name in frame.module.broken
    return is_library(name) and not means and frame.module.find(name) is None


def _module_attribute(shared: Shared, found: object, base: ModuleValue, node: s.Attribute) -> Value:
    if not isinstance(found, tuple):
        help = nearest(node.name.name, base.module.declarations)
        return shared.error("GC0105", f"{base.module.source.name} has no `{node.name.name}`", node.name.span, help=help)
    declaration, module = found
    if isinstance(declaration, s.Block):
        return BlockValue(declaration, module)
    if isinstance(declaration, s.Constant):
        from graphc.frontend.constant import constant_value

        return constant_value(shared, declaration, module)
    return shared.error("GC0206", f"`{node.name.name}` is an optimizer, not a value", node.name.span)


def _member(shared: Shared, base: Instance, node: s.Attribute) -> Value:
    name = node.name.name
    if name in base.members:
        return base.members[name]
    if not base.is_called:
        title = f"the sizes of `{base.path}.{name}` are not known before `{base.path}` is called"
        return shared.error("GC0305", title, node.span, also=[(base.span, "declared here")])
    help = nearest(name, base.members) or "parameters: " + ", ".join(base.members)
    return shared.error("GC0101", f"`{base.path}` has no parameter `{name}`", node.name.span, help=help)


def as_tensor(shared: Shared, frame: Frame, value: Value, span: Span) -> Tensor | Poison:
    """A value as a tensor of its own or a default type."""
    return to_tensor(shared, value, real_of(shared, frame), span)
