"""Calls of built-in functions: arguments are bound to the function's parameters, then its handler reads them.

A parameter list is written `x, axis=, keep=`: an equals sign marks an optional one, a star one that takes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, build, elementwise
from graphc.frontend.dimension import dim_of, dtype_of
from graphc.frontend.expression import as_tensor, evaluate, operand, real_of
from graphc.frontend.literal import _static
from graphc.frontend.scope import Frame, Shared, nearest, number_of_arguments
from graphc.frontend.values import POISON, Literal, Many, Poison, Size, Tensor, Value, describe
from graphc.ir.dims import Dim
from graphc.ir.node import Node
from graphc.ir.types import DType
from graphc.source import Span


class Wrong(Exception):
    """An argument was wrong and has been reported; the call is poison."""


@dataclass(slots=True)
class Site:
    """One call: its arguments by parameter name, read in the form the handler wants. Readers raise `Wrong`."""

    shared: Shared
    frame: Frame
    name: str
    span: Span
    mark: Span
    arguments: dict[str, Operand | s.Expression]
    rest: list[Operand | s.Expression] = field(default_factory=list)

    @property
    def real(self) -> DType:
        return real_of(self.shared, self.frame)

    def error(self, code: str, title: str, span: Span | None = None, text: str = "", help: str = "") -> Poison:
        return self.shared.error(code, title, span or self.span, text, help=help)

    def has(self, name: str) -> bool:
        """Whether an optional argument was given."""
        return name in self.arguments

    def where(self, name: str) -> Span:
        """Where an argument is written; the call, if it is not."""
        given = self.arguments.get(name)
        return self.span if given is None else given.span

    def operand(self, name: str) -> Operand:
        """An argument with what messages say about it."""
        given = self.arguments[name]
        if not isinstance(given, Operand):
            given = operand(self.shared, self.frame, given)
            self.arguments[name] = given
        if isinstance(given.value, Poison):
            raise Wrong
        return given

    def value(self, name: str) -> Value:
        return self.operand(name).value

    def others(self) -> list[Operand]:
        """The arguments of a starred parameter."""
        made = [one if isinstance(one, Operand) else operand(self.shared, self.frame, one) for one in self.rest]
        if any(isinstance(one.value, Poison) for one in made):
            raise Wrong
        return made

    def tensor(self, name: str, kinds: str = "") -> Tensor:
        """An argument as a tensor, of the element kinds f, i, u, b if given."""
        given = self.operand(name)
        value = given.value
        if isinstance(value, Literal | Size) and kinds == "f" and not isinstance(getattr(value, "value", 0), bool):
            from graphc.frontend.arithmetic import literal_as

            made: Tensor | Poison = literal_as(self.shared, value, self.real, given.span)
        else:
            made = as_tensor(self.shared, self.frame, value, given.span)
        if isinstance(made, Poison):
            raise Wrong
        if kinds and made.dtype.kind not in kinds:
            wanted = {"f": "floats", "iu": "integers", "fiu": "numbers", "b": "truth values"}.get(kinds, "other types")
            help = "convert it with cast" if "f" in kinds else ""
            also = given.origins()
            self.shared.error(
                "GC0202", f"`{self.name}` works on {wanted}, not {made}", given.span, str(made), help=help, also=also
            )
            raise Wrong
        return made

    def number(self, name: str, default: float | int | None = None) -> float | int:
        """A number known at compile time."""
        if name not in self.arguments and default is not None:
            return default
        number = _static(self.value(name))
        if number is None or isinstance(number, bool):
            self.fail(name, "must be a number known at compile time")
            raise Wrong
        return number

    def integer(self, name: str, default: int | None = None, low: int = -(1 << 31), high: int = (1 << 31) - 1) -> int:
        """An integer known at compile time, within bounds."""
        number = self.number(name, default)
        if not isinstance(number, int):
            self.fail(name, "must be an integer")
            raise Wrong
        if not low <= number <= high:
            self.fail(name, f"must be from {low} to {high}, not {number}")
            raise Wrong
        return number

    def fail(self, name: str, what: str) -> None:
        """Reports that an argument is wrong."""
        self.error("GC0405", f"`{name}` of `{self.name}` {what}", self.where(name))

    def word(self, name: str, choices: Sequence[str], default: str) -> str:
        """A word out of a fixed list, written bare."""
        given = self.arguments.get(name)
        if given is None:
            return default
        text = given.name if isinstance(given, s.Name) else given.value if isinstance(given, s.Text) else ""
        if text not in choices:
            help = nearest(text, choices) or "there are " + ", ".join(choices)
            self.error("GC0405", f"`{name}` of `{self.name}` is one of {', '.join(choices)}", given.span, help=help)
            raise Wrong
        return text

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        if name not in self.arguments:
            return default
        value = self.value(name)
        if not isinstance(value, Literal) or not isinstance(value.value, bool):
            self.fail(name, "is true or false")
            raise Wrong
        return value.value

    def dtype(self, name: str) -> DType:
        """An element type written as a word."""
        given = self.arguments[name]
        if not isinstance(given, s.Name):
            self.fail(name, "must be an element type such as f32")
            raise Wrong
        found = dtype_of(self.shared, self.frame, s.Identifier(given.span, given.name))
        if found is None:
            raise Wrong
        return found

    def dim(self, name: str) -> Dim:
        """A dimension expression."""
        given = self.arguments[name]
        if isinstance(given, Operand):
            self.fail(name, "must be a dimension")
            raise Wrong
        found = dim_of(self.shared, self.frame, given)
        if found is None:
            raise Wrong
        return found

    def dims(self, name: str) -> list[Dim]:
        """A list of dimensions; -1 is left as it is."""
        given = self.arguments[name]
        if not isinstance(given, s.Sequence):
            self.fail(name, "must be a list such as [B, 4*H]")
            raise Wrong
        found = [dim_of(self.shared, self.frame, item) for item in given.items]
        if any(dim is None for dim in found):
            raise Wrong
        return [dim for dim in found if dim is not None]

    def axis(self, name: str, x: Operand, default: int | None = None) -> int:
        """One axis of x, by dimension or number, counted from 0."""
        if name not in self.arguments and default is not None:
            value = x.value
            assert isinstance(value, Tensor)
            if not -value.rank <= default < value.rank:
                self.error("GC0306", f"`{self.name}` needs an axis, and {value} has none", x.span)
                raise Wrong
            return default % value.rank
        given = self.arguments[name]
        if isinstance(given, Operand):
            self.fail(name, "must be a dimension or a number")
            raise Wrong
        return self._axis(given, x)

    def axes(self, name: str, x: Operand) -> tuple[int, ...]:
        """Several axes, ascending; all of them if the argument is absent."""
        value = x.value
        assert isinstance(value, Tensor)
        given = self.arguments.get(name)
        if given is None:
            return tuple(range(value.rank))
        items = list(given.items) if isinstance(given, s.Sequence) else [given]
        found = [self._axis(item, x) for item in items if isinstance(item, s.Expression)]
        if len(found) < len(items):
            self.fail(name, "must be dimensions or numbers")
            raise Wrong
        if len(set(found)) < len(found):
            self.error("GC0306", "an axis is named twice", given.span)
            raise Wrong
        return tuple(sorted(found))

    def _axis(self, node: s.Expression, x: Operand) -> int:
        value = x.value
        assert isinstance(value, Tensor)
        if isinstance(node, s.DimensionName):
            return self._axis_by_name(node, x, value)
        found = evaluate(self.shared, self.frame, node)
        if isinstance(found, Poison):
            raise Wrong
        number = _static(found)
        if not isinstance(number, int) or isinstance(number, bool):
            self.error("GC0306", "an axis is a dimension's name or an integer", node.span)
            raise Wrong
        if not -value.rank <= number < value.rank:
            title = f"axis {number} is out of range for {value}"
            self.shared.error("GC0306", title, node.span, also=[(x.span, str(value)), *x.origins()])
            raise Wrong
        return number % value.rank

    def _axis_by_name(self, node: s.DimensionName, x: Operand, value: Tensor) -> int:
        dim = dim_of(self.shared, self.frame, node)
        if dim is None:
            raise Wrong
        places = [i for i, size in enumerate(value.shape) if size == dim and not value.flexible[i]]
        if len(places) > 1 and x.origin is not None:
            axes = [part.strip() for part in x.origin.text.partition("[")[2].removesuffix("]").split(",")]
            if len(axes) == value.rank and axes.count(node.name) == 1:
                places = [axes.index(node.name)]
        if len(places) == 1:
            return places[0]
        title = f"{value} has no axis {node.name} = {dim}" if not places else f"{value} has several axes of size {dim}"
        help = "" if not places else "name the axis by its number"
        also = [(x.span, str(value)), *x.origins()]
        self.shared.error("GC0306", title, node.span, help=help, also=also)
        raise Wrong

    def make(self, op: str, *nodes: Node, **attrs: object) -> Tensor:
        """A node of an op; its complaint becomes an error at the call."""
        result = build(self.shared, op, self._known(), nodes, self.span, **attrs)
        if not isinstance(result, Tensor):
            raise Wrong
        return result

    def _known(self) -> list[Operand]:
        return [one for one in self.arguments.values() if isinstance(one, Operand)]

    def combine(self, op: str, *names: str) -> Value:
        """An elementwise op on arguments, broadcast to one another."""
        operands = [self.operand(name) for name in names]
        return elementwise(self.shared, op, operands, self.real, self.span, f"`{self.name}`")


def call_function(shared: Shared, frame: Frame, name: str, node: s.Call, piped: Operand | None, span: Span) -> Value:
    """A call of the built-in function `name`."""
    from graphc.frontend.functions import FUNCTIONS

    function = FUNCTIONS[name]
    site = Site(shared, frame, name, span, node.function.span, {})
    if not _bind(site, function.parameters, node, piped):
        return POISON
    try:
        return function.run(site)
    except Wrong:
        return POISON


def _bind(site: Site, parameters: Sequence[str], node: s.Call, piped: Operand | None) -> bool:
    """Fills `site.arguments`; False after an error."""
    names = [parameter.rstrip("=*") for parameter in parameters]
    shown = f"{site.name}({', '.join(parameter.rstrip('*') for parameter in parameters)})"
    positional: list[Operand | s.Expression] = [] if piped is None else [piped]
    positional.extend(argument.value for argument in node.arguments if argument.name is None)
    fine = True
    fixed = [name for name, parameter in zip(names, parameters, strict=True) if not parameter.endswith("*")]
    starred = len(fixed) < len(names)
    if starred:
        site.rest = positional
    else:
        site.arguments.update(zip(fixed, positional, strict=False))
        if len(positional) > len(fixed):
            extra = positional[len(fixed)]
            site.error(
                "GC0402",
                f"`{site.name}` takes {number_of_arguments(len(fixed))}, not {len(positional)}",
                extra.span,
                help=shown,
            )
            fine = False
    for argument in node.arguments:
        if argument.name is None:
            continue
        key = argument.name.name
        if key not in fixed:
            help = nearest(key, fixed) or shown
            site.error("GC0403", f"`{site.name}` has no argument `{key}`", argument.name.span, help=help)
            fine = False
        elif key in site.arguments:
            site.error("GC0404", f"`{key}` is given twice", argument.span)
            fine = False
        else:
            site.arguments[key] = argument.value
    for parameter in parameters:
        if not parameter.endswith(("=", "*")) and parameter not in site.arguments and fine:
            site.error("GC0402", f"`{site.name}` needs `{parameter}`", site.span, help=shown)
            return False
    if starred and not site.rest and fine:
        site.error("GC0402", f"`{site.name}` needs an argument", site.span, help=shown)
        return False
    return fine


def many(value: Value) -> tuple[Value, ...]:
    """The items of a list."""
    return value.items if isinstance(value, Many) else (value,)


__all__ = ["Site", "Wrong", "call_function", "describe", "many"]
