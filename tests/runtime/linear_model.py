"""A tiny model made by hand: y = x * w row by row, so that the runtime is tested without the compiler.

    dim B, D = 3;  input x: f32[B, 3], k: i32[B] (training only);  param w: f32[3];  slot m/w;  hyper lr;  step
    forward   y[b, j] = x[b, j] * w[j]
    step      loss = mean over rows of sum_j x[b, j] * w[j] + k[b];  w -= lr * mean of x over rows;  m += step
    evaluate  the same loss;  gradients  loss and mean of x;  apply  w -= lr * gradient
The index k must lie in [0, 4): the code says so before it writes anything, as real code does.
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding as binding

from graphc.codegen import call_path
from graphc.codegen.epoch import SYMBOL, emit_epoch
from graphc.codegen.llvm import Function, Module, Value, compile_object, const
from graphc.codegen.target import host
from graphc.linking.link import link
from graphc.runtime.artifact import Artifact
from graphc.runtime.model import Model
from graphc.runtime.signature import (
    Dimension,
    Entry,
    IndexBound,
    Init,
    Leaf,
    Output,
    Requirement,
    Signature,
    Target,
    gradient_name,
)

D = 3
PARAMS = [("ptr", "table"), ("ptr", "dims"), ("ptr", "arena"), ("ptr", "team")]


@cache
def artifact(fixed: int | None = None, high: int | None = 100) -> Artifact:
    """The model; `fixed` pins the batch dimension."""
    module = Module(host())
    for name, leaves in (("step", 6), ("evaluate", 3), ("gradients", 3)):
        _emit_training(module, name, leaves, fixed)
    _emit_forward(module, fixed)
    _emit_apply(module)
    emit_epoch(module)
    call_path.emit_call(module)
    image = link(compile_object(module.text(), host()))
    rows = fixed if fixed is not None else "B"
    lr = Init("constant", {"value": 0.5})
    leaves = (
        Leaf("x", "input", "f32", (rows, D), doc="rows"),
        Leaf("k", "input", "i32", (rows,), train_only=True),
        Leaf("w", "param", "f32", (D,), Init("glorot_uniform"), trainable=True),
        Leaf("m/w", "slot", "f32", (), Init("zeros")),
        Leaf("lr", "hyper", "f32", (), lr),
        Leaf("step", "step", "i64"),
        Leaf("seed", "seed", "i64"),
        Leaf(gradient_name("w"), "gradient", "f32", (D,)),
    )
    loss, bounds = Output("loss", "f32"), (IndexBound("k", 0, 4),)
    arena = 64 if fixed is not None else ("*", 16, "B")
    signature = Signature(
        name="linear",
        version="0",
        source_hash="0" * 64,
        target=Target("host", binding.get_process_triple()),
        dims=() if fixed is not None else (Dimension("B", 1, high),),
        leaves=leaves,
        entries={
            "forward": Entry("m_forward", ("x", "w"), (Output("y", "f32", (rows, D)),), arena),
            "step": Entry("m_step", ("x", "k", "w", "m/w", "lr", "step"), (loss,), arena, ("w", "m/w"), bounds),
            "evaluate": Entry("m_evaluate", ("x", "k", "w"), (loss,), arena, (), bounds),
            "gradients": Entry(
                "m_gradients", ("x", "k", "w"), (loss, Output(gradient_name("w"), "f32", (D,))), arena, (), bounds
            ),
            "apply": Entry("m_apply", ("w", "lr", gradient_name("w")), (), 0, ("w",)),
        },
        requires=() if fixed is not None else (Requirement(("!=", "B", 13), "13 is unlucky"),),
        epoch=SYMBOL,
        call=call_path.SYMBOL,
    )
    return Artifact.of(signature, image)


def model(fixed: int | None = None, high: int | None = 100) -> Model:
    """The model with w = (1, 2, 3)."""
    made = Model(artifact(fixed, high))
    made.params["w"] = [1.0, 2.0, 3.0]
    return made


def _function(module: Module, name: str) -> Function:
    return Function(module, f"m_{name}", PARAMS, returns="i64", internal=False)


def _leaf(f: Function, place: int) -> Value:
    return f.load(f.offset(f["table"], "ptr", place), "ptr")


def _rows(f: Function, fixed: int | None) -> Value:
    return f.load(f["dims"], "i64") if fixed is None else const("i64", fixed)


def _emit_forward(module: Module, fixed: int | None) -> None:
    f = _function(module, "forward")
    x, w, y = (_leaf(f, place) for place in range(3))
    with f.loop(0, _rows(f, fixed)) as row, f.loop(0, D) as column:
        at = f.add(f.mul(row.index, D), column.index)
        product = f.fmul(f.load(f.offset(x, "float", at), "float"), f.load(f.offset(w, "float", column.index), "float"))
        f.store(product, f.offset(y, "float", at))
    f.ret(const("i64", 0))
    module.add(f)


def _emit_training(module: Module, name: str, leaves: int, fixed: int | None) -> None:
    f = _function(module, name)
    x, k, w = (_leaf(f, place) for place in range(3))
    rows = _rows(f, fixed)
    bad = f.fresh("bad")
    with f.loop(0, rows) as row:  # the check first
        index = f.load(f.offset(k, "i32", row.index), "i32")
        good = f.fresh("good")
        f.branch(f.icmp("uge", index, 4), bad, good)
        f.begin(good)
    zero = const("float", 0.0)
    count = f.sitofp(rows, "float")
    total = zero
    means = []
    for column in range(D):
        with f.loop(0, rows, carried=[zero]) as row:
            at = f.add(f.mul(row.index, D), column)
            row.next = [f.fadd(row.values[0], f.load(f.offset(x, "float", at), "float"))]
        means.append(f.fdiv(row.results[0], count))
        total = f.fadd(total, f.fmul(means[-1], f.load(f.offset(w, "float", column), "float")))
    with f.loop(0, rows, carried=[zero]) as row:
        index = f.load(f.offset(k, "i32", row.index), "i32")
        row.next = [f.fadd(row.values[0], f.sitofp(index, "float"))]
    f.store(f.fadd(total, f.fdiv(row.results[0], count)), _leaf(f, leaves))
    if name == "gradients":
        for column in range(D):
            f.store(means[column], f.offset(_leaf(f, leaves + 1), "float", column))
    if name == "step":
        slot, lr, step = (_leaf(f, place) for place in (3, 4, 5))
        for column in range(D):
            place = f.offset(w, "float", column)
            f.store(f.fsub(f.load(place, "float"), f.fmul(f.load(lr, "float"), means[column])), place)
        f.store(f.fadd(f.load(slot, "float"), f.sitofp(f.load(step, "i64"), "float")), slot)
    f.ret(const("i64", 0))
    f.begin(bad)
    f.ret(const("i64", 2))  # 1 + place of k
    module.add(f)


def _emit_apply(module: Module) -> None:
    f = _function(module, "apply")
    w, lr, gradient = (_leaf(f, place) for place in range(3))
    for column in range(D):
        place = f.offset(w, "float", column)
        change = f.fmul(f.load(lr, "float"), f.load(f.offset(gradient, "float", column), "float"))
        f.store(f.fsub(f.load(place, "float"), change), place)
    f.ret(const("i64", 0))
    module.add(f)
