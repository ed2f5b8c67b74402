"""What an artifact says about its code: dimensions, leaves, entries. Plain data with a fixed schema.

Most classes are named tuples, which take a tenth of the time to import that dataclasses do.
`to_json` and `from_json` are exact inverses; `from_json` refuses unknown, missing and mistyped keys with an
`ArtifactError` that names the field (`signature.leaves[3].dtype`). Names of leaves are unique: parameters have their
path (`c1.w`), slots `m/c1.w`, gradients `gradient/c1.w` (see `gradient_name`).
"""

from __future__ import annotations

import math
import re
import typing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphc.runtime.dimexpr import MAX_VALUE, Expr, freeze, symbols
from graphc.runtime.errors import ArtifactError
from graphc.runtime.schema import decode, encode

DTYPES: dict[str, str] = {  # graphc name -> NumPy name
    "f64": "float64",
    "f32": "float32",
    "i64": "int64",
    "i32": "int32",
    "i8": "int8",
    "u8": "uint8",
    "bool": "bool",
}
ROLES = ("input", "param", "state", "slot", "hyper", "step", "seed", "gradient")
ENTRIES = ("forward", "step", "evaluate", "gradients", "apply")
INITIALISERS: dict[str, dict[str, float | None]] = {  # kind -> its arguments and their defaults, None: required
    "zeros": {},
    "ones": {},
    "constant": {"value": None},
    "uniform": {"low": -0.05, "high": 0.05},
    "normal": {"mean": 0.0, "std": 0.05},
    "truncated_normal": {"mean": 0.0, "std": 0.05},
    "glorot_uniform": {},
    "glorot_normal": {},
    "he_uniform": {},
    "he_normal": {},
    "lecun_normal": {},
    "orthogonal": {"gain": 1.0},
}
GRADIENT = "gradient/"
MAX_RANK = 32
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,254}")


def gradient_name(param: str) -> str:
    """The name of the leaf (in `apply`) or output (in `gradients`) that holds the gradient of `param`."""
    return GRADIENT + param


class Target(NamedTuple):
    """The machine the object code is for. `features` are LLVM's names of the CPU features it must have."""

    name: str
    triple: str
    features: tuple[str, ...] = ()


class Dimension(NamedTuple):
    """A run-time symbol with inclusive bounds; `hi` None is unbounded."""

    name: str
    lo: int = 1
    hi: int | None = None


class Requirement(NamedTuple):
    """`require expr, "message"` over run-time symbols, checked at each new set of sizes."""

    expr: Expr
    message: str


@dataclass(frozen=True)
class Init:
    """How a leaf starts; `args` as in `INITIALISERS`. Hyper-parameters use `constant`."""

    kind: str
    args: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in INITIALISERS:
            raise ArtifactError(f"unknown initialiser `{self.kind}`; known are {', '.join(INITIALISERS)}")
        known = INITIALISERS[self.kind]
        args = {name: self.args.get(name, default) for name, default in known.items()}
        if None in args.values() or any(name not in known for name in self.args):
            raise ArtifactError(f"initialiser `{self.kind}` takes {tuple(known)}, not {tuple(self.args)}")
        object.__setattr__(self, "args", args)


class Leaf(NamedTuple):
    """A buffer shared by the entries. `train_only`: an input that only training needs."""

    name: str
    role: str
    dtype: str
    shape: tuple[Expr, ...] = ()
    init: Init | None = None
    trainable: bool = False
    train_only: bool = False
    doc: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of a variable, which is known at compile time."""
        return tuple(size for size in self.shape if isinstance(size, int))


class Output(NamedTuple):
    """A result of an entry, written whole by the native code into a fresh buffer."""

    name: str
    dtype: str
    shape: tuple[Expr, ...] = ()


class IndexBound(NamedTuple):
    """Every element of the integer leaf must satisfy low <= x < high, or equal `ignore`."""

    leaf: str
    low: int
    high: Expr
    ignore: int | None = None


class Entry(NamedTuple):
    """A native function `i64 symbol(ptr table, ptr dims, ptr arena, ptr team)`; the table is `leaves` then `outputs`.

    `arena` is the scratch size in bytes, `private` what each thread but the first needs besides; `parallel` says
    whether threads are ever worth it; `updates` are the leaves it writes in place.
    """

    symbol: str
    leaves: tuple[str, ...]
    outputs: tuple[Output, ...]
    arena: Expr = 0
    updates: tuple[str, ...] = ()
    index_bounds: tuple[IndexBound, ...] = ()
    private: Expr = 0
    parallel: bool = False


@dataclass(frozen=True)
class Signature:
    """All the runtime knows about a model besides its code.

    `epoch`, `call` and `draw` are the symbols of the native batch loop, of the builtin for Python and of the function
    that draws uniform numbers, or None.
    """

    name: str
    version: str
    source_hash: str
    target: Target
    dims: tuple[Dimension, ...]
    leaves: tuple[Leaf, ...]
    entries: dict[str, Entry]
    requires: tuple[Requirement, ...] = ()
    epoch: str | None = None
    call: str | None = None
    draw: str | None = None
    doc: str = ""

    def __post_init__(self) -> None:
        check(self)

    def leaf(self, name: str) -> Leaf:
        """The leaf called `name`."""
        return next(one for one in self.leaves if one.name == name)

    def with_role(self, role: str) -> tuple[Leaf, ...]:
        """The leaves of a role in order."""
        return tuple(one for one in self.leaves if one.role == role)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return typing.cast(dict[str, Any], encode(self))

    @staticmethod
    def from_json(data: Any) -> Signature:
        """The inverse of `to_json`; `ArtifactError` naming the field for anything else."""
        return typing.cast(Signature, decode(data, Signature, "signature"))


def check(signature: Signature) -> None:
    """Names are unique and declared, dtypes and roles known, shapes use declared symbols: `ArtifactError` otherwise."""
    dims = [one.name for one in signature.dims]
    _distinct(dims, "dims")
    names = [one.name for one in signature.leaves]
    _distinct(names, "leaves")
    for dim in signature.dims:
        _require(dim.lo >= 0 and (dim.hi is None or dim.hi >= dim.lo), f"dims.{dim.name}", "bounds are empty")
    for where, symbol in (("epoch", signature.epoch), ("call", signature.call), ("draw", signature.draw)):
        _require(symbol is None or _SYMBOL.fullmatch(symbol) is not None, where, "the symbol is not a name")
    for need in signature.requires:
        _check_expr(need.expr, dims, "requires")
    for leaf in signature.leaves:
        where = f"leaves.{leaf.name}"
        _require(leaf.role in ROLES, where, f"unknown role `{leaf.role}`")
        _check_tensor(leaf.dtype, leaf.shape, dims, where)
        if leaf.role in ("param", "state", "slot", "hyper"):
            _require(leaf.init is not None, where, "has no initialiser")
            fixed = all(isinstance(size, int) and size >= 0 for size in leaf.shape)
            _require(fixed, where, "its shape must be known at compile time")
            exact = leaf.init is None or leaf.init.kind in ("zeros", "ones", "constant")
            _require(exact or leaf.dtype in ("f32", "f64"), where, "only a float can start at random")
            _require(_holds(leaf.dtype, leaf.init), where, f"its first value is not of type {leaf.dtype}")
        else:
            _require(leaf.init is None, where, "has an initialiser but keeps no value")
        if leaf.role in ("hyper", "step", "seed"):
            _require(leaf.shape == (), where, "must be a scalar")
        _require(leaf.role not in ("step", "seed") or leaf.dtype == "i64", where, "must be an i64")
    for key, entry in signature.entries.items():
        _require(key in ENTRIES, f"entries.{key}", "unknown entry")
        _check_entry(entry, names, dims, f"entries.{key}")


def _holds(dtype: str, init: Init | None) -> bool:
    """Whether a constant first value can be stored in the dtype; a float may round."""
    if init is None or init.kind != "constant" or dtype == "f64":
        return True
    value, bits = init.args["value"], {"f32": 0, "i64": 63, "i32": 31, "i8": 7, "u8": 8, "bool": 1}[dtype]
    if dtype == "f32":
        return not math.isfinite(value) or abs(value) < 2.0**128
    low = 0 if dtype in ("u8", "bool") else -(2**bits)
    return math.isfinite(value) and value == int(value) and low <= value < 2**bits


def _check_entry(entry: Entry, names: list[str], dims: list[str], where: str) -> None:
    _require(_SYMBOL.fullmatch(entry.symbol) is not None, where, "the symbol is not a name")  # LLVM aborts on some
    _distinct(entry.leaves, f"{where}.leaves")
    _distinct([one.name for one in entry.outputs], f"{where}.outputs")
    _require(all(name in names for name in entry.leaves), where, "uses a leaf that is not declared")
    _require(all(name in entry.leaves for name in entry.updates), where, "updates a leaf that is not in its table")
    _check_expr(entry.arena, dims, f"{where}.arena")
    _check_expr(entry.private, dims, f"{where}.private")
    for output in entry.outputs:
        _check_tensor(output.dtype, output.shape, dims, f"{where}.{output.name}")
    for bound in entry.index_bounds:
        _require(bound.leaf in entry.leaves, where, "bounds a leaf that is not in its table")
        _check_expr(bound.high, dims, f"{where}.index_bounds")


def _check_tensor(dtype: str, shape: tuple[Expr, ...], dims: list[str], where: str) -> None:
    _require(dtype in DTYPES, where, f"unknown dtype `{dtype}`")
    _require(len(shape) <= MAX_RANK, where, f"rank {len(shape)} exceeds {MAX_RANK}")
    for size in shape:
        _check_expr(size, dims, where)


def _check_expr(expr: Expr, dims: list[str], where: str) -> None:
    if (type(expr) is int and abs(expr) <= MAX_VALUE) or (type(expr) is str and expr in dims):  # nearly all
        return
    _require(freeze(expr, where) == expr, where, "an expression must be built of tuples")
    for name in symbols(expr):
        _require(name in dims, where, f"unknown dimension `{name}`")


def _distinct(names: typing.Sequence[str], where: str) -> None:
    _require(len(set(names)) == len(names), where, "a name is given twice")


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise ArtifactError(f"signature.{where}: {what}")
