"""Dimension algebra: canonical forms, division, bounds, and agreement with integers."""

from __future__ import annotations

import itertools
import random

import pytest

from graphc.ir.dims import (
    UNBOUNDED,
    Dim,
    SymDim,
    bounds,
    divide_exactly,
    evaluate,
    floordiv,
    is_at_least,
    product,
    substitute,
    symbol,
    symbols,
)

A, B, N = symbol("A"), symbol("B"), symbol("N", 2, 10)


def test_equal_polynomials_are_equal_and_hash_alike() -> None:
    left, right = (A + B) * (A - B), A * A - B * B
    assert left == right and hash(left) == hash(right)
    assert 2 * (A + 1) == A + A + 2 == 2 + 2 * A
    assert A * B == B * A and A != B


def test_constants_fall_out_as_ints() -> None:
    assert A - A == 0 and isinstance(A - A, int)
    assert (A + 3) - A == 3
    assert 0 * A == 0 and A * 1 == A
    assert symbol("P", 5, 5) == 5


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (6 * A, 3, 2 * A),
        (A * B, A, B),
        (A * B * 4, 2 * B, 2 * A),
        (2 * A + 3, 2, A + 1),
        (A + B, A + B, 1),
        (0, A, 0),
        (A, A + 1, 0),
        (7, 2, 3),
        (N // 16, 1, 0),
    ],
)
def test_floor_division_that_simplifies(a: Dim, b: Dim, expected: Dim) -> None:
    assert floordiv(a, b) == expected


def test_division_that_stays_is_an_atom_with_the_same_identity() -> None:
    assert A // 2 == A // 2 and isinstance(A // 2, SymDim)
    assert (A + 2) // 2 == A // 2 + 1
    assert A % 2 == A - 2 * (A // 2)
    assert str((A + 1) // 2) == "((A + 1) // 2)"
    assert floordiv(7, A) == 7 // A and 7 % A == 7 - (7 // A) * A


def test_exact_division_is_only_what_is_proved() -> None:
    assert divide_exactly(4 * A + 8, 4) == A + 2
    assert divide_exactly(4 * A + 6, 4) is None
    assert divide_exactly(A * A * B, A * B) == A
    assert divide_exactly(A, 2 * A) is None
    assert divide_exactly(A + B, B) is None
    assert divide_exactly(A, 0) is None
    with pytest.raises(ZeroDivisionError):
        floordiv(A, 0)


def test_bounds_follow_those_of_the_symbols() -> None:
    assert bounds(N) == (2, 10) and bounds(A) == (1, None)
    assert bounds(3 * N - 1) == (5, 29)
    assert bounds(5 - N) == (-5, 3)
    assert bounds(N // 3) == (0, 3)
    assert bounds(-A) == (-UNBOUNDED, -1)
    assert bounds(A * N) == (2, None)
    assert is_at_least(A + 1, 2) and is_at_least(A * B, 1)
    assert not is_at_least(A, 2) and not is_at_least(A, B)


def test_text() -> None:
    assert str(2 * A * B - A + 3) == "-A + 2*A*B + 3"
    assert str(A - B) == "A - B" and str(-A) == "-A" and str(A * A) == "A*A"


def test_symbols_are_listed_once_also_inside_of_quotients() -> None:
    assert sorted(s.name for s in symbols(A * B + A // (B + 1) + (N + A) // 3)) == ["A", "B", "N"]
    assert symbols(4) == ()


def test_product_and_substitute() -> None:
    assert product(()) == 1 and product((2, A, 3, B)) == 6 * A * B
    assert substitute(A * B + A // 2, {"A": 4}) == 4 * B + 2
    assert substitute(A // 2, {"A": 2 * B}) == B
    assert evaluate(substitute(A * B + A // 2, {"A": N + 1}), {"N": 4, "B": 3}) == 17
    with pytest.raises(KeyError):
        evaluate(A, {"B": 1})


def random_dim(choose: random.Random, depth: int) -> tuple[Dim, object]:
    """A random dimension and a function of (a, b, n) of the same meaning."""
    if depth == 0:
        name = choose.choice("ABN1")
        value = choose.randint(-3, 9)
        dim: Dim = {"A": A, "B": B, "N": N}.get(name, value)
        return dim, lambda sizes: sizes.get(name, value)
    (x, f), (y, g) = random_dim(choose, depth - 1), random_dim(choose, depth - 1)
    divisor = choose.randint(1, 6)
    match choose.randrange(5):
        case 0:
            return x + y, lambda s: f(s) + g(s)
        case 1:
            return x - y, lambda s: f(s) - g(s)
        case 2:
            return x * y, lambda s: f(s) * g(s)
        case 3:
            return x // divisor, lambda s: f(s) // divisor
    return x % divisor, lambda s: f(s) % divisor


@pytest.mark.parametrize("seed", range(200))
def test_random_expressions_mean_what_integers_mean_and_stay_within_bounds(seed: int) -> None:
    dim, meaning = random_dim(random.Random(seed), 3)
    low, high = bounds(dim)
    for a, b, n in itertools.product((1, 2, 5, 12), (1, 3, 8), (2, 7, 10)):
        sizes = {"A": a, "B": b, "N": n}
        value = evaluate(dim, sizes)
        assert value == meaning(sizes)  # type: ignore[operator]
        assert low <= value and (high is None or value <= high), (dim, sizes)
