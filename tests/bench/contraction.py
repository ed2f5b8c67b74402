"""Speed of contractions: GFLOP/s, per cent of the FMA peak measured beside each row, NumPy on OpenBLAS, compile time.

    python tests/bench/contraction.py [WORD ..]     only rows whose name contains a WORD

One thread. NumPy runs in a process with OPENBLAS_CORETYPE=SkylakeX: its AVX-512 kernels, the stronger rival.
"""

# ruff: noqa: E402
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable

RIVAL = {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
if __name__ == "__main__" and any(os.environ.get(name) != value for name, value in RIVAL.items()):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")} | RIVAL
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)

import llvmlite.binding as binding
import numpy as np

from graphc.codegen.contraction import Contraction, KAxis, Tile, emit, workspace_elements
from graphc.codegen.llvm import Function, Module, Value, compile_object, const, element, vector
from graphc.codegen.target import host

# M, N, K, layout, and which extents are parameters: m, n, k
ROWS = [
    (256, 1024, 784, "NN", ""),
    (512, 512, 512, "NN", ""),
    (512, 512, 512, "NT", ""),
    (512, 512, 512, "TN", ""),
    (1024, 1024, 1024, "NN", ""),
    (1024, 1024, 1024, "NT", ""),
    (1024, 1024, 1024, "TN", ""),
    (1000, 1000, 1000, "NN", ""),
    (2048, 2048, 2048, "NN", ""),
    (64, 1024, 1024, "NN", ""),
    (256, 784, 1024, "NT", ""),
    (784, 1024, 256, "TN", ""),
    (32, 128, 784, "NN", "m"),
    (784, 128, 32, "TN", "k"),
    (32, 128, 784, "NN", ""),
    (784, 128, 32, "TN", ""),
    (32, 784, 128, "NT", "m"),
    (32, 784, 128, "NT", ""),
    (64, 64, 64, "NN", ""),
    (128, 10, 784, "NN", ""),
    (128, 10, 784, "NN", "m"),
    (32, 10, 128, "NN", ""),
    (32, 10, 128, "NN", "m"),
    (128, 10, 32, "TN", "k"),
    (32, 128, 10, "NT", ""),
    (32, 128, 10, "NT", "m"),
    (128, 128, 128, "NN", ""),
    (32, 512, 256, "NN", ""),
    (4, 512, 512, "NN", ""),
    (4, 512, 512, "NN", "m"),
    (1, 128, 784, "NN", ""),
    (1, 1024, 1024, "NN", ""),
    (1, 128, 784, "NN", "m"),
    (1, 1024, 1024, "NN", "m"),
    (256, 1024, 784, "NN", "m"),
    (256, 1024, 784, "NN", "mnk"),
    (512, 512, 512, "NN", "mnk"),
    (512, 512, 512, "NT", "mnk"),
    (512, 512, 512, "TN", "mnk"),
    (20000, 128, 784, "NN", "m"),
    (20000, 1024, 784, "NN", "m"),
    (8, 4096, 4096, "NN", ""),
    (1024, 4096, 4096, "NN", ""),
    (784, 128, 20000, "TN", "k"),
    (784, 1024, 4096, "TN", "k"),
]


def store_tile(f: Function, params: dict[str, Value], tile: Tile) -> None:
    """c[row * n + column]."""
    for row, vectors in zip(tile.rows, tile.accumulators, strict=True):
        for (column, mask), value in zip(tile.columns, vectors, strict=True):
            at = f.offset(params["c"], element(value.type), f.add(f.mul(row, params.get("n", store_tile.n)), column))
            if mask is None:
                f.store(value, at)
            else:
                f.masked_store(value, at, mask)


def contraction(m: int, n: int, k: int, layout: str, late: str, name: str) -> Contraction:
    store_tile.n = n
    sizes = {"m": "m" if "m" in late else m, "n": "n" if "n" in late else n, "k": "k" if "k" in late else k}
    a = (1, sizes["m"]) if layout[0] == "T" else (sizes["k"], 1)
    b = (sizes["k"], 1) if layout[1] == "T" else (1, sizes["n"])
    return Contraction(
        name,
        "float",
        sizes["m"],
        sizes["n"],
        (KAxis(sizes["k"], a[1], b[1]),),
        a[0],
        b[0],
        (("ptr", "c"), *(("i64", letter) for letter in late)),
        store_tile,
    )


def build(module: Module, name: str) -> tuple[object, int, float]:
    """What keeps the code alive, the address of `name`, and the seconds from IR text to object code."""
    text, target = module.text(), host()
    times = []
    for _ in range(3):
        start = time.process_time()
        code = compile_object(text, target)
        times.append(time.process_time() - start)
    jit = binding.create_lljit_compiler(target.machine(), use_jit_link=True)
    tracker = binding.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(name).link(jit, name)
    return (jit, tracker), tracker[name], min(times)


def best(*runs: Callable[[int], None], seconds: float = 0.4) -> list[float]:
    """The shortest seconds of one of many runs of each; run(n) does it n times.

    They take turns and only the thread's own time counts: clock frequency and other processes change all the time.
    """
    counts, times = [], []
    for run in runs:
        run(1)
        counts.append(max(1, int(2e-3 / max(1e-7, timed(run, 1)))))
        times.append(timed(run, counts[-1]))
    for _ in range(min(100, int(seconds / sum(times)) + 5)):
        times = [min(shortest, timed(run, count)) for run, count, shortest in zip(runs, counts, times, strict=True)]
    return [shortest / count for shortest, count in zip(times, counts, strict=True)]


def timed(run: Callable[[int], None], count: int) -> float:
    start = time.thread_time()
    run(count)
    return time.thread_time() - start


def peak_function() -> tuple[object, Callable[[int], None]]:
    """1000 * n turns of 16 independent vector FMAs."""
    module = Module(host())
    f = Function(module, "peak", [("i64", "n")], internal=False)
    kind = vector("float", host().lanes(4))
    with f.loop(0, f.mul(f["n"], 1000), carried=[const(kind, i) for i in range(16)]) as loop:
        loop.next = [f.fma(value, 0.5, 0.25) for value in loop.values]
    total = loop.results[0]
    for value in loop.results[1:]:
        total = f.fadd(total, value)
    spot = f.assign("ptr", f"alloca {kind}, align 64")
    f.emit(f"store volatile {total}, ptr {spot.text}, align 64")
    f.ret()
    module.add(f)
    alive, address, _ = build(module, "peak")
    return alive, ctypes.CFUNCTYPE(None, ctypes.c_int64)(address)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    raw = np.zeros(int(np.prod(shape)) + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + int(np.prod(shape))].reshape(shape)


def measure(number: int, row: tuple[int, int, int, str, str], peak: Callable[[int], None]) -> str:
    m, n, k, layout, late = row
    module, name = Module(host()), f"bench{number}"
    start = time.perf_counter()
    one = contraction(*row, f"{name}.one".replace(".", "_"))
    inner = emit(one, module, host())
    params = [("ptr", "a"), ("ptr", "b"), ("ptr", "w"), *one.params]
    f = Function(module, name, [("i64", "times"), *params], internal=False)
    with f.loop(0, f["times"]):
        f.call(inner, "void", *(f[param] for _, param in params))
    f.ret()
    module.add(f)
    writing = time.perf_counter() - start
    _alive, address, seconds = build(module, name)
    rng = np.random.default_rng(0)
    a, b = aligned((k, m) if layout[0] == "T" else (m, k)), aligned((n, k) if layout[1] == "T" else (k, n))
    a[...], b[...] = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
    c, sizes = aligned((m, n)), {"m": m, "n": n, "k": k}
    space = aligned((workspace_elements(one, host())(sizes) + 16,))
    native = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * len(late))(address)
    addresses = [x.ctypes.data for x in (a, b, space, c)] + [sizes[letter] for letter in late]
    native(1, *addresses)
    left, right = (a.T if layout[0] == "T" else a), (b.T if layout[1] == "T" else b)
    assert np.allclose(c, left @ right, atol=1e-3 * k**0.5)

    def numpy(times: int) -> None:
        for _ in range(times):
            np.matmul(left, right, out=c)

    ours, rival, top = best(lambda times: native(times, *addresses), numpy, peak)
    flops, top = 2 * m * n * k / 1e9, 1000 * 16 * 2 * host().lanes(4) / top / 1e9
    return (
        f"{m:5},{n:4},{k:4} {layout} {late or '-':3} {flops / ours:7.1f} {100 * flops / ours / top:5.1f}% "
        f"{flops / rival:7.1f}  {ours * 1e6:10.2f} us {rival * 1e6:10.2f} us   "
        f"{writing * 1e3:5.1f} + {seconds * 1e3:5.1f} ms {len(module.text()) // 1000:4} kB"
    )


def main() -> None:
    _alive, peak = peak_function()
    print("    M,   N,   K  op late  GF/s  %peak   numpy         ours         numpy   writing + compiling, the IR")
    for number, row in enumerate(ROWS):
        name = f"{row[0]}x{row[1]}x{row[2]}{row[3]}{row[4]}"
        if len(sys.argv) < 2 or any(word in name for word in sys.argv[1:]):
            print(measure(number, row, peak), flush=True)


if __name__ == "__main__":
    main()
