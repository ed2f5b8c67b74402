"""The elementary functions against extended precision: errors in ulp over the whole range, special values, widths."""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from graphc.codegen import vecmath
from graphc.codegen.llvm import Function, Module, assembly, compile_object, element, vector
from graphc.codegen.target import Target, host, named
from graphc.linking.link import link
from graphc.runtime.library import Library

# The errors docs/numerics.md states, in ulp: binary32, binary64. The requirement is 2 and 4.
LIMITS = {
    "exp": (0.9, 1.1),
    "expm1": (1.2, 1.3),
    "log": (0.9, 0.9),
    "log1p": (1.5, 1.5),
    "tanh": (1.4, 2.7),
    "sigmoid": (1.6, 1.7),
    "erf": (1.3, 1.3),
    "sin": (1.0, 1.1),
    "cos": (1.0, 1.1),
    "sqrt": (0.5, 0.5),
    "rsqrt": (1.5, 1.5),
}
LOOKED_UP = {"exp": 0.8, "tanh": 1.3, "erf": 0.9}  # binary32 where a register holds a table
BINARY = ("pow", "min", "max", "floordiv", "mod")
SPECIAL = [
    0.0,
    -0.0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
    0.5,
    -0.5,
    1.5,
    -1.5,
    2.5,
    -7,
    1e30,
    -1e30,
    1e-30,
    -1e-30,
    np.inf,
    -np.inf,
    np.nan,
    1e-42,
    -1e-42,
    3e38,
    -3e38,
    0.99999994,
    1.0000001,
    16777216,
    -16777215,
    88.8,
    -103.9,
    89.5,
    -746,
]
EXTENDED = np.finfo(np.longdouble).nmant > 60
pytestmark = pytest.mark.filterwarnings("ignore")  # numpy warns of overflow and invalid values, which are meant


def emit(target: Target, scalar: str, lanes: int, names: dict[str, int]) -> Module:
    """A module with a function (inputs, output, count) for each name; masks are stored as 0 and 1."""
    module, type = Module(target), vector(scalar, lanes)
    for name, operands in names.items():
        inputs = [f"x{i}" for i in range(operands)]
        f = Function(module, name, [*(("ptr", x) for x in inputs), ("ptr", "y"), ("i64", "n")], internal=False)
        with f.loop(0, f["n"], lanes) as loop:
            values = [f.load(f.offset(f[x], scalar, loop.index), type) for x in inputs]
            result = vecmath.call(f, name, *values)
            if element(result.type) == "i1":
                result = f.uitofp(result, scalar)
            f.store(result, f.offset(f["y"], scalar, loop.index))
        f.ret()
        module.add(f)
    return module


@cache
def functions(target: Target, scalar: str, lanes: int) -> dict[str, Callable[..., Any]]:
    """Callables of numpy arrays whose size is a multiple of `lanes`."""
    names = {name: 2 if name in BINARY else 1 for name in vecmath.FUNCTIONS}
    if not scalar.startswith(("f", "d")):
        names = dict.fromkeys(("min", "max", "floordiv", "mod"), 2) | dict.fromkeys(("abs", "sign", "neg"), 1)
    module = emit(target, scalar, lanes, names)
    library = Library(link(compile_object(module.text(), target)), names)

    def bind(name: str) -> Callable[..., Any]:
        code = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (names[name] + 1), ctypes.c_int64)(library.address(name))

        def run(*inputs: np.ndarray) -> np.ndarray:
            assert all(x.size % lanes == 0 and x.flags.c_contiguous for x in inputs) and library
            result = np.empty_like(inputs[0])
            code(*(x.ctypes.data for x in inputs), result.ctypes.data, result.size)
            return result

        return run

    return {name: bind(name) for name in names}


def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!, whose terms are all of one sign."""
    x = np.clip(x, -7, 7)
    total = term = x.copy()
    for n in range(1, 190):
        term = term * (2 * x * x / (2 * n + 1))
        total = total + term
    return total * np.exp(-x * x) * (2 / np.sqrt(np.longdouble(np.pi) + np.longdouble(1.2246467991473532e-16)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def reference(name: str, x: np.ndarray) -> np.ndarray:
    others = {"erf": erf, "sigmoid": sigmoid, "rsqrt": lambda x: 1 / np.sqrt(x)}
    return (others[name] if name in others else getattr(np, name))(x)


def errors(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """In units of the last place of the rounded result; infinite where infinities, NaN or the sign of zero differ."""
    rounded = exact.astype(result.dtype)
    finite = np.isfinite(rounded) & np.isfinite(result)
    unit = np.spacing(np.abs(np.where(finite, rounded, 1)))
    error = np.abs(np.where(finite, result, 0) - np.where(finite, exact, 0)) / unit
    same = (np.isnan(result) & np.isnan(rounded)) | ((result == rounded) & (np.signbit(result) == np.signbit(rounded)))
    return np.where(finite & ((rounded != 0) | (result != 0)), error, np.where(same, 0, np.inf))


def doubles(count: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    ranges = [
        rng.uniform(-750, 720, count),
        rng.uniform(-2, 2, count),
        rng.uniform(-7, 7, count),
        np.exp(rng.uniform(-40, 40, count)),
        rng.uniform(-2e6, 2e6, count),
    ]
    patterns = rng.integers(0, 2**64, 2 * count, dtype=np.uint64).view(np.float64)
    return np.concatenate([patterns, *ranges, np.resize(np.array(SPECIAL), 64)])


def floats(stride: int) -> np.ndarray:
    x = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32)
    return np.concatenate([x[: x.size // 64 * 64].view(np.float32), np.resize(np.array(SPECIAL, np.float32), 64)])


def runnable() -> list[Target]:
    """The host, and the lesser x86 targets if the host is one that has AVX2."""
    lesser = [named("x86-64-v3"), named("generic")] if host().is_x86 and host().vector_bytes >= 32 else []
    return [host(), *lesser]


@pytest.mark.parametrize("name", LIMITS)
def test_float_error(name: str) -> None:
    """Every 1499th of all bit patterns; binary64 is exact enough a reference."""
    x = floats(1499)
    result = functions(host(), "float", host().lanes(4))[name](x)
    wide = (
        functions(host(), "double", host().lanes(8))["erf"](x.astype(np.float64))
        if name == "erf"
        else reference(name, x.astype(np.float64))
    )
    is_looked_up = host().is_x86 and host().vector_bytes == 64
    limit = LOOKED_UP.get(name, LIMITS[name][0]) if is_looked_up else LIMITS[name][0]
    assert errors(result, wide).max() <= limit


@pytest.mark.skipif(not EXTENDED, reason="long double is no wider than double here")
@pytest.mark.parametrize("name", LIMITS)
def test_double_error(name: str) -> None:
    x = doubles(1 << 12 if name == "erf" else 1 << 15)
    result = functions(host(), "double", host().lanes(8))[name](x)
    assert errors(result, reference(name, x.astype(np.longdouble))).max() <= LIMITS[name][1]


@pytest.mark.parametrize("target", runnable()[1:], ids=lambda target: target.name)
def test_other_targets(target: Target) -> None:
    """Without AVX-512, and without fma, the errors stay within the requirement."""
    single, double = floats(99991), doubles(1 << 11)
    for name in LIMITS:
        exact = reference(name, single.astype(np.longdouble))
        assert errors(functions(target, "float", target.lanes(4))[name](single), exact).max() <= 2, name
        exact = reference(name, double.astype(np.longdouble))
        assert errors(functions(target, "double", target.lanes(8))[name](double), exact).max() <= 4, name


@pytest.mark.parametrize(("scalar", "kind"), [("float", np.float32), ("double", np.float64)])
def test_widths_agree(scalar: str, kind: type) -> None:
    """One lane, half a register, two registers: the same bits."""
    x = floats(999983) if kind is np.float32 else doubles(1 << 9)
    y = np.roll(x, 7)
    sample = functions(host(), scalar, 8)
    for lanes, name in itertools.product((1, 4, 16), sample):
        inputs = (x, y) if name in BINARY else (x,)
        got, want = functions(host(), scalar, lanes)[name](*inputs), sample[name](*inputs)
        assert np.array_equal(got, want, equal_nan=True), (name, lanes)


def pairs(kind: type) -> tuple[np.ndarray, np.ndarray]:
    """Special values with each other, bit patterns, and ranges of interest."""
    rng, count = np.random.default_rng(3), 1 << 13
    special = [*SPECIAL, 1e300, -1e300, 5e-324, 9007199254740993.0] if kind is np.float64 else SPECIAL
    cross = np.array(list(itertools.product(special, special)), kind)
    cross = np.resize(cross, (-(-len(cross) // 64) * 64, 2))
    integers = np.uint32 if kind is np.float32 else np.uint64
    bits = rng.integers(0, np.iinfo(integers).max, (count, 2), dtype=integers).view(kind)
    with np.errstate(all="ignore"):
        parts = [
            cross,
            bits,
            rng.uniform(-30, 30, (count, 2)),
            rng.integers(-50, 50, (count, 2)),
            np.stack([np.exp(rng.uniform(-40, 40, count)), rng.uniform(-9, 9, count)], 1),
            np.stack([1 + rng.standard_normal(count) * 1e-3, rng.standard_normal(count) * 3e4], 1),
        ]
        both = np.concatenate([part.astype(kind) for part in parts])
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


@pytest.mark.parametrize("target", runnable(), ids=lambda target: target.name)
@pytest.mark.parametrize(("scalar", "kind", "limit"), [("float", np.float32, 0.6), ("double", np.float64, 0.8)])
def test_pow(target: Target, scalar: str, kind: type, limit: float) -> None:
    x, y = pairs(kind)
    result = functions(target, scalar, target.lanes(kind().itemsize))["pow"](x, y)
    assert errors(result, np.power(x.astype(np.longdouble), y.astype(np.longdouble))).max() <= limit


@pytest.mark.parametrize("target", runnable(), ids=lambda target: target.name)
@pytest.mark.parametrize(("scalar", "kind"), [("float", np.float32), ("double", np.float64)])
def test_exact_binary(target: Target, scalar: str, kind: type) -> None:
    """min and max keep NaN; floor division and remainder are numpy's to the last bit, however large the quotient."""
    x, y = pairs(kind)
    code = functions(target, scalar, target.lanes(kind().itemsize))
    assert np.array_equal(code["min"](x, y), np.minimum(x, y), equal_nan=True)
    assert np.array_equal(code["max"](x, y), np.maximum(x, y), equal_nan=True)
    for name, numpy in (("floordiv", np.floor_divide), ("mod", np.mod)):
        assert errors(code[name](x, y), numpy(x, y)).max() == 0, name


@pytest.mark.parametrize(("scalar", "kind"), [("float", np.float32), ("double", np.float64)])
def test_exact_unary(scalar: str, kind: type) -> None:
    x = np.concatenate([floats(99991).astype(kind), pairs(kind)[0]])
    code = functions(host(), scalar, 8)
    for name, numpy in (
        ("floor", np.floor),
        ("ceil", np.ceil),
        ("round", np.rint),
        ("neg", np.negative),
        ("abs", np.abs),
        ("sign", np.sign),
        ("isnan", np.isnan),
        ("isinf", np.isinf),
    ):
        assert errors(code[name](x), numpy(x).astype(kind)).max() == 0, name
    assert np.array_equal(code["relu"](x), np.maximum(x, 0), equal_nan=True)


@pytest.mark.parametrize(("scalar", "kind"), [("i8", np.int8), ("i32", np.int32), ("i64", np.int64)])
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_integers(scalar: str, kind: type, lanes: int) -> None:
    """Division by zero gives 0, of the lowest number by -1 wraps; neither traps."""
    limits, rng = np.iinfo(kind), np.random.default_rng(5)
    special = [0, 1, -1, 2, -2, 7, -7, limits.min, limits.max, 3, 100, -100]
    cross = np.array(list(itertools.product(special, special)), kind)
    random = rng.integers(limits.min, limits.max, (2032, 2), dtype=kind) >> rng.integers(0, limits.bits - 1, (2032, 2))
    x, y = (np.ascontiguousarray(column) for column in np.concatenate([cross, random.astype(kind)]).T)
    code = functions(host(), scalar, lanes)
    for name, numpy in (("min", np.minimum), ("max", np.maximum), ("floordiv", np.floor_divide), ("mod", np.mod)):
        assert np.array_equal(code[name](x, y), numpy(x, y)), name
    for name, numpy in (("abs", np.abs), ("sign", np.sign), ("neg", np.negative)):
        assert np.array_equal(code[name](x), numpy(x)), name


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "aarch64", "generic"])
def test_no_library_is_called(target: str) -> None:
    """Only the reduction of far angles is a call, and it lies in the same object."""
    for scalar, size in (("float", 4), ("double", 8)):
        names = {name: 2 if name in BINARY else 1 for name in vecmath.FUNCTIONS}
        machine = named(target)
        text = assembly(emit(machine, scalar, machine.lanes(size), names).text(), machine)
        called = re.findall(r"^\t(?:callq?|bl)\t(\S+)", text, re.MULTILINE)
        assert set(called) == {"reduce_far_angle"}
        assert len(called) == 2
