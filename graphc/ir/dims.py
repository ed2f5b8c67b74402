"""Symbolic dimensions: integers known at compile time, or polynomials over run-time symbols.

A dimension is a Python ``int`` or a ``SymDim``.  A ``SymDim`` is a polynomial with integer coefficients
whose atoms are ``Symbol`` (a size known at the call) and ``Quotient`` (a floor division that does not
simplify).  Arithmetic keeps polynomials in one canonical form, so two dimensions are provably equal exactly
when they compare equal, and a polynomial that turns out constant becomes a plain ``int`` again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Union

Dim = Union[int, "SymDim"]
Monomial = tuple["Atom", ...]  # sorted; an atom stands as often as its power


@dataclass(frozen=True)
class Symbol:
    """A size known at the call, within bounds (`high` None: unbounded)."""

    name: str
    low: int = 1
    high: int | None = None

    def __str__(self) -> str:
        return self.name

    def bounds(self) -> tuple[int, int | None]:
        return self.low, self.high

    def value(self, sizes: Mapping[str, int]) -> int:
        return sizes[self.name]


@dataclass(frozen=True)
class Quotient:
    """floor(numerator / denominator), kept when it cannot be carried out; the denominator is positive."""

    numerator: Dim
    denominator: Dim

    def __str__(self) -> str:
        return f"({_enclosed(self.numerator)} // {_enclosed(self.denominator)})"

    def bounds(self) -> tuple[int, int | None]:
        low, high = bounds(self.numerator)
        least, most = bounds(self.denominator)
        least = max(least, 1)
        if low < 0:
            low = -UNBOUNDED if low <= -UNBOUNDED else low // least
        else:
            low = 0 if most is None else low // most
        if high is None:
            return low, None
        if high < 0:
            return low, -1 if most is None else high // most
        return low, high // least

    def value(self, sizes: Mapping[str, int]) -> int:
        return evaluate(self.numerator, sizes) // evaluate(self.denominator, sizes)


Atom = Symbol | Quotient


@dataclass(frozen=True, eq=True)
class SymDim:
    """A polynomial that is not constant: sorted (monomial, coefficient) pairs without zero coefficients."""

    terms: tuple[tuple[Monomial, int], ...]

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        return _polynomial([*self.terms, *_terms(other)])

    def __radd__(self, other: Dim) -> Dim:
        return self + other

    def __neg__(self) -> Dim:
        return _polynomial((m, -c) for m, c in self.terms)

    def __sub__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        return self + -other

    def __rsub__(self, other: Dim) -> Dim:
        return -self + other

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        products = ((_join(m, n), c * d) for m, c in self.terms for n, d in _terms(other))
        return _polynomial(products)

    def __rmul__(self, other: Dim) -> Dim:
        return self * other

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return self - floordiv(self, other) * other

    def __rmod__(self, other: Dim) -> Dim:
        return other - floordiv(other, self) * self

    def __str__(self) -> str:
        text = ""
        named = [(not monomial, str_monomial(monomial), coefficient) for monomial, coefficient in self.terms]
        for _, name, coefficient in sorted(named):  # each name is made once: quotients nest
            sign = " - " if coefficient < 0 else " + "
            size = abs(coefficient)
            body = name if size == 1 and name else f"{size}*{name}" if name else str(size)
            text += (sign if text else sign.strip().replace("+", "")) + body
        return text

    __repr__ = __str__


def str_monomial(monomial: Monomial) -> str:
    return "*".join(str(atom) for atom in monomial)


def _enclosed(dim: Dim) -> str:
    """The text of a dimension as an operand: `a // 2*b` would divide by 2 alone."""
    if isinstance(dim, int) or (len(dim.terms) == 1 and dim.terms[0][1] == 1 and len(dim.terms[0][0]) == 1):
        return str(dim)
    return f"({dim})"


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, SymDim):
        return dim.terms
    return (((), dim),) if dim else ()


def _join(a: Monomial, b: Monomial) -> Monomial:
    return tuple(sorted(a + b, key=str)) if a and b else a or b


def _polynomial(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, 0) + coefficient
    kept = {m: c for m, c in total.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return SymDim(tuple(sorted(kept.items(), key=lambda term: str_monomial(term[0]))))


def symbol(name: str, low: int = 1, high: int | None = None) -> Dim:
    """A run-time dimension; a plain int when the bounds leave one value."""
    if low == high:
        return low
    return SymDim((((Symbol(name, low, high),), 1),))


def divide_exactly(a: Dim, b: Dim) -> Dim | None:
    """a / b when it is provably exact, else None."""
    if b == 0:
        return None
    if isinstance(b, int):
        terms = _terms(a)
        return _polynomial((m, c // b) for m, c in terms) if all(c % b == 0 for _, c in terms) else None
    if len(b.terms) != 1:
        return 1 if a == b else None
    (monomial, coefficient), quotient = b.terms[0], []
    for m, c in _terms(a):
        rest = list(m)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % coefficient:
            return None
        quotient.append((tuple(rest), c // coefficient))
    return _polynomial(quotient)


def floordiv(a: Dim, b: Dim) -> Dim:
    """floor(a / b); a positive divisor is the caller's duty, zero raises ZeroDivisionError."""
    if b == 0:
        raise ZeroDivisionError("division of a dimension by zero")
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    exact = divide_exactly(a, b)
    if exact is not None:
        return exact
    if isinstance(b, int) and isinstance(a, SymDim):  # (b*q + r) // b = q + r // b
        whole = _polynomial((m, c // b) for m, c in a.terms if c % b == 0)
        rest = _polynomial((m, c) for m, c in a.terms if c % b)
        low, high = bounds(rest)
        if high is not None and low // b == high // b:
            return whole + low // b
        return whole + SymDim((((Quotient(rest, b),), 1),))
    low, high = bounds(a - b)
    if high is not None and high < 0 and bounds(a)[0] >= 0:
        return 0
    return SymDim((((Quotient(a, b),), 1),))


UNBOUNDED = 2**62
Range = tuple[int | None, int | None]  # None: no bound on that side


def bounds(dim: Dim) -> tuple[int, int | None]:
    """(least, greatest or None) value by interval arithmetic; least is -UNBOUNDED when unbounded below."""
    if isinstance(dim, int):
        return dim, dim
    low: int | None = 0
    high: int | None = 0
    for monomial, coefficient in dim.terms:
        least, most = _monomial_range(monomial, coefficient)
        low = None if low is None or least is None else low + least
        high = None if high is None or most is None else high + most
    return (-UNBOUNDED if low is None else low), high


def _monomial_range(monomial: Monomial, coefficient: int) -> Range:
    """The product of the ranges of the atoms: the least and the greatest product of two ends."""
    low: int | None = coefficient
    high: int | None = coefficient
    for atom in monomial:
        least, most = atom.bounds()
        corners = [_corner(x, y) for x in ((low, -1), (high, 1)) for y in ((_finite(least), -1), (most, 1))]
        infinite = [sign for value, sign in corners if value is None]
        finite = [value for value, _ in corners if value is not None]
        low = None if -1 in infinite else min(finite)
        high = None if 1 in infinite else max(finite)
    return low, high


def _finite(least: int) -> int | None:
    return None if least <= -UNBOUNDED else least


def _corner(x: tuple[int | None, int], y: tuple[int | None, int]) -> tuple[int | None, int]:
    """The product of two ends (value, or None and the sign of the infinity) in the same form; 0 times it is 0."""
    (a, side), (b, other) = x, y
    if a == 0 or b == 0:
        return 0, 0
    if a is not None and b is not None:
        return a * b, 0
    return None, (side if a is None else 1 if a > 0 else -1) * (other if b is None else 1 if b > 0 else -1)


def is_at_least(a: Dim, b: Dim) -> bool:
    """True when a >= b for every admissible size."""
    return bounds(a - b)[0] >= 0


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The value of a dimension at given sizes of its symbols; KeyError for a missing one."""
    if isinstance(dim, int):
        return dim
    total = 0
    for monomial, coefficient in dim.terms:
        for atom in monomial:
            coefficient *= atom.value(sizes)
        total += coefficient
    return total


def symbols(dim: Dim) -> tuple[Symbol, ...]:
    """The symbols a dimension depends on, in order of first appearance."""
    found: dict[Symbol, None] = {}
    if isinstance(dim, SymDim):
        for monomial, _ in dim.terms:
            for atom in monomial:
                if isinstance(atom, Symbol):
                    found[atom] = None
                else:
                    found.update(dict.fromkeys((*symbols(atom.numerator), *symbols(atom.denominator))))
    return tuple(found)


def words(dim: Dim, most: int) -> int:
    """How many numbers (of 64 bits) and symbols write the dimension out; the count stops once it is above `most`."""
    count, stack = 0, [dim]
    while stack and count <= most:
        one = stack.pop()
        if isinstance(one, int):
            count += 1 + one.bit_length() // 64
            continue
        for monomial, coefficient in one.terms:
            count += 1 + coefficient.bit_length() // 64 + len(monomial)
            for atom in monomial:
                if isinstance(atom, Quotient):
                    stack += (atom.numerator, atom.denominator)
            if count > most:
                break
    return count


def product(dims: Iterable[Dim]) -> Dim:
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def substitute(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """The dimension with some symbols replaced by name."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        part: Dim = coefficient
        for atom in monomial:
            if isinstance(atom, Symbol):
                part = part * sizes.get(atom.name, SymDim((((atom,), 1),)))
            else:
                part = part * floordiv(substitute(atom.numerator, sizes), substitute(atom.denominator, sizes))
        total = total + part
    return total
