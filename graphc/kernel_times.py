"""The time of every kernel of an entry, on one thread: what it computes, what it moves, and what the machine could do.

A copy of the program is compiled whose entries store the processor's counter behind each kernel, so that the kernels
are measured where they run, with the caches as their predecessors leave them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.codegen.bfloat import FEATURE as PAIRS_FEATURE
from graphc.codegen.entry import EntryCode, emit_entry
from graphc.codegen.epoch import SYMBOL as EPOCH
from graphc.codegen.epoch import emit_epoch
from graphc.codegen.kernel import Call, Contract, For, Kernel, Stmt, Store, closure, scalars_of
from graphc.codegen.llvm import Function, Module, Value, const, vector
from graphc.codegen.objects import compile_object
from graphc.codegen.target import Target
from graphc.codegen.team import emit_team
from graphc.compilation import Compilation
from graphc.ir.dims import Dim, evaluate, product
from graphc.linking.link import link
from graphc.runtime.artifact import Artifact, Build
from graphc.runtime.library import Library
from graphc.runtime.model import Model
from graphc.signature import signature_of

CALLS = 3  # at least so many; the shortest time of a kernel counts
PAUSE = 0.05  # seconds over which the counter is compared with the clock
CHAINS, TURNS = 16, 100_000  # of multiply-adds, to find the peak
COPIED = 1 << 25  # bytes copied to find the bandwidth of memory


@dataclass(frozen=True)
class KernelTime:
    """One kernel: `what` it computes; `operations` and `moved` bytes if everything is read and written once.

    `paired` are the operations of which one instruction does twice as many as of others.
    """

    number: int
    what: str
    seconds: float
    operations: int
    moved: int
    paired: int = 0

    def share_of_roofline(self, peak: Peak) -> float:
        """The time that the machine needs at least, over the time taken; above 1 the data came out of caches."""
        computed = (self.operations - self.paired / 2) / peak.operations
        return max(computed, self.moved / peak.bandwidth) / self.seconds


@dataclass(frozen=True)
class Peak:
    """What one thread of the machine does in a second: operations in f32 multiply-adds, and bytes copied."""

    operations: float
    bandwidth: float


class TimedModel:
    """A model whose entries tell when each of their kernels was done."""

    def __init__(self, compilation: Compilation) -> None:
        self.entries, self.target = compilation.entries, compilation.options.target
        self._ticks = {
            name: np.zeros(len(code.schedule.tasks) + 1, np.int64) for name, code in compilation.entries.items()
        }
        module, program = Module(self.target), compilation.program
        for name, code in self.entries.items():
            emit_entry(code, module, program.symbols, clock=_clock(self._ticks[name]))
        if "step" in self.entries:
            emit_epoch(module)
        if any(code.program.is_parallel for code in self.entries.values()):
            emit_team(module)
        epoch = EPOCH if "step" in self.entries else None
        signature = signature_of(program, self.entries, self.target, compilation.source_hash, epoch)
        image = link(compile_object(module.text(), self.target))
        self.model = Model(Artifact((Build(signature, image),)), threads=1)
        self.model.init(seed=0)

    def times(
        self, entry: str, call: Callable[[], object], sizes: Mapping[str, int], seconds: float
    ) -> list[KernelTime]:
        """The kernels of an entry in the order in which they run; `call` runs the entry, for so many seconds."""
        ticks, code = self._ticks[entry], self.entries[entry]
        call()
        rounds: list[np.ndarray] = []
        end = time.perf_counter() + seconds
        while len(rounds) < CALLS or time.perf_counter() < end:
            call()
            rounds.append(np.diff(ticks))
        rate = self._rate(ticks, call)
        least = np.maximum(np.min(rounds, axis=0), 1) / rate
        has_pairs = self.target.has(PAIRS_FEATURE)
        return [_time(number, code, float(one), sizes, has_pairs) for number, one in enumerate(least)]

    def _rate(self, ticks: np.ndarray, call: Callable[[], object]) -> float:
        """Ticks of the counter in a second."""
        call()
        first, start = int(ticks[-1]), time.perf_counter()
        time.sleep(PAUSE)
        call()
        return (int(ticks[-1]) - first) / (time.perf_counter() - start)


def _clock(ticks: np.ndarray) -> Callable[[Function, int], None]:
    """Writes code that stores the counter in `ticks`, which stays where it is."""

    def read(f: Function, number: int) -> None:
        # aarch64 keeps the cycle counter from programs and gives them a steady one
        name = "llvm.readcyclecounter" if f.target.triple.startswith("x86") else "llvm.readsteadycounter"
        f.module.declare(name, "i64", [])
        place = Value(f"inttoptr (i64 {ticks.ctypes.data} to ptr)", "ptr")
        f.store(f.call(name, "i64"), f.offset(place, "i64", number))

    return read


def _time(number: int, code: EntryCode, seconds: float, sizes: Mapping[str, int], has_pairs: bool) -> KernelTime:
    kernel = code.schedule.tasks[number].kernel
    operations = evaluate(_operations(kernel.body), sizes)
    paired = operations - evaluate(_operations(kernel.body, of_pairs=False), sizes) if has_pairs else 0
    return KernelTime(number, kernel.comment, seconds, operations, _moved(kernel, sizes), paired)


def _operations(stmts: Sequence[Stmt], of_pairs: bool = True) -> Dim:
    """Elementary operations of statements: a product with its addition is two, an elementary function is one.

    Those of products of bfloat16 pairs can be left out.
    """
    total: Dim = 0
    for stmt in stmts:
        match stmt:
            case For(var, body, _, folds):
                total = total + var.extent * (
                    _operations(body, of_pairs) + len(folds) + _calls(tuple(f.value for f in folds))
                )
            case Contract():
                elements = stmt.row.extent * stmt.column.extent
                epilogue = _calls(tuple(scalars_of(stmt.epilogue)))
                products = product(axis.extent for axis in stmt.k) * (2 * of_pairs if stmt.pairs else 1)
                total = total + elements * (products * 2 + epilogue)
    return total + _calls(tuple(stmt.value for stmt in stmts if isinstance(stmt, Store)))


def _calls(scalars: tuple[object, ...]) -> int:
    return sum(isinstance(s, Call) for s in closure(scalars))  # type: ignore[arg-type]


def _moved(kernel: Kernel, sizes: Mapping[str, int]) -> int:
    buffers = [b for b in kernel.buffers if b.role != "scratch"]
    return sum(evaluate(product(b.shape), sizes) * b.dtype.size for b in buffers)


def measure_peak(target: Target) -> Peak:
    """Runs multiply-adds that do not wait for each other, and copies more than the caches hold."""
    module = Module(target)
    f = Function(module, "graphc_peak", [("ptr", "result")], "i64", internal=False)
    kind = vector("float", target.lanes(4))
    with f.loop(0, TURNS, carried=[const(kind, i) for i in range(CHAINS)]) as loop:
        loop.next = [f.fma(value, 0.5, 0.25) for value in loop.values]
    for i, value in enumerate(loop.results):
        f.store(value, f.offset(f["result"], "float", i * target.lanes(4)))
    f.ret(const("i64", 0))
    module.add(f)
    library = Library(link(compile_object(module.text(), target)), ["graphc_peak"])
    run, result = library.function("graphc_peak", 1), np.zeros(CHAINS * target.lanes(4) + 16, np.float32)
    computed = _least(lambda: run(result.ctypes.data))
    source, copy = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)
    copied = _least(lambda: np.copyto(copy, source))
    return Peak(2 * CHAINS * TURNS * target.lanes(4) / computed, 2 * COPIED / copied)


def _least(run: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
