"""The Kernel IR: how it prints, what its verifier refuses, and the loops that groups become."""

from __future__ import annotations

import re

import pytest

import graphc.ops  # noqa: F401
from graphc.codegen.entry import plan_entry
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Const,
    Fold,
    For,
    Kernel,
    KernelError,
    Load,
    Routine,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    verify_kernel,
)
from graphc.codegen.kernel_key import key_of
from graphc.codegen.lower import lower
from graphc.codegen.target import host
from graphc.ir.dims import Dim, symbol
from graphc.ir.graph import Graph
from graphc.ir.node import leaf, make
from graphc.ir.types import F32, F64, I32, TensorType
from graphc.passes import levels

N = symbol("N")
X, Y = Buffer("x", F32, (N,)), Buffer("y", F32, (N,), "out")
I = Var("i", N)  # noqa: E741  the field's name for a first index


def kernel(*body: Stmt) -> Kernel:
    return Kernel("k", (X, Y), body)


def test_print() -> None:
    x = Load(F32, X, affine(I))
    body = Store(Y, affine(I), Call(F32, "add", (Call(F32, "mul", (x, x)), Const(F32, 1.0))))
    assert str(kernel(For(I, (body,), vector=True))).splitlines() == [
        "kernel k(in x: f32[N], out y: f32[N]):",
        "  for i in N by vector:",
        "    %0 = x[i]",
        "    y[i] = add(mul(%0, %0), 1.0)",
    ]


def test_shared_scalars_are_printed_once() -> None:
    value = Call(F32, "add", (Load(F32, X, affine(I)), Const(F32, 1.0)))
    for _ in range(60):  # as a tree this would be 2^60 long
        value = Call(F32, "mul", (value, value))
    assert len(str(kernel(For(I, (Store(Y, affine(I), value),))))) < 4000


def test_a_routine_is_printed_and_known_by_all_that_it_is() -> None:
    rows = Routine("sort", (X, Y), (affine(I) * 4, Affine()), (N, 1), (True,))
    assert str(kernel(For(I, (rows,)))).splitlines()[2] == "    sort x[i*4..], y[0..] of N, 1, True"
    others = [
        Routine("sort", (X, Y), (affine(I) * 4, Affine()), (N, 1), (False,)),
        Routine("sort", (X, Y), (affine(I) * 4, Affine()), (N, 2), (True,)),
        Routine("sort", (Y, X), (affine(I) * 4, Affine()), (N, 1), (True,)),
        Routine("sort", (X, Y), (affine(I) * 8, Affine()), (N, 1), (True,)),
        Routine("rows", (X, Y), (affine(I) * 4, Affine()), (N, 1), (True,)),
    ]
    assert len({key_of(kernel(For(I, (one,)))) for one in (rows, *others)}) == 6


def test_the_next_image_of_a_batch_is_asked_for() -> None:
    """While one is worked on; not if two of them are too large for the second-level cache, or if there is one."""

    def text(shape: tuple[Dim, ...], stride: int = 1, outputs: Dim = 16) -> str:
        x = leaf("input", "x", TensorType(F32, shape))
        w = leaf("input", "w", TensorType(F32, (3, 3, shape[3], outputs)))
        y = make("conv", x, w, stride=(stride,) * 2, low=(1, 1), high=(1, 1), dilation=(1, 1), groups=1)
        return "".join(kernels(Graph("g", (x, w), {"y": y})))

    assert text((4, 20, 20, 16)).count("asks for 64 bytes of x0[n*6400 + o0r0*320 + 6400..]") == 1
    assert text((4, 20, 20, 16), 2).count("asks for 256 bytes of x0[n*6400 + o0r0*640 + 6400..]") == 1
    others = text((4, 100, 100, 16)), text((1, 20, 20, 16)), text((4, N, N, 16)), text((4, 20, 20, 16), outputs=N)
    assert not any("asks for" in other for other in others)


def test_the_gradient_by_weights_asks_for_the_next_image() -> None:
    x, dy = (leaf("input", name, TensorType(F32, (4, 20, 20, 16))) for name in ("x", "dy"))
    settings = {"stride": (1, 1), "low": (1, 1), "high": (1, 1), "dilation": (1, 1), "groups": 1}
    w = make("conv_weights", x, dy, size=(3, 3), **settings)
    (text,) = kernels(Graph("g", (x, dy), {"w": w}))
    asked = re.findall(r"contract \w+ in (\d+),.* asks for (\d+) bytes of x0\[n\*6400 \+ k0\*2304 \+ 6400\.\.\]", text)
    (rows, share), *_ = asked
    assert int(rows) * int(share) == 4 * 2304, "a third of 400 x 16 numbers for each tap k0, in whole lines"


TEMP = Temp(F32, "t")
WRONG: dict[str, tuple[Stmt, ...]] = {
    "out of scope": (Store(Y, affine(I), Const(F32, 0.0)),),
    "not declared": (For(I, (Store(Buffer("z", F32, (N,)), affine(I), Const(F32, 0.0)),)),),
    "of sort are not declared": (Routine("sort", (Buffer("z", F32, (N,)),), (Affine(),), (N,)),),
    "sort inside a vector loop": (For(I, (Routine("sort", (X,), (Affine(),), (N,)),), vector=True),),
    "stored into y": (For(I, (Store(Y, affine(I), Const(F64, 0.0)),)),),
    "before it is computed": (Store(Y, Affine(), TEMP),),
    "inside a vector loop": (For(I, (For(Var("j", 4), (), vector=True),), vector=True),),
    "changes the dtype": (For(I, (), folds=(Fold(TEMP, "add", 0.0, Const(F64, 1.0)),)),),
}


@pytest.mark.parametrize("message", WRONG)
def test_verifier_refuses(message: str) -> None:
    with pytest.raises(KernelError, match=message):
        verify_kernel(kernel(*WRONG[message]))


def kernels(graph: Graph) -> list[str]:
    code = plan_entry("e", levels.pipeline("O2").run(graph), host())
    return [str(task.kernel) for task in code.schedule.tasks]


def test_a_softmax_is_one_kernel_of_three_sweeps() -> None:
    x = leaf("input", "x", TensorType(F32, (N, 40)))
    (text,) = kernels(Graph("g", (x,), {"y": make("softmax", x, axis=1)}))
    assert text.count("by vector") == 3
    assert text.count("exp(") == 1, "the exponential is kept for the last sweep"


def test_a_sum_over_rows_runs_by_vector_over_columns() -> None:
    x = leaf("input", "x", TensorType(F32, (N, 40)))
    (text,) = kernels(Graph("g", (x,), {"y": make("reduce_sum", x, axes=(0,))}))
    assert text.index("for j in 40 by vector") < text.index("for i in N")


def test_neighbouring_axes_are_one_loop() -> None:
    x = leaf("input", "x", TensorType(F32, (N, 4, 10)))
    y = make("tanh", x)
    (text,) = kernels(Graph("g", (x,), {"y": y, "s": make("exp", y)}))
    assert text.count("for ") == 1 and "in 40*N by vector" in text


def test_a_loss_with_its_gradient_is_one_kernel() -> None:
    from graphc.autodiff import gradients

    x = leaf("input", "x", TensorType(F32, (N, 10)))
    y = leaf("input", "y", TensorType(I32, (N,)))
    rows = make("cross_entropy", x, y, axis=1, smoothing=0.0, ignore=None)
    (dx,) = gradients(make("reduce_sum", rows, axes=(0,)), [x])
    assert len(kernels(Graph("g", (x, y), {"rows": rows, "dx": dx}))) == 1


def test_results_of_unrelated_shapes_are_refused() -> None:
    a = leaf("input", "a", TensorType(F32, (3,)))
    b = leaf("input", "b", TensorType(F32, (5,)))
    with pytest.raises(KernelError, match="in a loop nest over"):
        lower("k", {a + 1.0: Buffer("y0", F32, (3,)), b + 1.0: Buffer("y1", F32, (5,))}, {a: X, b: X}, host())


def test_a_reshape_is_another_name_of_memory() -> None:
    """Not an op of its neighbours' kernels: there it would divide to find its elements."""
    x = leaf("input", "x", TensorType(F32, (N, 8, 8)))
    w = leaf("param", "w", TensorType(F32, (64, 40)))
    flat = make("reshape", make("tanh", x) * 0.5, shape=(N, 64))
    texts = kernels(Graph("g", (x, w), {"y": make("contract", flat, w, spec="ik,kj->ij")}))
    assert len(texts) == 2 and not any("floordiv" in text for text in texts)


def test_kernels_that_do_the_same_have_one_key() -> None:
    def one(width: int, factor: float, axis: int) -> Kernel:
        x = leaf("input", "x", TensorType(F32, (N, width)))
        node = make("reduce_sum", make("exp", x * factor), axes=(axis,))
        return lower("k", {node: Buffer("y", F32, node.shape, "out")}, {x: Buffer("x", F32, x.shape)}, host())

    assert key_of(one(40, 2.0, 1)) == key_of(one(40, 2.0, 1))
    others = [one(41, 2.0, 1), one(40, 3.0, 1), one(40, 2.0, 0)]
    assert len({key_of(one(40, 2.0, 1)), *map(key_of, others)}) == 4


def test_products_of_other_strides_have_other_keys() -> None:
    a = leaf("input", "a", TensorType(F32, (8, 8)))
    b = leaf("input", "b", TensorType(F32, (8, 8)))
    keys = []
    for spec in ("ik,kj->ij", "ki,kj->ij", "ik,jk->ij", "ki,jk->ij"):
        node = make("contract", a, b, spec=spec)
        buffers = {a: Buffer("a", F32, (8, 8)), b: Buffer("b", F32, (8, 8))}
        keys.append(key_of(lower("k", {node: Buffer("y", F32, (8, 8), "out")}, buffers, host())))
    assert len(set(keys)) == 4
