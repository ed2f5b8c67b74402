"""Typed SSA values and LLVM's spelling of types and constants. Types are LLVM type strings such as "<16 x float>"."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

_VECTOR = re.compile(r"<(\d+) x (.+)>")
_SIZES = {"float": 4, "double": 8, "ptr": 8, "i1": 1}
_MANGLED = {"float": "f32", "double": "f64", "ptr": "p0"}


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA value or constant: how it is written in IR, and its LLVM type."""

    text: str
    type: str

    def __str__(self) -> str:
        """As an operand: type and name."""
        return f"{self.type} {self.text}"


Index = Value | int
Operand = Value | int | float


@cache
def element(type: str) -> str:
    """The element type of a vector type; a scalar type is its own element."""
    match = _VECTOR.fullmatch(type)
    return match[2] if match else type


@cache
def lanes(type: str) -> int:
    """The number of lanes of a vector type; 1 for a scalar."""
    match = _VECTOR.fullmatch(type)
    return int(match[1]) if match else 1


@cache
def vector(type: str, count: int) -> str:
    """A vector of `count` elements of the scalar `type`; one lane is the scalar itself."""
    return type if count == 1 else f"<{count} x {type}>"


def like(type: str, of: str) -> str:
    """The scalar `type` in as many lanes as the type `of` has."""
    return vector(type, lanes(of))


def is_float(type: str) -> bool:
    return element(type) in ("float", "double")


@cache
def size(type: str) -> int:
    """Bytes in memory of a scalar or vector type (i1 counts as a byte)."""
    scalar = element(type)
    return lanes(type) * (_SIZES.get(scalar) or int(scalar[1:]) // 8)


@cache
def mangle(type: str) -> str:
    """The suffix LLVM gives to intrinsics overloaded on `type`: <8 x float> is v8f32."""
    scalar = element(type)
    short = _MANGLED.get(scalar, scalar)
    return short if lanes(type) == 1 else f"v{lanes(type)}{short}"


def const(type: str, number: float) -> Value:
    """The constant `number` of `type`, in every lane: rounded to the float type, wrapped to the integer type."""
    return _whole(type, number) if isinstance(number, int) else _constant(type, number)


@lru_cache(maxsize=4096)
def _whole(type: str, number: int) -> Value:
    """Constants of whole numbers are most of all; zero is not minus zero here."""
    return _constant(type, number)


def _constant(type: str, number: float) -> Value:
    scalar = element(type)
    text = _number(scalar, number)
    return Value(text if lanes(type) == 1 else f"splat ({scalar} {text})", type)


def const_vector(type: str, numbers: Sequence[float]) -> Value:
    """A constant vector of the scalar `type` with one number a lane."""
    body = ", ".join(f"{type} {_number(type, number)}" for number in numbers)
    return Value(f"<{body}>" if len(numbers) > 1 else _number(type, numbers[0]), vector(type, len(numbers)))


def poison(type: str) -> Value:
    return Value("poison", type)


def known(value: Index) -> int | None:
    """The number an integer scalar is known to be, or None."""
    if isinstance(value, int):
        return value
    text = value.text
    if text[0] in "%@" or value.type[0] != "i":
        return None
    return int(text) if text.lstrip("-").isdigit() else None


def _number(scalar: str, number: float) -> str:
    if is_float(scalar):
        return _hex(_round_to_float(number) if scalar == "float" else float(number))
    if scalar == "ptr":
        return "null"
    if number != int(number):
        raise ValueError(f"{number} is no integer")
    bits = int(scalar[1:])
    wrapped = int(number) & ((1 << bits) - 1)
    return str(wrapped - (1 << bits) if bits > 1 and wrapped >> (bits - 1) else wrapped)


def _round_to_float(number: float) -> float:
    """The nearest binary32, ties to even; beyond its range an infinity."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def _hex(number: float) -> str:
    """LLVM's exact spelling, for float too: the bits of the double. NaN is the positive quiet one."""
    if number != number:
        return "0x7FF8000000000000"
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
