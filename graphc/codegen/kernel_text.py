"""Kernels as text: what `graphc show --stage kernels` prints.

Scalars are a DAG; what is used more than once gets a name and a line of its own, so the text is as small as the DAG.
"""

from __future__ import annotations

from graphc.codegen.kernel import (
    Affine,
    Call,
    Cast,
    Const,
    Contract,
    Fetch,
    For,
    Kernel,
    Load,
    Position,
    Routine,
    Scalar,
    Select,
    Stmt,
    Store,
    Temp,
    Var,
    closure,
    operands,
)
from graphc.ir.types import BOOL


def name(term: Var | Scalar) -> str:
    """A variable or temp by its name, another term of an index in brackets."""
    return term.name if isinstance(term, (Var, Temp)) else f"({show(term)})"


def show_affine(index: Affine) -> str:
    """`i*128 + j + 1`."""
    parts = [f"{name(term)}*{c}" if c != 1 else name(term) for term, c in index.terms]
    if index.constant != 0 or not parts:
        parts.append(str(index.constant))
    return " + ".join(parts)


def show(scalar: Scalar, names: dict[Scalar, str] | None = None) -> str:
    """One scalar as text; operands that have a name are shown by it."""
    names = names or {}

    def sub(x: Scalar) -> str:
        return names.get(x) or show(x, names)

    match scalar:
        case Const(dtype, value):
            return str(value) if dtype != BOOL else str(bool(value)).lower()
        case Load(_, buffer, at, guard):
            return f"{buffer.name}[{at}]" + (f" if {sub(guard)}" if guard is not None else "")
        case Call(_, op, args):
            return f"{op}({', '.join(map(sub, args))})"
        case Cast(dtype, value):
            return f"{dtype}({sub(value)})"
        case Select(_, condition, yes, no):
            return f"select({sub(condition)}, {sub(yes)}, {sub(no)})"
        case Position(_, index):
            return f"({index})"
        case Temp(_, label):
            return label
    raise TypeError(type(scalar).__name__)


def print_kernel(kernel: Kernel) -> list[str]:
    """The kernel as lines of text; every shared scalar is named once."""
    buffers = ", ".join(
        f"{b.role} {b.name}: {b.dtype}" + (f"[{', '.join(map(str, b.shape))}]" if b.shape else "")
        for b in kernel.buffers
    )
    head = [f"# {kernel.comment}"] if kernel.comment else []
    return [*head, f"kernel {kernel.name}({buffers}):", *_print_block(kernel.body, "  ", {})]


def _print_block(
    stmts: tuple[Stmt, ...], pad: str, names: dict[Scalar, str], folded: tuple[Scalar, ...] = ()
) -> list[str]:
    """The statements as lines; `folded` are the values that their loop folds, which share scalars with its stores."""
    loops = any(not isinstance(stmt, Store) for stmt in stmts)
    shared = tuple(stmt.value for stmt in stmts if isinstance(stmt, Store)) + (() if loops else folded)
    lines = [] if loops else _name_shared(shared, pad, names)
    for stmt in stmts:
        match stmt:
            case For(var, body, vector, folds):
                part = "".join(
                    f" {word} {at}" for word, at in (("from", stmt.start), ("to", stmt.stop)) if at is not None
                )
                lines.append(f"{pad}for {var.name} in {var.extent}{part}{' by vector' if vector else ''}:")
                inner = dict(names)
                lines += _print_block(body, pad + "  ", inner, tuple(fold.value for fold in folds))
                for fold in folds:
                    lines += _name_shared((fold.value,), pad + "  ", inner)
                    value = inner.get(fold.value) or show(fold.value, inner)
                    lines.append(f"{pad}  {fold.temp.name} = {fold.combine}({fold.temp.name}, {value})")
            case Store(buffer, at, value, add):
                lines += _name_shared((value,), pad, names)
                text = names.get(value) or show(value, names)
                lines.append(f"{pad}{buffer.name}[{at}] {'+=' if add else '='} {text}")
            case Contract():
                ks = " x ".join(str(k.extent) if k.count is None else str(k.count) for k in stmt.k)
                temps = ", ".join(temp.name for temp in (stmt.temp, *stmt.others))
                lines.append(
                    f"{pad}contract {stmt.row.name} in {stmt.row.extent}, {stmt.column.name} in {stmt.column.extent}"
                    f" over {ks}: {temps} = sum {stmt.a.name} * {stmt.b.name}{_notes(stmt)}"
                )
                lines += _print_block(stmt.epilogue, pad + "  ", dict(names))
            case Routine():
                places = ", ".join(f"{b.name}[{at}..]" for b, at in zip(stmt.buffers, stmt.at, strict=True))
                lines.append(f"{pad}{stmt.kind} {places} of {', '.join(map(str, (*stmt.sizes, *stmt.options)))}")
    return lines


def _notes(stmt: Contract) -> str:
    row = stmt.row.name
    bounds = (f"{stmt.column.name} <", stmt.seen), ("k <", stmt.nonzero), ("k >=", stmt.zero)
    ends = "".join(f", {column} {row} + {at}" for column, at in bounds if at is not None)
    places = [f"{ask.buffer.name}[{ask.at}]" for ask in stmt.asks]
    asks = ", ".join([*places, *(f"{fetch.row} bytes of {_from(fetch)}" for fetch in stmt.fetches)])
    return (" of pairs" if stmt.pairs else "") + ends + (f", asks for {asks}" if asks else "")


def _from(fetch: Fetch) -> str:
    at = show_affine(fetch.at)
    return fetch.buffer.name if at == "0" else f"{fetch.buffer.name}[{at}..]"


def _name_shared(roots: tuple[Scalar, ...], pad: str, names: dict[Scalar, str]) -> list[str]:
    """Lines that name what is used more than once below the roots, so that the text stays as small as the DAG."""
    order = closure(roots)
    uses: dict[Scalar, int] = {}
    for scalar in (*roots, *(x for s in order for x in operands(s))):
        uses[scalar] = uses.get(scalar, 0) + 1
    lines = []
    depth: dict[Scalar, int] = {}
    for scalar in order:
        depth[scalar] = 1 + max((0 if x in names else depth.get(x, 0) for x in operands(scalar)), default=0)
        plain = isinstance(scalar, (Const, Temp))
        if scalar not in names and not plain and (uses.get(scalar, 0) > 1 or depth[scalar] > 6):
            text = show(scalar, names)
            names[scalar] = f"%{len(names)}"
            lines.append(f"{pad}{names[scalar]} = {text}")
    return lines
