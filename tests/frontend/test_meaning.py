"""What model files mean: elaborated, run by the reference interpreter, compared with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.diagnostics import render_all
from graphc.frontend.build import elaborate
from graphc.ir.interpret import interpret
from graphc.program import Program
from graphc.source import Source

Array = Any
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 3)).astype(np.float32)
W = RANDOM.normal(size=(3, 5)).astype(np.float32)
V = RANDOM.normal(size=3).astype(np.float32)
I = np.array([2, 0, 1, 2], np.int32)  # noqa: E741


def program(text: str, **options: Any) -> Program:
    made, diagnostics = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""), **options)
    assert made is not None, render_all(diagnostics)
    assert not diagnostics, render_all(diagnostics)
    return made


def run(
    made: Program, entry: str = "forward", sizes: dict[str, int] | None = None, **values: Array
) -> dict[str, Array]:
    outputs, updates = interpret(made.entries[entry], values, sizes or {})
    return {**outputs, **updates}


def forward(body: str, y: str = "f32[4, 3]", head: str = "") -> Array:
    """y of a model with x f32[4, 3], w f32[3, 5], v f32[3], i i32[4]."""
    text = (
        f"dim B = 4, D = 3, K = 5\n{head}"
        f"model m(x: f32[B, D], w: f32[D, K], v: f32[D], i: i32[B]) -> (y: {y}):\n"
        + "".join(f"    {line}\n" for line in body.split("\n"))
    )
    made = program(text)
    return run(made, x=X, w=W, v=V, i=I)["y"]


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


CASES: list[tuple[str, str, Callable[[], Array]]] = [
    ("y = x @ w", "f32[B, K]", lambda: X @ W),
    ("y = v @ w", "f32[K]", lambda: V @ W),
    ("y = x @ v", "f32[B]", lambda: X @ V),
    ("y = transpose(x) @ x", "f32[D, D]", lambda: X.T @ X),
    ("y = x + v * 2", "f32[B, D]", lambda: X + V * 2),
    ("y = x[:, 0][:, None] * v", "f32[B, D]", lambda: X[:, :1] * V),
    ("y = x[:, None, :] - x[None, :, :]", "f32[B, B, D]", lambda: X[:, None] - X[None]),
    ("y = -x ** 2", "f32[B, D]", lambda: -(X**2)),
    ("y = x / sqrt(D) * K - B", "f32[B, D]", lambda: X / np.float32(math.sqrt(3)) * 5 - 4),
    ("y = x |> relu |> clip(low=0.1, high=0.5)", "f32[B, D]", lambda: np.clip(np.maximum(X, 0), 0.1, 0.5)),
    ("y = where(x > 0.0 and x < 1.0, x, -inf)", "f32[B, D]", lambda: np.where((X > 0) & (X < 1), X, -np.inf)),
    ("y = cast(not (x > 0.0) or x > 1.0, f32)", "f32[B, D]", lambda: ((X <= 0) | (X > 1)).astype(np.float32)),
    ("y = x[1:3, ::2]", "f32[2, 2]", lambda: X[1:3, ::2]),
    ("y = x[-1]", "f32[D]", lambda: X[-1]),
    ("y = x[..., 1]", "f32[B]", lambda: X[:, 1]),
    ("y = v[i]", "f32[B]", lambda: V[I]),
    ("y = x[:, i]", "f32[B, B]", lambda: X[:, I]),
    ("y = sum(x)", "f32", lambda: X.sum()),
    ("y = mean(x, axis=D)", "f32[B]", lambda: X.mean(1)),
    ("y = max(x, axis=0)", "f32[D]", lambda: X.max(0)),
    ("y = min(x, keep=D)", "f32[D]", lambda: X.min(0)),
    ("y = max(x, 0.5)", "f32[B, D]", lambda: np.maximum(X, 0.5)),
    ("y = prod(x, axis=-1)", "f32[B]", lambda: X.prod(1)),
    ("y = var(x, axis=[0, 1])", "f32", lambda: X.var()),
    ("y = mean(argmax(x, axis=D) == i)", "f32", lambda: np.float32((X.argmax(1) == I).mean())),
    ("y = cast(any(x > 1.0, axis=0), f32)", "f32[D]", lambda: (X > 1).any(0).astype(np.float32)),
    ("y = softmax(x, axis=D)", "f32[B, D]", lambda: softmax(X)),
    ("y = logsumexp(x)", "f32[B]", lambda: np.log(np.exp(X).sum(1))),
    ("y = einsum(x[b, d] * w[d, k] * v[d] -> [k, b])", "f32[K, B]", lambda: np.einsum("bd,dk,d->kb", X, W, V)),
    ("y = einsum(x[b, d] -> [d])", "f32[D]", lambda: X.sum(0)),
    ("y = einsum(x[b, d] * v[e] -> [e, b])", "f32[D, B]", lambda: np.einsum("bd,e->eb", X, V)),
    ("y = reshape(x, [D, -1])", "f32[D, B]", lambda: X.reshape(3, 4)),
    ("y = concat([x, x * 2.0], axis=0)", "f32[2*B, D]", lambda: np.concatenate([X, X * 2])),
    ("y = stack([v, v])", "f32[2, D]", lambda: np.stack([V, V])),
    ("a, b = split(x, parts=2, axis=0)\ny = a @ transpose(b)", "f32[2, 2]", lambda: X[:2] @ X[2:].T),
    ("a, b = split(x, sizes=[1, 2])\ny = b + a[:, 0][:, None]", "f32[B, 2]", lambda: X[:, 1:] + X[:, :1]),
    ("y = pad(v, [(1, 2)], value=9)", "f32[6]", lambda: np.pad(V, (1, 2), constant_values=9)),
    ("y = reverse(x, axis=D)", "f32[B, D]", lambda: X[:, ::-1]),
    ("y = one_hot(i, D)", "f32[B, D]", lambda: np.eye(3, dtype=np.float32)[I]),
    ("y = cast(iota(K), f32)", "f32[K]", lambda: np.arange(5, dtype=np.float32)),
    ("y = cross_entropy(x, i)", "f32", lambda: -np.log(softmax(X)[np.arange(4), I]).mean()),
    ("y = cross_entropy(x, i, ignore=2)", "f32", lambda: -np.log(softmax(X)[[1, 2], [0, 1]]).mean()),
    ("y = cross_entropy(x, softmax(x), reduction=sum)", "f32", lambda: -(softmax(X) * np.log(softmax(X))).sum()),
    ("y = nll(log_softmax(x), i)", "f32", lambda: -np.log(softmax(X)[np.arange(4), I]).mean()),
    ("y = mse(x, 0.5)", "f32", lambda: ((X - 0.5) ** 2).mean()),
    ("y = mae(x, x * 2.0, reduction=none)", "f32[B, D]", lambda: np.abs(X)),
    ("y = huber(x, 0.0, delta=0.5)", "f32", lambda: np.where(abs(X) <= 0.5, X * X / 2, 0.5 * (abs(X) - 0.25)).mean()),
    ("y = leaky_relu(x, slope=0.2)", "f32[B, D]", lambda: np.where(X >= 0, X, 0.2 * X)),
    ("y = softplus(x)", "f32[B, D]", lambda: np.log1p(np.exp(X))),
    ("y = silu(x)", "f32[B, D]", lambda: X / (1 + np.exp(-X))),
    ("y = elu(x)", "f32[B, D]", lambda: np.where(X >= 0, X, np.expm1(X))),
    ("y = grad(sum(x * x * x), x)", "f32[B, D]", lambda: 3 * X * X),
    ("y = grad(sum(grad(sum(v ** 3), v)), v)", "f32[D]", lambda: 6 * V),
    ("y = x + k", "f32[B, D]", lambda: X + np.array([1, 2, 3], np.float32)),
    ("y = f(x)", "f32[B, D]", lambda: np.tanh(X) + 1),
    ("a, b = g(v)\ny = a * b", "f32[D]", lambda: (V + 1) * (V - 1)),
    ("y = zeros()", "f32[B, D]", lambda: np.zeros((4, 3), np.float32)),
    ("x = x + 1.0\nx: f32[B, D] = x * x\ny = x", "f32[B, D]", lambda: (X + 1) ** 2),
]
HEAD = (
    "const k: f32[3] = [1.0, 2.0, 3.0]\n"
    "block f(x: real[...], c: real = 1.0) -> (y: real[...]):\n    y = tanh(x) + c\n"
    "block g[N](x: f32[N]) -> (p: f32[N], q: f32[N]):\n    p, q = x + 1.0, x - 1.0\n"
)


@pytest.mark.parametrize(("body", "type", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_expressions_mean_what_numpy_means(body: str, type: str, wanted: Callable[[], Array]) -> None:
    with np.errstate(all="ignore"):
        expected = wanted()
    np.testing.assert_allclose(forward(body, type, HEAD), expected, rtol=2e-6, atol=1e-6)


def test_run_time_dimensions_and_bounds() -> None:
    text = "dim B, T = 1..8\nmodel m(x: f32[B, T]) -> (y: f32[B, 2 * T]):\n    y = concat([x, x / T], axis=T)\n"
    made = program(text)
    assert [(one.name, one.low, one.high) for one in made.symbols] == [("B", 1, None), ("T", 1, 8)]
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(run(made, sizes={"B": 2, "T": 4}, x=x)["y"], np.concatenate([x, x / 4], 1))
    pinned = program("dim B, T = 1..8\nmodel m(x: f32[B, T]) -> (y: f32[B, T]):\n    y = x\n", dims={"B": 2, "T": 4})
    assert pinned.symbols == ()


def test_requirements_that_sizes_decide_are_recorded() -> None:
    made = program('dim T\nmodel m(x: f32[T]) -> (y: f32[4]):\n    require T % 2 == 0, "even"\n    y = x[0:4]\n')
    assert [(str(one.left), one.comparison, str(one.right)) for one in made.requirements] == [
        ("-2*(T // 2) + T", "==", "0"),
        ("4", "<=", "T"),
    ]
    assert made.requirements[0].message == "even"


TRAINED = (
    "dim B, D = 3\n"
    "model m(x: f32[B, D]) -> (y: f32[B]):\n"
    "    param w: f32[D] = normal(std=0.1), b: f32 = 0.5\n"
    "    @frozen param s: f32[D] = ones()\n"
    "    y = x * s @ w + b\n"
    "train m:\n"
    "    input t: f32[B]\n"
    "    hyper lr: f32 = 0.1\n"
    '    loss = mse(y, t) + 0.01 * sum_squares("w")\n'
)


def arrays() -> dict[str, Array]:
    return {
        "x": X,
        "t": np.arange(4, dtype=np.float32),
        "w": V,
        "b": np.float32(0.5),
        "s": np.ones(3, np.float32),
        "lr": np.float32(0.1),
        "step": np.int64(1),
    }


def gradients() -> tuple[Array, Array]:
    error = X @ V + 0.5 - np.arange(4)
    return (2 / 4) * X.T @ error + 0.02 * V, (2 / 4) * error.sum()


def test_a_step_of_gradient_descent() -> None:
    made = program(TRAINED + "    optimizer = sgd(lr = lr * 0.5 ** (step / 2.0))\n    metric worst = max(abs(y - t))\n")
    assert [(one.name, one.trainable, one.initializer.kind) for one in made.params] == [
        ("w", True, "normal"),
        ("b", True, "constant"),
        ("s", False, "ones"),
    ]
    result = run(made, "step", {"B": 4}, **arrays())
    dw, db = gradients()
    rate = 0.1 * 0.5**0.5
    np.testing.assert_allclose(result["w"], V - rate * dw, rtol=1e-5)
    np.testing.assert_allclose(result["b"], 0.5 - rate * db, rtol=1e-5)
    assert "s" not in result
    np.testing.assert_allclose(result["worst"], abs(X @ V + 0.5 - np.arange(4)).max(), rtol=1e-5)
    evaluated = run(made, "evaluate", {"B": 4}, **arrays())
    assert evaluated.keys() == {"loss", "worst"}
    assert evaluated["loss"] == result["loss"]


def test_clipping_by_norm_and_by_value() -> None:
    dw, db = gradients()
    norm = math.sqrt((dw**2).sum() + db**2)
    made = program(TRAINED + "    clip = global_norm(0.5)\n    optimizer = sgd(lr = 1.0)\n")
    result = run(made, "step", {"B": 4}, **arrays())
    np.testing.assert_allclose(result["w"], V - dw * 0.5 / norm, rtol=1e-5)
    made = program(TRAINED + "    clip = value(0.25)\n    optimizer = sgd(lr = 1.0)\n")
    result = run(made, "step", {"B": 4}, **arrays())
    np.testing.assert_allclose(result["w"], V - np.clip(dw, -0.25, 0.25), rtol=1e-5)


def test_optimizers_by_pattern_and_their_slots() -> None:
    made = program(TRAINED + '    optimizer = adam(lr = lr)\n    optimizer for "b" = momentum(lr = 0.2)\n')
    assert [one.name for one in made.slots] == ["m/w", "v/w", "v/b"]
    slots = {"m/w": np.zeros(3, np.float32), "v/w": np.zeros(3, np.float32), "v/b": np.float32(1.0)}
    result = run(made, "step", {"B": 4}, **arrays(), **slots)
    dw, db = gradients()
    np.testing.assert_allclose(result["w"], V - 0.1 * dw / (abs(dw) + 1e-8), rtol=1e-4)
    np.testing.assert_allclose(result["b"], 0.5 - 0.2 * (0.9 + db), rtol=1e-5)
    np.testing.assert_allclose(result["v/b"], 0.9 + db, rtol=1e-5)


def test_a_gradient_rule_replaces_the_derivative_of_its_argument_alone() -> None:
    made = program(
        "block f(x: f32[3], w: f32[3]) -> (y: f32[3]):\n"
        "    y = where(x >= 0.0, 1.0, 0.0) * w\n    grad x = d(y) * x * 10.0\n"
        "model m(x: f32[3], w: f32[3]) -> (y: f32[3], dx: f32[3], dw: f32[3]):\n"
        "    y = f(x, w)\n    dx, dw = grad(sum(y * y), x), grad(sum(y * y), w)\n"
    )
    w = np.array([2, 3, 4], np.float32)
    result = run(made, x=V, w=w)
    y = np.where(V >= 0, w, 0)
    np.testing.assert_allclose(result["dx"], 2 * y * V * 10, rtol=1e-6)
    np.testing.assert_allclose(result["dw"], 2 * y * (V >= 0), rtol=1e-6)


STATEFUL = (
    "block norm[C](x: f32[B, C]) -> (y: f32[B, C]):\n".replace("[C]", "[B, C]", 1)
    + "    state centre: f32[C] = zeros()\n    when training:\n"
    "        centre = 0.5 * centre + 0.5 * mean(x, keep=C)\n    param g: f32[C] = ones()\n    y = (x - centre) * g\n"
    "dim B\nmodel m(x: f32[B, 3]) -> (y: f32[B, 3]):\n    param n = norm\n    y = n(x)\n"
    "train m:\n    loss = mean(y * y)\n    optimizer = sgd(lr = 0.1)\n"
)


def test_states_change_in_training_only() -> None:
    made = program(STATEFUL)
    values = {"x": X, "n.centre": V, "n.g": np.ones(3, np.float32), "step": np.int64(1)}
    plain = run(made, sizes={"B": 4}, x=X, **{"n.centre": V, "n.g": np.ones(3, np.float32)})
    np.testing.assert_allclose(plain["y"], X - V, rtol=1e-6)
    step = run(made, "step", {"B": 4}, **values)
    centre = 0.5 * V + 0.5 * X.mean(0)
    np.testing.assert_allclose(step["n.centre"], centre, rtol=1e-6)
    np.testing.assert_allclose(step["loss"], ((X - centre) ** 2).mean(), rtol=1e-6)
    judged = run(made, "evaluate", {"B": 4}, x=X, **{"n.centre": V, "n.g": np.ones(3, np.float32)})
    np.testing.assert_allclose(judged["loss"], ((X - V) ** 2).mean(), rtol=1e-6)


def test_instances_share_and_arrays_unroll() -> None:
    made = program(
        "use std.nn: dense\nmodel m(x: f32[2, 3]) -> (y: f32[2, 3], w: f32[3, 3]):\n"
        "    param l = dense[O=3], layers[2] = dense[O=3]\n    x = l(l(x))\n"
        "    for one in layers:\n        x = one(x)\n    y = x\n    w = l.w + layers.1.w\n"
    )
    paths = ["l.w", "l.b", "layers.0.w", "layers.0.b", "layers.1.w", "layers.1.b"]
    assert [one.name for one in made.params] == paths
    values = {path: RANDOM.normal(size=(3, 3) if path.endswith("w") else 3).astype(np.float32) for path in paths}
    y = X[:2]
    for name in ("l", "l", "layers.0", "layers.1"):
        y = y @ values[f"{name}.w"] + values[f"{name}.b"]
    result = run(made, x=X[:2], **values)
    np.testing.assert_allclose(result["y"], y, rtol=1e-4)
    np.testing.assert_allclose(result["w"], values["l.w"] + values["layers.1.w"])


def test_precision_of_parameters_and_computations() -> None:
    made = program(
        "precision params = f32, compute = f64\nuse std.nn: dense\n"
        "model m(x: f64[2, 3]) -> (y: f64[2, 4]):\n    param l = dense[O=4]\n    y = l(x)\n"
        "train m:\n    loss = mean(y * y)\n    optimizer = adamw()\n"
    )
    assert {str(one.leaf.dtype) for one in (*made.params, *made.slots)} == {"f32"}
    assert made.entries["step"].outputs["loss"].dtype.name == "f64"


def test_products_of_bf16_are_of_f32_values() -> None:
    """Written and library products and their derivatives; not those of f64, and not an optimizer's."""
    made = program(
        "precision compute = bf16, accumulate = f32\nuse std.nn: dense\n"
        "optimizer mine(p, g, lr: f32 = 0.1):\n    p = p - lr * (transpose(g) @ p)\n"
        "model m(x: f32[2, 4], z: f64[4, 2]) -> (y: f32[2, 2], u: f64[2, 2]):\n    param l = dense[O=4]\n"
        "    h = l(x)\n    y = einsum(h[a, i] * h[b, i] -> [a, b])\n    u = cast(x, f64) @ z\n"
        'train m:\n    loss = mean(y * y)\n    optimizer = sgd(lr = 0.1)\n    optimizer for "*.w" = mine()\n'
    )
    assert {str(one.leaf.dtype) for one in (*made.params, *made.slots)} == {"f32"}

    def products(entry: str) -> list[tuple[str, str | None]]:
        nodes = [node for node in made.entries[entry].nodes() if node.op == "contract"]
        return [(str(node.dtype), node.attrs_dict.get("elements")) for node in nodes]

    assert products("forward") == [("f32", "bf16"), ("f32", "bf16"), ("f64", None)]
    assert products("gradients") == [("f32", "bf16")] * 5
    assert products("apply") == [("f32", None)]


def test_probes_are_outputs_of_the_forward_entry() -> None:
    made = program("model m(x: f32[3]) -> (y: f32[3]):\n    h = x + 1.0\n    probe hidden = h\n    y = h * 2.0\n")
    assert list(made.entries["forward"].outputs) == ["y", "probe/hidden"]


def test_the_same_text_gives_the_same_program() -> None:
    one, two = program(TRAINED + "    optimizer = nadam()\n"), program(TRAINED + "    optimizer = nadam()\n")
    assert {name: str(graph) for name, graph in one.entries.items()} == {
        name: str(graph) for name, graph in two.entries.items()
    }
