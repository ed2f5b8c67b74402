"""The artifact's signature, read off a program and its planned entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphc.codegen.entry import EntryCode
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, Quotient
from graphc.ir.node import Node
from graphc.program import Initializer, Program, Requirement, Variable
from graphc.runtime import signature as runtime
from graphc.runtime.cpu import FEATURES
from graphc.runtime.dimexpr import Expr


def expression(dim: Dim) -> Expr:
    """A dimension as the runtime's plain data."""
    if isinstance(dim, int):
        return dim
    terms: list[Expr] = []
    for monomial, coefficient in dim.terms:
        factors: list[Expr] = [
            ("//", expression(a.numerator), expression(a.denominator)) if isinstance(a, Quotient) else a.name
            for a in monomial
        ]
        if coefficient != 1 or not factors:
            factors.insert(0, coefficient)
        terms.append(("*", *factors) if len(factors) > 1 else factors[0])
    return ("+", *terms) if len(terms) > 1 else terms[0]


def name_of(leaf: Node) -> str:
    """A leaf's name in the signature; the gradient of a parameter has a name of its own."""
    name = str(leaf.attr("name"))
    return runtime.gradient_name(name) if leaf.attr("role") == "gradient" else name


def signature_of(
    program: Program,
    entries: Mapping[str, EntryCode],
    target: Target,
    source_hash: str,
    epoch: str | None,
    call: str | None = None,
    draw: str | None = None,
) -> runtime.Signature:
    """Everything the runtime must know about the model; the last three are symbols of what it may use besides."""
    from graphc import __version__

    return runtime.Signature(
        name=program.name,
        version=__version__,
        source_hash=source_hash,
        target=runtime.Target(target.name, target.triple, needed_features(target)),
        dims=tuple(runtime.Dimension(s.name, s.low, s.high) for s in program.symbols),
        leaves=tuple(_leaves(program)),
        entries={name: _entry(code) for name, code in entries.items()},
        requires=tuple(_requirement(r) for r in program.requirements),
        epoch=epoch,
        call=call,
        draw=draw,
        doc=program.doc,
    )


def needed_features(target: Target) -> tuple[str, ...]:
    """What a CPU must have to run the target's code: what the compiler may have used and the runtime can ask for."""
    has = target.cpu_features()
    return tuple(name for name in FEATURES if name in has)


def _leaves(program: Program) -> Iterable[runtime.Leaf]:
    for leaf in program.inputs:
        yield _leaf(leaf)
    for leaf in program.train_inputs:
        yield _leaf(leaf, train_only=True)
    for variable in (*program.params, *program.states, *program.slots):
        yield _variable(variable)
    for leaf, value in program.hypers:
        yield _leaf(leaf, init=runtime.Init("constant", {"value": float(value)}))
    every = (x for graph in program.entries.values() for x in graph.leaves)
    for leaf in dict.fromkeys(every):
        if leaf.attr("role") in ("step", "seed", "gradient"):
            yield _leaf(leaf)


def _leaf(leaf: Node, init: runtime.Init | None = None, train_only: bool = False) -> runtime.Leaf:
    shape = tuple(expression(d) for d in leaf.shape)
    return runtime.Leaf(name_of(leaf), str(leaf.attr("role")), leaf.dtype.name, shape, init=init, train_only=train_only)


def _variable(variable: Variable) -> runtime.Leaf:
    leaf = variable.leaf
    shape = tuple(expression(d) for d in leaf.shape)
    role = str(leaf.attr("role"))
    trainable = role == "param" and variable.trainable
    init = _init(variable.initializer)
    return runtime.Leaf(name_of(leaf), role, leaf.dtype.name, shape, init, trainable, False, variable.doc)


def _init(initializer: Initializer) -> runtime.Init:
    return runtime.Init(initializer.kind, {name: float(value) for name, value in initializer.args})


def _requirement(r: Requirement) -> runtime.Requirement:
    return runtime.Requirement((r.comparison, expression(r.left), expression(r.right)), r.message)


def _entry(code: EntryCode) -> runtime.Entry:
    return runtime.Entry(
        symbol=code.name,
        leaves=tuple(name_of(x) for x in code.graph.leaves),
        outputs=tuple(
            runtime.Output(name, node.dtype.name, tuple(expression(d) for d in node.shape))
            for name, node in code.graph.outputs.items()
        ),
        arena=expression(code.memory.size),
        private=expression(code.program.private_size),
        parallel=code.program.is_parallel,
        updates=tuple(name_of(x) for x in code.graph.updates),
        index_bounds=tuple(
            runtime.IndexBound(name_of(b.leaf), 0, expression(b.size), b.ignore) for b in code.bounds if b.is_of_all
        ),
    )
