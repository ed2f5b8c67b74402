"""The emitter: every instruction runs and gives what it says, folding, control flow, sharing, refusals."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.codegen.llvm import (
    Function,
    Module,
    Value,
    assembly,
    compile_object,
    const,
    const_vector,
    element,
    known,
    lanes,
    mangle,
    size,
    vector,
    verify,
)
from graphc.codegen.target import NAMED, host, named
from graphc.linking.link import link
from graphc.runtime.errors import InternalError
from graphc.runtime.library import Library

POINTER, I64 = ctypes.c_void_p, ctypes.c_int64
V8 = "<8 x float>"


def run(build: Callable[[Function], Value | None], *arrays: np.ndarray, numbers: tuple[int, ...] = ()) -> int:
    """Compiles a function of pointers p0.. and integers n0.. for the host and calls it; returns its i64 or 0."""
    module = Module(host())
    params = [("ptr", f"p{i}") for i in range(len(arrays))] + [("i64", f"n{i}") for i in range(len(numbers))]
    f = Function(module, "main", params, "i64", internal=False)
    result = build(f)
    f.ret(result if result is not None else const("i64", 0))
    module.add(f)
    library = Library(link(compile_object(module.text(), host())), ["main"])
    code: Any = ctypes.CFUNCTYPE(I64, *[POINTER] * len(arrays), *[I64] * len(numbers))(library.address("main"))
    return int(code(*(array.ctypes.data for array in arrays), *numbers))


def test_types() -> None:
    assert vector("float", 8) == V8
    assert vector("float", 1) == "float"
    assert (element(V8), lanes(V8), size(V8), mangle(V8)) == ("float", 8, 32, "v8f32")
    assert (element("ptr"), lanes("i1"), size("double"), mangle("<4 x ptr>")) == ("ptr", 1, 8, "v4p0")


@pytest.mark.parametrize(
    ("type", "number", "text"),
    [
        ("float", 0.1, "0x3FB99999A0000000"),
        ("double", 0.1, "0x3FB999999999999A"),
        ("float", 1e300, "0x7FF0000000000000"),
        ("float", float("nan"), "0x7FF8000000000000"),
        ("double", -0.0, "0x8000000000000000"),
        ("float", 1e-45, "0x36A0000000000000"),
        ("i8", 255, "-1"),
        ("i1", True, "1"),
        ("i32", 1 << 31, "-2147483648"),
        ("<4 x i32>", -3, "splat (i32 -3)"),
        ("ptr", 0, "null"),
    ],
)
def test_constants(type: str, number: float, text: str) -> None:
    """Floats are rounded to their type first; integers wrap."""
    assert const(type, number) == Value(text, type)


def test_a_fraction_is_no_integer() -> None:
    with pytest.raises(ValueError, match="no integer"):
        const("i32", 1.5)


def test_folding() -> None:
    """Known numbers leave no instruction; division by zero and unknown values do."""
    f = Function(Module(host()), "f", [("i64", "n")])
    n = f["n"]
    assert f.add(2, f.mul(3, 4)) == 14
    assert f.sdiv(-7, 2) == -3
    assert f.srem(-7, 2) == -1
    assert [f.add(n, 0), f.mul(1, n), f.shl(n, 0), f.udiv(n, 1)] == [n] * 4
    assert known(f.mul(n, 0)) == 0
    assert known(f.add(const("i64", 5), 6)) == 11
    assert f.lines == []
    f.sub(0, n)
    f.udiv(4, 0)
    assert len(f.lines) == 2


def test_arithmetic_and_casts() -> None:
    x, out = np.array([7, -3], np.int64), np.zeros(24)

    def build(f: Function) -> None:
        a, b = f.load(f["p0"], "i64"), f.load(f.offset(f["p0"], "i64", 1), "i64")
        integers = [
            f.add(a, b),
            f.sub(a, b),
            f.mul(a, b),
            f.sdiv(a, b),
            f.srem(a, b),
            f.udiv(a, 2),
            f.and_(a, 3),
            f.or_(a, 8),
            f.xor(a, b),
            f.shl(a, 2),
            f.ashr(b, 1),
            f.lshr(b, 60),
            f.zext(f.trunc(b, "i8"), "i64"),
            f.select(f.icmp("slt", a, b), a, b),
        ]
        p, q = f.sitofp(a, "double"), f.sitofp(b, "double")
        floats = [
            f.fadd(p, q),
            f.fsub(1.5, q),
            f.fmul(p, 2),
            f.fdiv(p, q),
            f.fneg(p),
            f.fma(p, q, 1.0),
            f.fpext(f.fptrunc(p, "float"), "double"),
            f.select(f.fcmp("olt", p, q), p, q),
            f.minimum(p, q),
            f.maximum(p, q),
        ]
        for i, value in enumerate([*(f.sitofp(v, "double") for v in integers), *floats]):
            f.store(value, f.offset(f["p1"], "double", i))

    run(build, x, out)
    assert out.tolist() == [
        4,
        10,
        -21,
        -2,
        1,
        3,
        3,
        15,
        -6,
        28,
        -2,
        15,
        253,
        -3,
        4,
        4.5,
        14,
        7 / -3,
        -7,
        -20,
        7,
        -3,
        -3,
        7,
    ]


@pytest.mark.parametrize(("start", "stop", "expected"), [(0, 5, 10), (2, 5, 9), (5, 5, -1), (7, 5, -1)])
def test_loop_that_may_be_empty(start: int, stop: int, expected: int) -> None:
    def build(f: Function) -> Value:
        with f.loop(f["n0"], f["n1"], carried=[const("i64", -1)], may_be_empty=True) as loop:
            first = f.select(f.icmp("eq", loop.values[0], -1), 0, loop.values[0])
            loop.next = [f.add(first, loop.index)]
        return loop.results[0]

    assert run(build, numbers=(start, stop)) == expected


def test_nested_loops_carry_values() -> None:
    def build(f: Function) -> Value:
        with f.loop(0, 10, 3, carried=[const("i64", 0), const("i64", 1)]) as outer:
            with f.loop(0, 4, carried=[outer.values[0]]) as inner:
                inner.next = [f.add(inner.values[0], f.mul(inner.index, outer.index))]
            outer.next = [inner.results[0], f.mul(outer.values[1], 2)]
        return f.add(f.mul(outer.results[0], 1000), outer.results[1])

    assert run(build) == (0 + 3 + 6 + 9) * 6 * 1000 + 16


def test_a_loop_must_set_what_it_carries() -> None:
    f = Function(Module(host()), "f")
    with pytest.raises(TypeError, match="carries"), f.loop(0, 4, carried=[const("i64", 0)]):
        pass


@pytest.mark.parametrize(("number", "expected"), [(1, 110), (2, 220), (3, 7)])
def test_when_and_switch(number: int, expected: int) -> None:
    out = np.array([7], np.int64)

    def build(f: Function) -> Value:
        f.switch(f["n0"], {k: lambda k=k: f.store(const("i64", 100 * k), f["p0"]) for k in (1, 2)})
        value = f.load(f["p0"], "i64")
        with f.when(f.icmp("ult", f["n0"], 3), [value], cold=True) as branch:
            branch.next = [f.add(value, f.mul(f["n0"], 10))]
        return branch.results[0]

    assert run(build, out, numbers=(number,)) == expected


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_reduction_order(count: int) -> None:
    """Float sums are added halves against halves, to the bit."""
    x, out = np.random.default_rng(count).standard_normal(count).astype(np.float32), np.zeros(4, np.float32)

    def build(f: Function) -> None:
        value = f.load(f["p0"], vector("float", count))
        for i, kind in enumerate(("add", "mul", "min", "max")):
            f.store(f.reduce(kind, value), f.offset(f["p1"], "float", i))

    run(build, x, out)
    total, product = x, x
    while total.size > 1:
        half = total.size // 2
        total, product = total[:half] + total[half:], product[:half] * product[half:]
    assert out.tolist() == [total[0], product[0], x.min(), x.max()]


def test_reductions_of_integers_and_nan() -> None:
    x, y = np.array([5, -7, 12, 3], np.int32), np.array([1, np.nan, 3, 2], np.float64)

    def build(f: Function) -> Value:
        value = f.load(f["p0"], "<4 x i32>")
        parts = [f.sext(f.reduce(kind, value), "i64") for kind in ("add", "min", "max", "and", "or", "xor")]
        nan = f.reduce("min", f.load(f["p1"], "<4 x double>"))
        total = f.zext(f.fcmp("uno", nan, nan), "i64")
        for part in parts:
            total = f.add(f.mul(total, 100), part)
        return total

    expected = 1
    for part in (13, -7, 12, 5 & -7 & 12 & 3, 5 | -7 | 12 | 3, 5 ^ -7 ^ 12 ^ 3):
        expected = expected * 100 + part
    assert run(build, x, y) == expected


@pytest.mark.parametrize("left", range(9))
def test_masked_memory_touches_nothing_else(left: int) -> None:
    x, out = np.arange(1, 9, dtype=np.float32), np.full(8, -1, np.float32)

    def build(f: Function) -> None:
        for mask in (f.tail_mask(f["n0"], 8), f.tail_mask(left, 8)):
            f.masked_store(f.masked_load(f["p0"], V8, mask, otherwise=5), f["p1"], mask)

    run(build, x, out, numbers=(left,))
    assert out.tolist() == [*x[:left], *[-1] * (8 - left)]


def test_vectors_and_indexed_memory() -> None:
    """splat, insert, extract, shuffle, lane numbers, gather, scatter, any."""
    x, out = np.arange(8, dtype=np.float32) * 10, np.zeros(16, np.float32)

    def build(f: Function) -> Value:
        backwards = f.sub(f.splat(const("i64", 7), 8), f.lane_ids(8))
        gathered = f.gather(f.offsets(f["p0"], "float", backwards), "float")
        f.scatter(gathered, f.offsets(f["p1"], "float", f.shl(f.lane_ids(8), 1)), f.icmp("slt", backwards, 6))
        value = f.insert(f.load(f["p0"], V8), f.splat(f.load(f["p0"], "float"), 1), f["n0"])
        mixed = f.shuffle(value, gathered, [3, 11])
        f.store(mixed, f.offset(f["p1"], "float", 1), 4)
        f.prefetch(f["p0"])
        f.fence()
        some = f.any(f.fcmp("ogt", value, 60.0))
        return f.add(f.fptosi(f.extract(value, f["n0"]), "i64"), f.zext(some, "i64"))

    assert run(build, x, out, numbers=(2,)) == 1
    assert out.tolist() == [0, 30, 40, 0, 50, 0, 40, 0, 30, 0, 20, 0, 10, 0, 0, 0]


def test_global_constants_are_stored_once() -> None:
    module = Module(host())
    data = bytes(range(256))
    assert module.constant(data) is module.constant(bytes(range(256)))
    assert module.constant(data, 1) != module.constant(data)

    def build(f: Function) -> Value:
        at = f.module.constant(data)
        f.store(f.load(at, "<32 x i64>"), f["p0"], 8)
        return f.and_(f.ptrtoint(at, "i64"), 63)

    out = np.zeros(256, np.uint8)
    assert run(build, out) == 0
    assert out.tobytes() == data


def test_equal_functions_are_shared() -> None:
    module = Module(host())

    def add(name: str, number: int, internal: bool = True) -> str:
        f = Function(module, name, [("i64", "x")], "i64", internal=internal)
        f.ret(f.add(f["x"], number))
        return module.add(f)

    assert [add("one", 1), add("other", 1), add("one", 2), add("two", 2)] == ["one", "one", "one.2", "one.2"]
    assert [add("out", 1, False), add("out2", 1, False)] == ["out", "out2"]
    with pytest.raises(ValueError, match="two functions"):
        add("out", 3, False)
    verify(module.text())


def test_names_of_users_are_refused() -> None:
    for name in ("a b", "x\ny", "é", '"', ""):
        with pytest.raises(ValueError, match="no name"):
            Function(Module(host()), name)
    f = Function(Module(host()), "f", [("i64", 'any"thing\n')])
    assert "thing" not in f.text()


def test_bad_code_is_an_internal_error_with_the_code() -> None:
    """LLVM is asked before it generates code: it would abort the process."""
    for body in ("%x = add i64 1, 1.5", "br label %nowhere", "store float 1.0, i64 3", "call void @missing()"):
        with pytest.raises(InternalError, match="LLVM refuses") as caught:
            compile_object(f"define void @f() {{\n  {body}\n  ret void\n}}", host())
        assert body in str(caught.value)
    with pytest.raises(InternalError):  # parses, but the verifier finds a use before its definition
        verify("define i64 @f() {\n  %a = add i64 %b, 1\n  %b = add i64 1, 1\n  ret i64 %a\n}")


@pytest.mark.parametrize("name", NAMED)
def test_targets(name: str) -> None:
    """Vectors of the target's width stay in one register, and no stack is touched."""
    target = named(name)
    assert target.lanes(4) * 4 == target.vector_bytes == target.lanes(8) * 8
    module = Module(target)
    f = Function(module, "saxpy", [("ptr", "x"), ("ptr", "y"), ("i64", "n")], internal=False, noalias=["x", "y"])
    type = vector("float", target.lanes(4))
    with f.loop(0, f["n"], target.lanes(4)) as loop:
        x, y = (f.offset(f[name], "float", loop.index) for name in "xy")
        f.store(f.fma(f.load(x, type), const_vector("float", range(target.lanes(4))), f.load(y, type)), y)
    f.ret()
    module.add(f)
    text = assembly(module.text(), target)
    register = {"x86-64-v3": "ymm", "x86-64-v4": "zmm", "aarch64": ".4s", "generic": "xmm"}[name]
    assert register in text
    assert "call" not in text
    assert "rsp" not in text
    assert compile_object(module.text(), target)[:4] == b"\x7fELF"


def test_same_text_twice() -> None:
    """Code does not depend on anything but what was asked for."""

    def text() -> str:
        module = Module(host())
        f = Function(module, "f", [("ptr", "p")], internal=False)
        f.store(f.reduce("add", f.load(f["p"], V8)), f["p"])
        f.ret()
        module.add(f)
        return module.text()

    assert text() == text()
