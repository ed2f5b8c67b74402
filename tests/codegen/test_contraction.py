"""Contractions against NumPy in float64: layouts, extents known early or late, several sums, edges, other targets."""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import llvmlite.binding as binding
import numpy as np
import pytest

from graphc.codegen import ssa, tiling
from graphc.codegen.contraction import Contraction, Elements, Extent, KAxis, Tile, emit, workspace_elements
from graphc.codegen.contraction_spec import Columns
from graphc.codegen.llvm import Function, Module, Value, assembly
from graphc.codegen.target import Target, host, named

CANARY = 7.0e33
_libraries = itertools.count()


def store_tile(f: Function, params: dict[str, Value], tile: Tile) -> None:
    """The epilogue of the tests: c[row * ldc + column], rows of the buffer beyond n untouched."""
    for row, vectors in zip(tile.rows, tile.accumulators, strict=True):
        for (column, mask), value in zip(tile.columns, vectors, strict=True):
            scalar = value.type[1:-1].split(" x ")[1]
            at = f.offset(params["c"], scalar, f.add(f.mul(row, params["ldc"]), column))
            if mask is None:
                f.store(value, at)
            else:
                f.masked_store(value, at, mask)


def ask_for_row(f: Function, params: dict[str, Value], row: Value, columns: list[Value]) -> None:
    """An announcement: the row of c, beyond its end too."""
    for column in columns:
        f.prefetch(f.offset(params["c"], "float", f.add(f.mul(row, params["ldc"]), column)))


@dataclass(frozen=True)
class LateStore:
    """`store_tile`, a row at a time."""

    scalar: str
    registers: int = 8

    def vector(
        self, f: Function, given: Mapping[str, Value], sums: Value, row: Value, column: Value, mask: Value | None
    ) -> None:
        value = f.load(sums, ssa.vector(self.scalar, f.target.lanes(ssa.size(self.scalar))))
        store_tile(f, dict(given), Tile([row], [(column, mask)], [[value]]))

    def tile(self, f: Function, given: Mapping[str, Value], sums: Value, place: Sequence[Value], of: Columns) -> None:
        lanes = f.target.lanes(ssa.size(self.scalar))
        with f.loop(0, place[2]) as loop:
            for i, (column, mask) in enumerate(of):
                at = f.offset(sums, self.scalar, f.mul(f.add(f.mul(loop.index, len(of)), i), lanes))
                self.vector(f, given, at, f.add(place[0], loop.index), column, mask)


@dataclass
class Case:
    """One contraction with its buffers. An extent is written into the code or passed, as `late` says by letters."""

    m: int
    n: int
    k: tuple[tuple[int, int, int], ...]
    row: int
    column: int
    late: str = ""
    scalar: str = "float"
    seed: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def contraction(self, name: str) -> Contraction:
        self.sizes = {}
        axes = tuple(
            KAxis(self._extent("k", extent, f"k{i}"), self._extent("s", a, f"ka{i}"), self._extent("s", b, f"kb{i}"))
            for i, (extent, a, b) in enumerate(self.k)
        )
        m, n = self._extent("m", self.m, "m"), self._extent("n", self.n, "n")
        row = self._extent("s", self.row, "row")
        column: Extent = self.column if self.column == 1 else self._extent("s", self.column, "column")
        params = [("ptr", "c"), ("i64", "ldc"), *(("i64", name) for name in self.sizes)]
        return Contraction(name, self.scalar, m, n, axes, row, column, tuple(params), store_tile)

    def _extent(self, kind: str, value: int, name: str) -> Extent:
        if kind not in self.late:
            return value
        self.sizes[name] = value
        return name

    def check(self, function: ctypes._FuncPointer, elements: Elements) -> None:
        dtype = np.float32 if self.scalar == "float" else np.float64
        rng = np.random.default_rng(self.seed)
        a = rng.standard_normal(1 + self.row * (self.m - 1) + sum(s * (e - 1) for e, s, _ in self.k)).astype(dtype)
        b = rng.standard_normal(1 + self.column * (self.n - 1) + sum(s * (e - 1) for e, _, s in self.k)).astype(dtype)
        ldc = self.n + 3
        c = np.full((self.m + 2) * ldc + 64, CANARY, dtype)
        space = np.full(elements(self.sizes) + 128, CANARY, dtype)
        a_at, b_at = at_page_end(a), at_page_end(b)
        function(
            a_at.ctypes.data, b_at.ctypes.data, space[64:].ctypes.data, c[64:].ctypes.data, ldc, *self.sizes.values()
        )
        expected = np.full_like(c, CANARY)
        out = expected[64 : 64 + (self.m + 2) * ldc].reshape(self.m + 2, ldc)
        index_a = np.arange(self.m) * self.row
        index_b = np.arange(self.n) * self.column
        for extent, a_stride, b_stride in self.k:
            index_a = index_a[..., None] + np.arange(extent) * a_stride
            index_b = index_b[..., None] + np.arange(extent) * b_stride
        left = a.astype(np.float64)[index_a].reshape(self.m, -1)
        right = b.astype(np.float64)[index_b].reshape(self.n, -1)
        out[: self.m, : self.n] = left @ right.T
        bound = np.zeros_like(c, np.float64)
        bound[64 : 64 + (self.m + 2) * ldc].reshape(self.m + 2, ldc)[: self.m, : self.n] = abs(left) @ abs(right).T
        eps = np.finfo(dtype).eps * (left.shape[1] + 2)
        assert np.all(abs(c.astype(np.float64) - expected) <= eps * bound), self
        assert np.all(space[:64] == CANARY), self
        assert np.all(space[len(space) - 64 :] == CANARY), self


def at_page_end(array: np.ndarray) -> np.ndarray:
    """The same numbers just before a page that cannot be read, at an address that is no multiple of a vector."""
    size = -(-array.nbytes // 4096) * 4096
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    base = libc.mmap(None, size + 8192, 3, 0x22, -1, 0)
    assert libc.mprotect(base, 4096, 0) == 0
    assert libc.mprotect(base + 4096 + size, 4096, 0) == 0
    memory = (ctypes.c_char * array.nbytes).from_address(base + 4096 + size - array.nbytes)
    view = np.frombuffer(memory, array.dtype)
    view[:] = array
    return view


def wrap(module: Module, contraction: Contraction, target: Target) -> None:
    """An external function with the contraction's name; its own is internal and may be shared."""
    inner = emit(contraction, module, target)
    params = [("ptr", "a"), ("ptr", "b"), ("ptr", "w"), *contraction.params]
    f = Function(module, f"run_{contraction.name}", params, internal=False)
    f.call(inner, "void", *(f[name] for _, name in params))
    f.ret()
    module.add(f)


def load(contractions: list[Contraction], target: Target) -> tuple[list[Callable[..., None]], object]:
    """The compiled functions, and what keeps them alive."""
    module = Module(target)
    for contraction in contractions:
        wrap(module, contraction, target)
    lljit = binding.create_lljit_compiler(target.machine(), use_jit_link=True)
    builder = binding.JITLibraryBuilder().add_ir(module.text()).add_current_process()
    for contraction in contractions:
        builder.export_symbol(f"run_{contraction.name}")
    tracker = builder.link(lljit, f"contractions{next(_libraries)}")
    functions = []
    for contraction in contractions:
        types = [ctypes.c_void_p] * 3 + [
            {"ptr": ctypes.c_void_p}.get(kind, ctypes.c_int64) for kind, _ in contraction.params
        ]
        functions.append(ctypes.CFUNCTYPE(None, *types)(tracker[f"run_{contraction.name}"]))
    return functions, (lljit, tracker)


def run(cases: list[Case], target: Target) -> None:
    contractions = [case.contraction(f"c{i}") for i, case in enumerate(cases)]
    contractions = [replace(c, announce=ask_for_row) if i % 3 == 1 else c for i, c in enumerate(contractions)]
    contractions = [
        replace(c, late=LateStore(c.scalar)) if i % 3 + i % 2 > 1 else c for i, c in enumerate(contractions)
    ]
    functions, _alive = load(contractions, target)
    for case, contraction, function in zip(cases, contractions, functions, strict=True):
        case.check(function, workspace_elements(contraction, target))


def matrices(m: int, n: int, k: int, layout: str, late: str = "", scalar: str = "float") -> Case:
    """A product of row-major matrices; T in the layout is a transposed operand."""
    a = (1, m) if layout[0] == "T" else (k, 1)
    b = (k, 1) if layout[1] == "T" else (1, n)
    return Case(m, n, ((k, a[1], b[1]),), a[0], b[0], late, scalar, m * 31 + n * 7 + k)


SIZES = [
    (1, 1, 1),
    (1, 10, 128),
    (1, 200, 30),
    (8, 48, 2),
    (9, 49, 3),
    (32, 10, 33),
    (17, 130, 40),
    (33, 65, 64),
    (128, 10, 37),
    (4, 96, 31),
    (3, 200, 9),
    (70, 300, 21),
    (14, 32, 16),
    (5, 16, 1),
]


def random_cases(seed: int, count: int, lates: list[str]) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        m, n, k = SIZES[i % len(SIZES)] if i < len(SIZES) else rng.integers(1, 90, 3).tolist()
        layout = "NT"[i & 1] + "NT"[(i >> 1) & 1]
        cases.append(matrices(m, n, k, layout, lates[i % len(lates)], "double" if i % 5 == 4 else "float"))
    return cases


CONVOLUTIONS = [
    Case(12, 20, ((3, 14 * 5, 3 * 5 * 20), (3, 5, 5 * 20), (5, 1, 20)), 5, 1),  # overlapping rows
    Case(6, 33, ((2, 14 * 5, 3 * 5 * 33), (3, 5, 5 * 33), (5, 1, 33)), 10, 1, "m"),  # step 2
    Case(7, 9, ((3, 40, 7), (2, 5, 70), (4, 1, 1)), 5, 150, "mk"),  # B by inner k: transposes
    Case(7, 19, ((3, 40, 7), (2, 5, 70), (18, 1, 1)), 5, 150, "ms"),
    Case(7, 19, ((3, 40, 100), (2, 5, 40), (18, 1, 2)), 5, 300, "n"),  # B by no axis: elements
    Case(5, 12, ((3, 20, 1000), (4, 5, 30)), 60, 1),  # one axis in A, two in B
    Case(5, 12, ((3, 90, 120), (4, 5, 30)), 60, 1),  # two in A, one in B
    Case(30, 40, ((3, 900, 700), (5, 100, 90)), 1, 1, "smnk"),
    Case(45, 40, ((3, 900, 7000), (15, 1, 300)), 31, 1, "m"),  # packed or not, seen late
]


def overlapping(m: int, n: int, taps: int = 3, late: str = "", channels: int = 5, scalar: str = "float") -> Case:
    """A row of a convolution: step by step along the taps each row of A is the next one."""
    size = channels * n
    axes = (2, (m + 9) * channels, taps * size), (taps, channels, size), (channels, 1, n)
    return Case(m, n, axes, channels, 1, late, scalar, m + n)


@pytest.mark.parametrize("lates", [[""], ["m"], ["n", "k", "s"], ["mnks", "mk", "mn"]], ids=str)
def test_on_this_machine(lates: list[str]) -> None:
    run(random_cases(len(lates[0]), 18, lates), host())


@pytest.mark.parametrize("name", ["host", "x86-64-v3", "generic"])
def test_several_sums(name: str) -> None:
    run(CONVOLUTIONS, on_this_machine(name))


def test_taps_that_share_elements() -> None:
    target = host()
    if target.registers < 32:
        pytest.skip("the registers of this machine are too few")
    for scalar, size in (("float", 4), ("double", 8)):
        lanes = target.lanes(size)
        cases = [
            overlapping(m, lanes, taps, late, scalar=scalar)
            for m, taps, late in [(1, 3, ""), (5, 2, ""), (16, 5, ""), (33, 3, ""), (17, 4, "m"), (40, 3, "m")]
        ]
        cases.append(overlapping(32, lanes, 3, channels=64, scalar=scalar))
        cases += [overlapping(20, lanes - 1, 3, scalar=scalar)] if target.masked else []
        plans = [tiling.plan(case.contraction("x"), target) for case in cases]
        assert all(
            one.taps is not None and one.taps.extent == case.k[1][0] for one, case in zip(plans, cases, strict=True)
        )
        run(cases, target)


@pytest.mark.parametrize(
    "case",
    [
        overlapping(32, 17),  # two vectors
        overlapping(32, 16, 6),  # too many taps
        overlapping(32, 16, channels=400),  # long sums
        overlapping(32, 16, late="k"),
        overlapping(32, 16, 3, "s"),
        Case(16, 16, ((3, 900, 480), (3, 5, 80), (5, 1, 16)), 10, 1),  # steps of two pixels
        Case(16, 16, ((3, 900, 480), (3, 10, 80), (5, 1, 16)), 5, 1),  # taps two pixels apart
    ],
    ids=str,
)
def test_taps_that_share_nothing(case: Case) -> None:
    assert tiling.plan(case.contraction("x"), named("x86-64-v4")).taps is None


def test_sums_with_taps_do_not_depend_on_the_number_of_rows() -> None:
    """Not the bits of a row either, nor whether memory is asked for."""
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal(4000).astype(np.float32), rng.standard_normal(4000).astype(np.float32)
    n, target = host().lanes(4), host()

    def rows(m: int, late: str, announced: bool) -> np.ndarray:
        axes = (3, 600, 9 * n), (3, 3, 3 * n), (3, 1, n)
        case = Case(m, n, axes, 3, 1, late)
        contraction = replace(case.contraction("c0"), announce=ask_for_row if announced else None)
        assert target.registers < 32 or tiling.plan(contraction, target).taps is not None
        (function,), _alive = load([contraction], target)
        c = np.zeros((m, n), np.float32)
        function(a.ctypes.data, b.ctypes.data, None, c.ctypes.data, n, *case.sizes.values())
        return c

    whole = rows(70, "", False)
    assert all(
        np.array_equal(rows(m, late, announced), whole[:m])
        for m in (1, 7, 33)
        for late in ("", "m")
        for announced in (False, True)
    )


@pytest.mark.parametrize("name", ["x86-64-v3", "generic"])
def test_other_vector_widths(name: str) -> None:
    run(random_cases(3, 18, ["", "m", "mn", "ks"]), on_this_machine(name))


def test_every_block_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of k, of rows and of panels, far smaller than useful, so that small cases meet many of each."""
    for name, value in {
        "FEW_ROWS": 3,
        "DEPTH": 7,
        "LONG_DEPTH": 9,
        "FAR_DEPTH": 5,
        "SHORT_DEPTH": 6,
        "SHORT_GROUP": 2,
        "BLOCK_BYTES": 500,
        "GROUP": 2,
        "KEPT_TILES": 3,
        "PACK_DEPTH": 3,
        "PACK_STRIDE": 64,
        "LATE_PACK_ROW_TILES": 2,
        "PACK_ROW_TILES": 2,
        "LARGE_BYTES": 99,
    }.items():
        monkeypatch.setattr(tiling, name, value)
    cases = random_cases(5, 18, ["", "m", "k", "n", "mk", "mnks"]) + CONVOLUTIONS
    cases += [matrices(40, 70, 30, "NN"), matrices(33, 160, 64, "TN")]
    assert any(tiling.plan(case.contraction("x"), host()).k_block for case in cases)
    assert any(tiling.plan(case.contraction("x"), host()).row_block for case in cases)
    assert any(
        (p := tiling.plan(case.contraction("x"), host())).k_block and p.group > 1 and not p.row_block for case in cases
    )
    assert any(tiling.plan(case.contraction("x"), host()).ahead for case in cases)
    run(cases, host())


@pytest.mark.parametrize("name", ["host", "x86-64-v3", "generic"])
@pytest.mark.parametrize(("m", "n"), [(20, 100), ("m", 100), (33, "n"), (1, 128)], ids=str)
def test_weights_laid_out_beforehand(name: str, m: Extent, n: Extent) -> None:
    """[panel][k][width], as a prepacked matrix and as the gates of a recurrent cell are."""
    target, sizes, k = on_this_machine(name), {"m": 17, "n": 77}, 40
    rows, columns = sizes.get(str(m), m), sizes.get(str(n), n)
    width = 3 * target.lanes(4)
    late = [extent for extent in (m, n) if isinstance(extent, str)]
    contraction = Contraction(
        "c0",
        "float",
        m,
        n,
        (KAxis(k, 1, width),),
        k,
        1,
        (("ptr", "c"), ("i64", "ldc"), *(("i64", letter) for letter in late)),
        store_tile,
        vectors=3,
        panel_stride=k * width,
    )
    assert not workspace_elements(contraction, target)
    rng = np.random.default_rng(2)
    a = rng.standard_normal((rows, k)).astype(np.float32)
    b = np.full((k, -(-columns // width) * width), np.nan, np.float32)
    b[:, :columns] = rng.standard_normal((k, columns))
    packed = np.ascontiguousarray(b.reshape(k, -1, width).transpose(1, 0, 2))
    c = np.zeros((rows, columns), np.float32)
    (function,), _alive = load([contraction], target)
    function(a.ctypes.data, packed.ctypes.data, None, c.ctypes.data, columns, *(sizes[letter] for letter in late))
    assert np.allclose(c, a.astype(np.float64) @ b[:, :columns], atol=1e-4)


def test_rows_do_not_depend_on_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits for each row alone, in a tile of any height, with sums cut or whole, n and m early or late."""
    k, n = 300, 50
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((23, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)

    def product(rows: int, late: str, announced: bool = False, waits: bool = False) -> np.ndarray:
        case = matrices(rows, n, k, "NN", late)
        contraction = replace(case.contraction("c0"), announce=ask_for_row if announced else None)
        contraction = replace(contraction, late=LateStore("float") if waits else None)
        function, _alive = load([contraction], host())
        c = np.zeros((rows, n), np.float32)
        space = np.zeros(workspace_elements(contraction, host())(case.sizes) + 16, np.float32)
        function[0](a.ctypes.data, b.ctypes.data, space.ctypes.data, c.ctypes.data, n, *case.sizes.values())
        return c

    whole = product(23, "")
    assert all(np.array_equal(product(rows, late), whole[:rows]) for rows in (1, 3, 14) for late in ("", "m", "mnk"))
    assert all(
        np.array_equal(product(rows, late, False, True), whole[:rows]) for rows in (3, 23) for late in ("", "mnk")
    )
    monkeypatch.setattr(tiling, "DEPTH", 64)
    monkeypatch.setattr(tiling, "FEW_ROWS", 2)
    assert tiling.plan(matrices(14, n, k, "NN").contraction("x"), host()).k_block
    assert all(
        np.array_equal(product(14, late, True, waits), whole[:14]) for late in ("", "mnk") for waits in (False, True)
    )
    assert np.array_equal(product(14, ""), whole[:14])


@pytest.mark.parametrize("name", ["host", "x86-64-v3", "aarch64"])
@pytest.mark.parametrize(
    "case",
    [
        matrices(256, 1024, 784, "NN"),
        matrices(784, 128, 32, "TN"),
        matrices(32, 784, 128, "NT"),
        matrices(32, 128, 784, "NN", "m"),
        matrices(128, 10, 784, "NN"),
        matrices(784, 128, 32, "TN", "k"),
        matrices(64, 96, 64, "NN", "mks"),
        matrices(3, 128, 64, "NN"),
        matrices(64, 1024, 900, "NN"),
        overlapping(32, 16, channels=16),
        overlapping(32, 16, 5, channels=16),
        overlapping(32, 15, 5, channels=16),
    ],
    ids=str,
)
@pytest.mark.parametrize("amid", ["", "announced", "late"])
@pytest.mark.parametrize("pairs", [False, True], ids=["", "pairs"])
def test_nothing_is_spilled_in_the_innermost_loop(case: Case, name: str, amid: str, pairs: bool) -> None:
    """The block with most multiply-adds of each micro kernel does not touch the stack."""
    module = Module(named(name))
    contraction = replace(case.contraction("c0"), announce=ask_for_row if amid else None, pairs=pairs)
    wrap(module, replace(contraction, late=LateStore("float") if amid == "late" else None), named(name))
    text = assembly(module.text(), named(name))
    for function in re.split(r"^(?=c0[^:\n]*:)", text, flags=re.M)[1:]:
        blocks = re.split(r"^[.\w$]+:|^\s(?:j\w+|b\.\w+|cbn?z)\s", function, flags=re.M)
        hot = max(blocks, key=lambda block: len(re.findall(r"\bv?fmla|vfn?madd|vdpbf16ps", block)))
        stack = [line for line in hot.splitlines() if re.search(r"\(%r[sb]p\)|\[sp", line)]
        if re.search(r"vfn?madd|fmla|vdpbf16ps", hot):
            assert not stack, (function.splitlines()[0], stack)


def test_a_workspace_is_large_enough_for_what_threads_do() -> None:
    """Lower tiles, to be shared evenly, may be more rows in all: 4 x 11 for 3 x 14."""
    alone = matrices(41, 96, 2048, "TN").contraction("x")
    shared = replace(alone, split=True)
    target = named("x86-64-v4")
    assert tiling.plan(shared, target).partial_elements > tiling.plan(alone, target).partial_elements
    assert workspace_elements(alone, target)({}) == workspace_elements(shared, target)({})


def test_the_panel_that_is_next_is_asked_for_if_a_matrix_is_large() -> None:
    def ahead(m: int, n: int, k: int) -> int:
        return tiling.plan(matrices(m, n, k, "NN").contraction("x"), named("x86-64-v4")).ahead

    assert ahead(64, 1024, 3136) == -(-126 // 56)  # seven tiles of eight rows have a part of 126 k each
    assert ahead(256, 1024, 784) == 11  # of a block of ten tiles, nine ask for 88 of 784 k
    assert ahead(64, 128, 784) == 0  # the whole matrix stays in the cache
    assert ahead(8, 1024, 3136) == 0  # one tile, which packs nothing


def on_this_machine(name: str) -> Target:
    """A target whose code also runs here."""
    target = named(name)
    features = binding.get_host_cpu_features()
    if name == "x86-64-v3" and not (features.get("avx2") and features.get("fma")):
        pytest.skip("this machine has no AVX2")
    if not host().is_x86:
        pytest.skip("x86 code")
    return target
