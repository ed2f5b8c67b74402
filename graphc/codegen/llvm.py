"""The emitter of LLVM IR text: `Module` and `Function`, whose methods append one instruction and return typed values.

Text, not llvmlite's object tree, which is twenty times slower to write.
Numbers are accepted wherever a value of known type stands beside them; integer scalars known at this time are folded.
Names in the IR are made here; no text of a user gets into them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast, overload

from graphc.codegen.blocks import Blocks
from graphc.codegen.fold import LEFT_NEUTRAL, RIGHT_NEUTRAL, fold
from graphc.codegen.objects import assembly, compile_object, verify
from graphc.codegen.ssa import (
    Index,
    Operand,
    Value,
    const,
    const_vector,
    element,
    is_float,
    known,
    lanes,
    like,
    mangle,
    poison,
    size,
    vector,
)
from graphc.codegen.target import Target

__all__ = [
    "Function",
    "Index",
    "Module",
    "Operand",
    "Value",
    "assembly",
    "compile_object",
    "const",
    "const_vector",
    "element",
    "is_float",
    "known",
    "lanes",
    "like",
    "mangle",
    "poison",
    "size",
    "vector",
    "verify",
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")

# Types an intrinsic's name is mangled with: "r" the result, 0, 1, .. its arguments. The others: the result alone.
_OVERLOADS: dict[str, tuple[str | int, ...]] = {
    "ldexp": ("r", 1),
    "x86.avx512.mask.scalef.ps.512": (),
    "x86.avx512.mask.scalef.pd.512": (),
    "x86.avx512.permvar.sf.512": (),
    "fptosi.sat": ("r", 0),
    "fptoui.sat": ("r", 0),
    "is.fpclass": (0,),
    "x86.avx512bf16.dpbf16ps.512": (),
    "prefetch": (0,),
    "masked.load": ("r", 0),
    "masked.store": (0, 1),
    "masked.gather": ("r", 0),
    "masked.scatter": (0, 1),
    "memcpy": (0, 1, 2),
    "memset": (0, 2),
    "vector.reduce.fadd": (1,),
    "vector.reduce.fmul": (1,),
} | {f"vector.reduce.{kind}": (0,) for kind in ("add", "mul", "and", "or", "xor", "smin", "smax", "umin", "umax")}


class _Integer(Protocol):
    """An integer instruction. Two python ints give an int; a value beside an int gives a value of its type."""

    @overload
    def __call__(self, a: Value, b: Index) -> Value: ...
    @overload
    def __call__(self, a: int, b: Value) -> Value: ...
    @overload
    def __call__(self, a: int, b: int) -> int: ...


class _IntegerMethod:
    def __init__(self, op: str) -> None:
        self.op = op

    def __get__(self, function: Function, owner: type[Function]) -> _Integer:
        return cast(_Integer, partial(function.integer, self.op))


class _CastMethod:
    def __init__(self, op: str) -> None:
        self.op = op

    def __get__(self, function: Function, owner: type[Function]) -> Callable[[Value, str], Value]:
        return partial(function.cast, self.op)


class Module:
    """Functions, constants and declarations for one object file.

    What many modules need alike (graphc.codegen.team) one that is not `alone` leaves to an object it is linked with.
    """

    def __init__(self, target: Target, alone: bool = True) -> None:
        self.target, self.alone = target, alone
        self._declarations: dict[str, str] = {}
        self._globals: dict[tuple[bytes, int], Value] = {}
        self._functions: dict[str, str] = {}  # name -> text
        self.kernels: dict[Hashable, object] = {}  # a kernel's key -> its function, for whoever emits kernels
        self._shared: dict[str, str] = {}  # text without its name -> name

    def add(self, function: Function) -> str:
        """Takes a finished function; returns its name, or that of an equal internal one that is already here."""
        text = function.text()
        if function.internal and text in self._shared:
            return self._shared[text]
        name, count = function.name, 1
        while name in self._functions:
            if not function.internal:
                raise ValueError(f"two functions are called {name}")
            count += 1
            name = f"{function.name}.{count}"
        self._functions[name] = text
        self._shared.setdefault(text, name)
        return name

    def declare(self, name: str, returns: str, params: Sequence[str], hidden: bool = False) -> str:
        """Declares an intrinsic or a symbol of another library, or a `hidden` one of another object; returns its name.

        A hidden one is called directly.
        """
        visibility = "hidden " if hidden else ""
        self._declarations.setdefault(name, f"declare {visibility}{returns} @{name}({', '.join(params)})")
        return name

    def constant(self, data: bytes, align: int = 64) -> Value:
        """The address of read-only bytes; equal data are stored once."""
        key = (data, align)
        if key not in self._globals:
            self._globals[key] = Value(f"@data{len(self._globals)}", "ptr")
        return self._globals[key]

    def text(self) -> str:
        width = self.target.vector_bytes * 8
        data = [
            f'{value.text} = private unnamed_addr constant [{len(raw)} x i8] c"{_escape(raw)}", align {align}'
            for (raw, align), value in self._globals.items()
        ]
        bodies = [text.replace("@\0(", f"@{name}(", 1) for name, text in self._functions.items()]
        return "\n".join(
            [
                f'target triple = "{self.target.triple}"',
                *data,
                *self._declarations.values(),
                *bodies,
                f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}" }}',
                '!0 = !{!"branch_weights", i32 1, i32 1000000}',
                "",
            ]
        )


class Function(Blocks):
    """A function under construction. `params` are (type, name): reach them by `f["name"]`; IR gets names of its own.

    `noalias` names the pointer parameters that overlap with no other. An `internal` function may be merged with an
    equal one and is invisible outside the object; the others keep their name. A `plain` one is compiled without
    optimisation, in half the time: for code that calls other code.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        params: Sequence[tuple[str, str]] = (),
        returns: str = "void",
        internal: bool = True,
        noinline: bool = True,
        noalias: Collection[str] = (),
        plain: bool = False,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a function")
        super().__init__()
        self.module, self.name, self.returns, self.internal = module, name, returns, internal
        self.attributes = "noinline optnone " if plain else "noinline " if noinline else ""
        self.target = module.target
        self.params = {param: Value(f"%a{i}", type) for i, (type, param) in enumerate(params)}
        self._noalias = frozenset(noalias)
        self._locals: list[str] = []

    def local(self, type: str, count: int) -> Value:
        """Room on the stack for so many values of a type, made when the function is entered."""
        place = Value(self.fresh("%local"), "ptr")
        self._locals.append(f"  {place.text} = alloca [{count} x {type}], align 64")
        return place

    def __getitem__(self, param: str) -> Value:
        return self.params[param]

    def text(self) -> str:
        """The definition; a NUL stands for the name, which the module chooses."""
        params = ", ".join(
            f"{value.type}{' noalias' if name in self._noalias else ''} {value.text}"
            for name, value in self.params.items()
        )
        head = f"define {'internal ' if self.internal else ''}{self.returns} @\0({params})"
        return "\n".join([f"{head} {self.attributes}#0 {{", "entry:", *self._locals, *self.lines, "}"])

    # ---- constants and integers -------------------------------------------------------------------------------------

    def const(self, type: str, number: float) -> Value:
        """The constant in every lane of `type`."""
        return const(type, number)

    add, sub, mul = _IntegerMethod("add"), _IntegerMethod("sub"), _IntegerMethod("mul")
    udiv, sdiv, srem, urem = (
        _IntegerMethod("udiv"),
        _IntegerMethod("sdiv"),
        _IntegerMethod("srem"),
        _IntegerMethod("urem"),
    )
    and_, or_, xor = _IntegerMethod("and"), _IntegerMethod("or"), _IntegerMethod("xor")
    shl, ashr, lshr = _IntegerMethod("shl"), _IntegerMethod("ashr"), _IntegerMethod("lshr")

    def integer(self, op: str, a: Index, b: Index) -> Index:
        """The integer instruction `op`, folded if both sides are known scalars or one is neutral."""
        left, right = known(a), known(b)
        number = fold(op, left, right)
        if number is not None:
            values = [v for v in (a, b) if isinstance(v, Value)]
            return const(values[0].type, number) if values else number
        x, y = self._pair(a, b)
        if right is not None and right == RIGHT_NEUTRAL.get(op):
            return x
        if left is not None and left == LEFT_NEUTRAL.get(op):
            return y
        return self.assign(x.type, f"{op} {x}, {y.text}")

    # ---- floats ------------------------------------------------------------------------------------------------------

    def fadd(self, a: Operand, b: Operand) -> Value:
        return self._binary("fadd", a, b)

    def fsub(self, a: Operand, b: Operand) -> Value:
        return self._binary("fsub", a, b)

    def fmul(self, a: Operand, b: Operand) -> Value:
        return self._binary("fmul", a, b)

    def fdiv(self, a: Operand, b: Operand) -> Value:
        return self._binary("fdiv", a, b)

    def fneg(self, a: Value) -> Value:
        return self.assign(a.type, f"fneg {a}")

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        """a * b + c, rounded once (twice on a target without the instruction)."""
        type = next(v.type for v in (a, b, c) if isinstance(v, Value))
        x, y, z = (self.operand(v, type) for v in (a, b, c))
        return self.intrinsic("llvm.fma", type, x, y, z) if self.target.fma else self.fadd(self.fmul(x, y), z)

    def minimum(self, a: Operand, b: Operand) -> Value:
        """The smaller float; NaN if either is (numpy's minimum)."""
        return self._extreme("olt", a, b)

    def maximum(self, a: Operand, b: Operand) -> Value:
        """The larger float; NaN if either is (numpy's maximum)."""
        return self._extreme("ogt", a, b)

    def _extreme(self, predicate: str, a: Operand, b: Operand) -> Value:
        x, y = self._pair(a, b)  # one instruction gives the second operand if either is NaN: the first is left
        return self.select(self.fcmp("uno", x, x), x, self.select(self.fcmp(predicate, x, y), x, y))

    def operand(self, value: Operand, type: str) -> Value:
        return value if isinstance(value, Value) else const(type, value)

    def _pair(self, a: Operand, b: Operand) -> tuple[Value, Value]:
        if isinstance(a, Value):
            return a, self.operand(b, a.type)
        if isinstance(b, Value):
            return const(b.type, a), b
        return const("i64", a), const("i64", b)

    def _binary(self, op: str, a: Operand, b: Operand) -> Value:
        x, y = self._pair(a, b)
        return self.assign(x.type, f"{op} {x}, {y.text}")

    # ---- comparisons, choice, casts ---------------------------------------------------------------------------------

    def icmp(self, predicate: str, a: Index, b: Index) -> Value:
        """eq ne slt sle sgt sge ult ule ugt uge, on integers and pointers; i1 in as many lanes."""
        x, y = self._pair(a, b)
        return self.assign(like("i1", x.type), f"icmp {predicate} {x}, {y.text}")

    def fcmp(self, predicate: str, a: Operand, b: Operand) -> Value:
        """oeq ogt oge olt ole one ord (false on NaN), ueq ugt uge ult ule une uno (true on NaN)."""
        x, y = self._pair(a, b)
        return self.assign(like("i1", x.type), f"fcmp {predicate} {x}, {y.text}")

    def select(self, condition: Value, a: Operand, b: Operand) -> Value:
        x, y = self._pair(a, b)
        return self.assign(x.type, f"select {condition}, {x}, {y}")

    sext, zext, trunc = _CastMethod("sext"), _CastMethod("zext"), _CastMethod("trunc")
    sitofp, uitofp, fptosi, fptoui = (
        _CastMethod("sitofp"),
        _CastMethod("uitofp"),
        _CastMethod("fptosi"),
        _CastMethod("fptoui"),
    )
    fpext, fptrunc = _CastMethod("fpext"), _CastMethod("fptrunc")
    ptrtoint, inttoptr = _CastMethod("ptrtoint"), _CastMethod("inttoptr")

    def cast(self, op: str, value: Value, scalar: str) -> Value:
        """The cast `op`, lane by lane, to the element type of `scalar`; a value of that type is returned as it is."""
        type = like(element(scalar), value.type)
        return value if type == value.type else self.assign(type, f"{op} {value} to {type}")

    def bitcast(self, value: Value, type: str) -> Value:
        """The same bits as another whole `type` (lanes may change)."""
        return value if type == value.type else self.assign(type, f"bitcast {value} to {type}")

    # ---- vectors -----------------------------------------------------------------------------------------------------

    def splat(self, scalar: Value, count: int) -> Value:
        """The scalar in `count` lanes."""
        if count == 1:
            return scalar
        if scalar.text[0] not in "%@":
            return Value(f"splat ({scalar})", vector(scalar.type, count))
        first = self.insert(poison(vector(scalar.type, count)), scalar, 0)
        return self.shuffle(first, first, [0] * count)

    def extract(self, value: Value, lane: Index) -> Value:
        if lanes(value.type) == 1:
            return value
        return self.assign(element(value.type), f"extractelement {value}, i64 {_plain(lane)}")

    def insert(self, value: Value, scalar: Value, lane: Index) -> Value:
        if lanes(value.type) == 1:
            return scalar
        return self.assign(value.type, f"insertelement {value}, {scalar}, i64 {_plain(lane)}")

    def shuffle(self, a: Value, b: Value, indices: Sequence[int]) -> Value:
        """Lanes chosen from a (0 ..) and b (lanes of a ..), in this order."""
        count, mask = len(indices), ", ".join(f"i32 {index}" for index in indices)
        return self.assign(vector(element(a.type), count), f"shufflevector {a}, {b}, <{count} x i32> <{mask}>")

    def lane_ids(self, count: int, scalar: str = "i64") -> Value:
        """The constant 0, 1, 2, .."""
        return const_vector(scalar, range(count))

    def tail_mask(self, left: Index, count: int) -> Value:
        """The mask of the first `left` of `count` lanes (i1)."""
        number = known(left)
        if number is not None:
            return const_vector("i1", [lane < number for lane in range(count)])
        narrow = self.trunc(cast(Value, left), "i32")
        return self.icmp("ult", self.lane_ids(count, "i32"), self.splat(narrow, count))

    def any(self, mask: Value) -> Value:
        """Whether a lane of an i1 vector is set."""
        return mask if lanes(mask.type) == 1 else self.intrinsic("llvm.vector.reduce.or", "i1", mask)

    def reduce(self, kind: str, value: Value) -> Value:
        """add mul min max and or xor over the lanes (a power of two) as a scalar; signed, NaN kept in min and max.

        The order is fixed, halves against halves, so that float sums have the same bits whatever LLVM does.
        """
        while (count := lanes(value.type)) > 2:
            low = self.shuffle(value, value, range(count // 2))
            value = self._combine(kind, low, self.shuffle(value, value, range(count // 2, count)))
        return value if count == 1 else self._combine(kind, self.extract(value, 0), self.extract(value, 1))

    def _combine(self, kind: str, a: Value, b: Value) -> Value:
        if kind in ("min", "max"):
            if is_float(a.type):
                return self.minimum(a, b) if kind == "min" else self.maximum(a, b)
            return self.select(self.icmp("slt" if kind == "min" else "sgt", a, b), a, b)
        return self._binary("f" + kind if is_float(a.type) else kind, a, b)

    # ---- memory ------------------------------------------------------------------------------------------------------

    def offset(self, pointer: Value, scalar: str, index: Index) -> Value:
        """The address `index` elements of type `scalar` further."""
        if known(index) == 0:
            return pointer
        return self.assign("ptr", f"getelementptr {scalar}, {pointer}, i64 {_plain(index)}")

    def load(self, pointer: Value, type: str, align: int | None = None) -> Value:
        """A scalar or vector; aligned to the element unless `align` promises more."""
        return self.assign(type, f"load {type}, {pointer}, align {align or size(element(type))}")

    def store(self, value: Value, pointer: Value, align: int | None = None) -> None:
        self.emit(f"store {value}, {pointer}, align {align or size(element(value.type))}")

    def masked_load(
        self, pointer: Value, type: str, mask: Value, align: int | None = None, otherwise: float = 0
    ) -> Value:
        """The lanes of the mask; the others are `otherwise` and their memory is not touched."""
        at = _Aligned(pointer.text, pointer.type, align or size(element(type)))
        return self.intrinsic("llvm.masked.load", type, at, mask, const(type, otherwise))

    def masked_store(self, value: Value, pointer: Value, mask: Value, align: int | None = None) -> None:
        at = _Aligned(pointer.text, pointer.type, align or size(element(value.type)))
        self.intrinsic("llvm.masked.store", "void", value, at, mask)

    def gather(self, pointers: Value, scalar: str, mask: Value | None = None) -> Value:
        """Loads through a vector of addresses."""
        type, at = like(scalar, pointers.type), _Aligned(pointers.text, pointers.type, size(scalar))
        every = const(like("i1", pointers.type), 1)
        return self.intrinsic("llvm.masked.gather", type, at, mask or every, const(type, 0))

    def scatter(self, value: Value, pointers: Value, mask: Value | None = None) -> None:
        """Stores through a vector of addresses, in the order of the lanes."""
        at = _Aligned(pointers.text, pointers.type, size(element(value.type)))
        every = const(like("i1", value.type), 1)
        self.intrinsic("llvm.masked.scatter", "void", value, at, mask or every)

    def offsets(self, pointer: Value, scalar: str, indices: Value) -> Value:
        """The addresses `indices` (a vector) elements of type `scalar` from `pointer`."""
        return self.assign(like("ptr", indices.type), f"getelementptr {scalar}, {pointer}, {indices}")

    def prefetch(self, pointer: Value, write: bool = False, locality: int = 3) -> None:
        self.intrinsic("llvm.prefetch", "void", pointer, *(const("i32", n) for n in (int(write), locality, 1)))

    def fence(self) -> None:
        """Keeps the scheduler from mixing what stands before and after: register allocation suffers from it."""
        self.emit('call void asm sideeffect "", "~{memory}"()')

    # ---- calls -------------------------------------------------------------------------------------------------------

    def call(self, name: str, returns: str, *args: Value) -> Value:
        """Calls a function of the module or a declared one; the result of a void one is not to be used."""
        text = f"call {returns} @{name}({', '.join(str(arg) for arg in args)})"
        if returns == "void":
            self.emit(text)
            return poison("void")
        return self.assign(returns, text)

    def intrinsic(self, name: str, returns: str, *args: Value) -> Value:
        """Calls the overloaded intrinsic `name` (without suffix), declaring it if need be."""
        overloads = _OVERLOADS.get(name.removeprefix("llvm."), ("r",))
        types = [returns if which == "r" else args[cast(int, which)].type for which in overloads]
        full = ".".join([name, *map(mangle, types)])
        self.module.declare(full, returns, [arg.type for arg in args])
        return self.call(full, returns, *args)

    def ret(self, value: Value | None = None) -> None:
        self.emit(f"ret {value}" if value else "ret void")


@dataclass(frozen=True, slots=True)
class _Aligned(Value):
    """A pointer argument with the alignment it promises."""

    align: int

    def __str__(self) -> str:
        return f"{self.type} align {self.align} {self.text}"


def _plain(index: Index) -> str:
    return str(index) if isinstance(index, int) else index.text


def _escape(data: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02X}" for b in data)
