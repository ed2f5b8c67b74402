"""What the elementary functions are written in: `Lanes`, values with operators, and exact float tricks they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.codegen.llvm import Function, Operand, Value, const, element, is_float, like


@dataclass(frozen=True)
class Format:
    """A binary interchange format of IEEE 754: widths in bits, and the integer type of its size."""

    type: str
    integer: str
    mantissa: int  # stored bits
    bias: int

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


BINARY32 = Format("float", "i32", 23, 127)
BINARY64 = Format("double", "i64", 52, 1023)


@dataclass(frozen=True, slots=True)
class Lanes:
    """A value of any number of lanes in the function that computes it. Operators follow its type; `>>` keeps the sign.

    Comparisons are methods and false on NaN, except `unordered`.
    """

    function: Function
    value: Value

    @property
    def format(self) -> Format:
        return BINARY32 if element(self.value.type) == "float" else BINARY64

    def of(self, value: Value) -> Lanes:
        return Lanes(self.function, value)

    def number(self, number: float) -> Lanes:
        """A constant of the same type."""
        return self.of(self.function.const(self.value.type, number))

    def _op(self, name: str, a: Number, b: Number) -> Lanes:
        x, y = (v.value if isinstance(v, Lanes) else self.function.const(self.value.type, v) for v in (a, b))
        prefix = "f" if name in ("add", "sub", "mul", "div") and is_float(self.value.type) else ""
        return self.of(self.function.assign(self.value.type, f"{prefix}{name} {x}, {y.text}"))

    def __add__(self, other: Number) -> Lanes:
        return self._op("add", self, other)

    def __sub__(self, other: Number) -> Lanes:
        return self._op("sub", self, other)

    def __rsub__(self, other: float) -> Lanes:
        return self._op("sub", other, self)

    def __mul__(self, other: Number) -> Lanes:
        return self._op("mul", self, other)

    def __truediv__(self, other: Number) -> Lanes:
        return self._op("div", self, other)

    def __rtruediv__(self, other: float) -> Lanes:
        return self._op("div", other, self)

    def __and__(self, other: Number) -> Lanes:
        return self._op("and", self, other)

    def __or__(self, other: Number) -> Lanes:
        return self._op("or", self, other)

    def __xor__(self, other: Number) -> Lanes:
        return self._op("xor", self, other)

    def __lshift__(self, count: Number) -> Lanes:
        return self._op("shl", self, count)

    def __rshift__(self, count: Number) -> Lanes:
        return self._op("ashr", self, count)

    def __neg__(self) -> Lanes:
        return self.of(self.function.fneg(self.value)) if is_float(self.value.type) else self._op("sub", 0, self)

    def _compare(self, ordered: str, other: Number) -> Lanes:
        y = other.value if isinstance(other, Lanes) else other
        if is_float(self.value.type):
            return self.of(self.function.fcmp("o" + ordered, self.value, y))
        predicate = ordered if ordered in ("eq", "ne") else "s" + ordered
        x, z = self.value, y if isinstance(y, Value) else self.function.const(self.value.type, y)
        return self.of(self.function.icmp(predicate, x, z))

    def lt(self, other: Number) -> Lanes:
        return self._compare("lt", other)

    def gt(self, other: Number) -> Lanes:
        return self._compare("gt", other)

    def le(self, other: Number) -> Lanes:
        return self._compare("le", other)

    def ge(self, other: Number) -> Lanes:
        return self._compare("ge", other)

    def eq(self, other: Number) -> Lanes:
        return self._compare("eq", other)

    def ne(self, other: Number) -> Lanes:
        return self._compare("ne", other)

    def unordered(self, other: Lanes) -> Lanes:
        """Where either is NaN."""
        return self.of(self.function.fcmp("uno", self.value, other.value))

    def choose(self, yes: Number, no: Number) -> Lanes:
        """Of an i1 mask: `yes` where it is set. One of the two must be `Lanes`."""
        return self.of(self.function.select(self.value, _plain(yes), _plain(no)))

    def invert(self) -> Lanes:
        return self ^ 1

    # ---- one instruction each ---------------------------------------------------------------------------------------

    def _intrinsic(self, name: str, *args: Value) -> Lanes:
        return self.of(self.function.intrinsic(f"llvm.{name}", self.value.type, self.value, *args))

    def abs(self) -> Lanes:
        return self._intrinsic("fabs")

    def sqrt(self) -> Lanes:
        return self._intrinsic("sqrt")

    def floor(self) -> Lanes:
        return self._intrinsic("floor")

    def ceil(self) -> Lanes:
        return self._intrinsic("ceil")

    def truncate(self) -> Lanes:
        return self._intrinsic("trunc")

    def round(self) -> Lanes:
        """To the nearest integer, halves to the even one."""
        return self._intrinsic("roundeven")

    def copysign(self, sign: Lanes) -> Lanes:
        return self._intrinsic("copysign", sign.value)

    def fma(self, factor: Number, addend: Number) -> Lanes:
        """self * factor + addend."""
        return self.of(self.function.fma(self.value, _plain(factor), _plain(addend)))

    # ---- bits and conversions ---------------------------------------------------------------------------------------

    def bits(self) -> Lanes:
        """The integers of the same bits."""
        return self.of(self.function.bitcast(self.value, like(self.format.integer, self.value.type)))

    def as_float(self) -> Lanes:
        """The floats of the same bits (of an i32 or i64)."""
        scalar = "float" if element(self.value.type) == "i32" else "double"
        return self.of(self.function.bitcast(self.value, like(scalar, self.value.type)))

    def shift_right(self, count: int) -> Lanes:
        """Of integers, zeros coming in."""
        return self._op("lshr", self, count)

    def widen(self) -> Lanes:
        return self.of(self.function.fpext(self.value, "double"))

    def narrow(self) -> Lanes:
        return self.of(self.function.fptrunc(self.value, "float"))

    # ---- small idioms ------------------------------------------------------------------------------------------------

    def at_most(self, limit: float) -> Lanes:
        """min(self, limit), in one instruction; NaN stays."""
        return self.number(limit).lt(self).choose(limit, self)

    def at_least(self, limit: float) -> Lanes:
        return self.number(limit).gt(self).choose(limit, self)

    def nearest_multiple(self, factor: float, bits: int = 0) -> Pair:
        """self * factor rounded to a multiple of 2^-bits: (a float whose low bits are its number, the multiple itself).

        In binary32 up to the 2^22nd.
        """
        magic = 1.5 * 2.0 ** (self.format.mantissa - bits)
        shifted = self.fma(factor, magic)
        return shifted, shifted - magic

    def polynomial(self, coefficients: Sequence[float]) -> Lanes:
        """By Horner; the constant coefficient comes first."""
        result = self.number(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            result = result.fma(self, coefficient)
        return result


Number = Lanes | int | float
Pair = tuple[Lanes, Lanes]  # an unevaluated sum: the float nearest to it, and the rest


def _plain(value: Number) -> Operand:
    return value.value if isinstance(value, Lanes) else value


def power_of_two(exponent: Lanes) -> Lanes:
    """2**exponent for an integral float within the exponents of normal numbers.

    Adding 1.5 * 2**mantissa leaves the integer in the low bits: no conversion, which AVX2 lacks for 64 bits.
    """
    fmt = exponent.format
    return ((exponent + (1.5 * 2.0**fmt.mantissa + fmt.bias)).bits() << fmt.mantissa).as_float()


def scale(x: Lanes, exponent: Lanes) -> Lanes:
    """x * 2**exponent, rounded once, for x near 1 and an integral float within twice the range of exponents.

    AVX-512 has an instruction for it, which cuts off a fraction of the exponent.
    """
    target = x.function.target
    if target.is_x86 and target.vector_bytes == 64:
        return x.of(_scalef(x.function, x.value, exponent.value))
    half = (exponent * 0.5).floor()
    return x * power_of_two(half) * power_of_two(exponent - half)


def _scalef(f: Function, x: Value, exponent: Value) -> Value:
    kind = {"<16 x float>": ("ps", "i16"), "<8 x double>": ("pd", "i8")}.get(x.type)
    if kind is None:
        whole = f.intrinsic("llvm.floor", exponent.type, exponent)
        return f.intrinsic("llvm.ldexp", x.type, x, f.fptosi(whole, "i32"))
    mask, mode = const(kind[1], -1), const("i32", 4)  # all lanes, rounded as everything is
    return f.intrinsic(f"llvm.x86.avx512.mask.scalef.{kind[0]}.512", x.type, x, exponent, x, mask, mode)


def fast_two_sum(a: Lanes, b: Lanes) -> Pair:
    """a + b exactly, for |a| >= |b| (Dekker 1971)."""
    total = a + b
    return total, b - (total - a)


def two_sum(a: Lanes, b: Lanes) -> Pair:
    """a + b exactly (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Lanes, b: Lanes) -> Pair:
    """a * b exactly but for underflow; without fma by halves (Veltkamp), cut in the bits so that nothing overflows."""
    product = a * b
    if a.function.target.fma:
        return product, a.fma(b, -product)
    mask = -1 << (a.format.mantissa // 2 + 1)
    (ah, al), (bh, bl) = ((high, v - high) for v in (a, b) for high in [(v.bits() & mask).as_float()])
    return product, (((ah * bh - product) + ah * bl) + al * bh) + al * bl


def pair_product(a: Pair, b: Pair) -> Pair:
    high, low = two_product(a[0], b[0])
    return fast_two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def pair_sum(a: Pair, b: Pair) -> Pair:
    """For |a| >= |b| or of equal signs."""
    high, low = two_sum(a[0], b[0])
    return fast_two_sum(high, low + (a[1] + b[1]))
