"""Names while elaborating: a frame per block call, bindings with their origin, and the state all frames share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend.limits import Limits
from graphc.frontend.sites import Sites
from graphc.frontend.values import POISON, Poison, Value
from graphc.ir.dims import Dim
from graphc.ir.node import Node
from graphc.ir.types import F32, DType, TensorType
from graphc.program import Requirement, Variable
from graphc.source import Span

if TYPE_CHECKING:
    from graphc.frontend import syntax as s
    from graphc.frontend.resolve import ModuleScope


class Stop(Exception):
    """A limit has been reported: the rest of the file is not looked at."""


@dataclass(slots=True)
class Binding:
    """A value under a name, where it was declared, and the axes as they were written (for messages and `axis=`)."""

    value: Value
    span: Span
    type_span: Span | None = None
    axes: tuple[str, ...] = ()


@dataclass(slots=True)
class DimBinding:
    """A dimension under a name; `dim` None: a generic that is not solved yet."""

    dim: Dim | None
    span: Span


@dataclass(slots=True, eq=False)
class Carried:
    """A carry: its declaration, the leaf that stands for it in the body, and the value it starts with."""

    declaration: s.Carry
    leaf: Node
    initial: Node
    flexible: tuple[bool, ...]
    axes: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Emitted:
    """An emit: its declaration, the value of one step, and the place of the scan's axis in the declared type."""

    declaration: s.Emit
    node: Node
    place: int
    flexible: tuple[bool, ...]
    axes: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Recurrence:
    """A scan whose body is being elaborated; `outer` is the frame around it."""

    statement: s.Scan
    number: int
    length: Dim
    outer: Frame
    emitted: tuple[str, ...]  # the names that the body emits, as written
    carries: dict[str, Carried] = field(default_factory=dict)
    emits: dict[str, Emitted] = field(default_factory=dict)
    is_wrong: bool = False  # a carry or an emit has been reported


@dataclass(slots=True, eq=False)
class Frame:
    """What a body sees. `kind` is model, block, train, optimizer or const."""

    module: ModuleScope
    kind: str
    path: str = ""
    dims: dict[str, DimBinding] = field(default_factory=dict)
    names: dict[str, Binding] = field(default_factory=dict)
    leading: tuple[Dim, ...] | None = None
    is_training: bool = False
    when_training: bool = False
    frozen: bool = False
    instance: object = None
    cotangents: dict[str, Value] | None = None
    states: dict[str, Node] = field(default_factory=dict)
    element: DType | None = None  # in an optimizer: the parameter's element type
    scan: Recurrence | None = None  # the scan whose body this is
    ended: dict[str, Span] = field(default_factory=dict)  # names that the steps of a scan had for themselves
    is_unmet: bool = False  # a requirement of the block does not hold: the rest of its body relies on it
    indices: tuple[Node, ...] = ()  # of the scans around, those around the calls that led here included


@dataclass(frozen=True, slots=True)
class Precision:
    """Element types of parameters in memory and of `real` in computations.

    `operands` is "bf16" if those of f32 products are rounded to bfloat16.
    """

    params: DType = F32
    compute: DType = F32
    operands: str | None = None


@dataclass(slots=True, eq=False)
class Shared:
    """The state of one elaboration: what has been made and what is wrong."""

    limits: Limits
    precision: Precision
    call_block: Callable[..., Value]
    optimizers: Callable[[], ModuleScope] = field(init=False)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    spans: dict[Node, Span] = field(default_factory=dict)
    params: dict[str, tuple[Variable, Span]] = field(default_factory=dict)
    states: dict[str, tuple[Variable, Span]] = field(default_factory=dict)
    state_values: dict[Node, Node] = field(default_factory=dict)
    probes: dict[str, Node] = field(default_factory=dict)
    requirements: dict[Requirement, None] = field(default_factory=dict)
    active: list[tuple[s.Block, Span]] = field(default_factory=list)
    instances: list[object] = field(default_factory=list)
    sites: Sites = field(default_factory=Sites)
    loops: Sites = field(default_factory=Sites)  # the scans, numbered as the places of random numbers are
    lengths: dict[Node, Dim] = field(default_factory=dict)  # the index of a scan -> its bound
    sizes: dict[TensorType, bool] = field(default_factory=dict)  # types that were checked against the limits
    expanded: dict[s.Block, None] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    steps: int = 0
    depth: int = 0
    is_symbolic_check: bool = False  # a block on its own: its generics stand for any size

    def error(
        self,
        code: str,
        title: str,
        span: Span,
        text: str = "",
        *,
        help: str = "",
        also: Iterable[tuple[Span, str]] = (),
        place: Span | None = None,
    ) -> Poison:
        """Reports an error; returns poison, so that `return shared.error(...)` ends an evaluation.

        What goes wrong inside of the standard library is shown at the call that led there.
        """
        labels = (Label(span, text), *(Label(where, what) for where, what in also))
        from graphc.frontend.standard import is_standard

        if is_standard(span.source):
            calls = [(block, where) for block, where in self.active if not is_standard(where.source)]
            if calls and calls[-1][1] != calls[-1][0].name.span:  # the model itself is called by nobody
                block, where = calls[-1]
                labels, place = (Label(where, f"in this call of `{block.name.name}`"), *labels), None
        self.diagnostics.append(Diagnostic(code, title, labels, help, place=place))
        if len(self.diagnostics) > 20 * self.limits.errors:
            raise Stop
        return POISON

    def warn(self, code: str, title: str, span: Span, text: str = "", *, help: str = "") -> None:
        self.diagnostics.append(Diagnostic(code, title, (Label(span, text),), help, severity="warning"))

    def unsupported(self, what: str, span: Span, code: str = "GC0902", help: str = "") -> Poison:
        """The one error for what the language has and this version does not build; once for each feature."""
        title = f"{what} not supported yet"
        if title in self.missing:
            return POISON
        self.missing[title] = None
        return self.error(code, title, span, help=help)

    def count(self, span: Span) -> None:
        """One more step of elaboration; the budget bounds the time and memory that expansion may take."""
        self.steps += 1
        if self.steps > self.limits.nodes:
            title = f"the model expands to more than {self.limits.nodes} steps"
            outermost = self.active[1][1] if len(self.active) > 1 else span
            self.error("GC0801", title, outermost, "expanding this", help="use fewer or smaller blocks")
            raise Stop

    def enter(self, span: Span) -> None:
        """One level deeper; bounds the recursion of the elaborator."""
        self.depth += 1
        if self.depth > 10 * self.limits.nesting:
            self.error("GC0802", "blocks and expressions are nested too deeply", span)
            raise Stop

    def leave(self) -> None:
        self.depth -= 1


def number_of_arguments(number: int) -> str:
    """How many arguments, in words."""
    return "no argument" if number == 0 else "1 argument" if number == 1 else f"{number} arguments"


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?`, or nothing."""
    near = get_close_matches(name, list(dict.fromkeys(known)), n=1, cutoff=0.65)
    return f"did you mean `{near[0]}`?" if near else ""
