"""Measures the table of docs/numerics.md: `python tests/bench/vecmath.py [stride of bit patterns]`."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "codegen"))
from test_vecmath import BINARY, LIMITS, doubles, emit, errors, functions, pairs, reference

from graphc.codegen import vecmath
from graphc.codegen.llvm import compile_object
from graphc.codegen.target import Target, host, named
from graphc.linking.link import link
from graphc.runtime.library import Library

COUNT = 4096


def worst_single(stride: int) -> dict[str, float]:
    """The largest error of each function over every `stride`th bit pattern, in pieces that fit into a cache."""
    code, wide = functions(host(), "float", 16), functions(host(), "double", 8)
    worst = dict.fromkeys(LIMITS, 0.0)
    for start in range(0, 2**32, stride << 20):
        patterns = np.arange(start, min(start + (stride << 20), 2**32), stride, dtype=np.uint64).astype(np.uint32)
        x = patterns[: patterns.size // 64 * 64].view(np.float32)
        for name in worst:
            double = x.astype(np.float64)
            exact = wide["erf"](double) if name == "erf" else reference(name, double)
            worst[name] = max(worst[name], float(errors(code[name](x), exact).max()))
    return worst


def worst_double(count: int) -> dict[str, float]:
    code = functions(host(), "double", 8)
    found = {}
    for name in LIMITS:
        x = doubles(count // 8 if name == "erf" else count)
        found[name] = float(errors(code[name](x), reference(name, x.astype(np.longdouble))).max())
    return found


def worst_pow(scalar: str, kind: type) -> float:
    x, y = pairs(kind)
    exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    return float(errors(functions(host(), scalar, 8)["pow"](x, y), exact).max())


def aligned(values: np.ndarray) -> np.ndarray:
    raw = np.empty(values.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    result = raw[start : start + values.nbytes].view(values.dtype)
    result[:] = values
    return result


def best(call: Callable[[], None]) -> float:
    """Seconds of the quickest of 30 calls in a row of 20."""
    times = []
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(20):
            call()
        times.append((time.perf_counter() - start) / 20)
    return min(times)


def speed(target: Target, scalar: str, kind: type) -> dict[str, float]:
    """Nanoseconds an element, of arrays that lie in the first cache."""
    names = {name: 2 if name in BINARY else 1 for name in vecmath.FUNCTIONS}
    module = emit(target, scalar, target.lanes(kind().itemsize), names)
    library = Library(link(compile_object(module.text(), target)), names)
    rng = np.random.default_rng(0)
    x, y, z = (aligned(rng.uniform(low, high, COUNT).astype(kind)) for low, high in ((0.01, 5), (0.5, 2), (0, 1)))
    found = {}
    for name, operands in names.items():
        code = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (operands + 1), ctypes.c_int64)(library.address(name))
        arguments = [array.ctypes.data for array in (*(x, y)[:operands], z)]
        found[name] = best(lambda code=code, arguments=arguments: code(*arguments, COUNT)) / COUNT * 1e9
    return found


def main(stride: int) -> None:
    np.seterr(all="ignore")
    single, double = worst_single(stride), worst_double(1 << 18)
    single["pow"], double["pow"] = worst_pow("float", np.float32), worst_pow("double", np.float64)
    columns = [
        speed(target, *kind)
        for target in (host(), named("x86-64-v3"))
        for kind in (("float", np.float32), ("double", np.float64))
    ]
    for name in vecmath.FUNCTIONS:
        ulps = [f"{table[name]:.2f}" if name in table else "exact" for table in (single, double)]
        print("| " + " | ".join([name, *ulps, *(f"{column[name]:.2f}" for column in columns)]) + " |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 97)
