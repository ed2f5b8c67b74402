"""check="finite": the first NaN or infinity is named with its op, line and index, and the bad step is undone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.runtime.errors import NonFiniteError, NotAvailableError, OptionError
from graphc.runtime.model import Model

NET = """\
use std.nn: dense
dim B, D = 4, C = 3
model net(x: f32[B, D]) -> (y: f32[B, C]):
    param hidden = dense[O=8], out = dense[O=C]
    h = x |> hidden
    s = tanh(h)
    y = s |> out
train net:
    input t: f32[B, C]
    hyper lr: f32 = 1e-2
    loss = mean((y - t) ** 2.0)
    optimizer = adam(lr = lr)
"""
DRAWS = np.random.default_rng(0)
X = DRAWS.standard_normal((64, 4)).astype(np.float32)
DATA = {"x": X, "t": np.zeros((64, 3), np.float32)}


def net(change: str = "tanh(h)", text: str = NET) -> Model:
    return graphc.compile_source(text.replace("tanh(h)", change), name="net.gc", check="finite")


def fault(call: Any) -> str:
    with pytest.raises(NonFiniteError) as error:
        call()
    return str(error.value)


def test_a_fault_of_the_forward_pass() -> None:
    model = net("log(h)")
    hidden = X @ model.params["hidden.w"]
    row, column = (int(i) for i in np.argwhere(hidden < 0)[0])
    said = fault(lambda: model(x=X))
    assert said.startswith("forward: `log` of -") and f"gives nan at [{row}, {column}] of f32[B, 8]\n" in said
    assert said.endswith("  net.gc:6:9  s = log(h)")
    assert fault(lambda: model.step(**DATA)).replace("step", "forward", 1) == said


def test_a_fault_of_the_backward_pass() -> None:
    """log(1e-40) is finite; 1 / 1e-40 is not."""
    model = net("log(abs(h) + 1e-40)")
    model.params["hidden.w"][...] = 0.0
    assert np.isfinite(model(x=X)["y"]).all()
    said = fault(lambda: model.step(**DATA))
    assert re.match(
        r"step: `\w+` of .* gives -?(inf|nan) at \[0, 0\] of f32\[B, 8\]\n  in the gradient of `log`\n", said
    )
    assert "  net.gc:6:9  s = log(abs(h) + 1e-40)" in said
    assert said == fault(lambda: model.gradients(**DATA)).replace("gradients", "step", 1)


def test_a_fault_in_a_library_names_the_line_that_uses_it() -> None:
    model = net()
    model.params["out.w"][...] = 3e38
    model.params["hidden.w"][...] = 3.0
    said = fault(lambda: model(x=np.ones_like(X)))
    assert "`contract` gives inf at [0, 0]" in said and re.search(r"std/nn.gc:\d+:\d+  y = x @ w \+ b\n", said)
    assert said.endswith("  on the way to: net.gc:7:14  y = s |> out")


def test_a_fault_of_the_caller() -> None:
    model = net()
    wrong = X.copy()
    wrong[5, 2] = np.nan
    assert fault(lambda: model(x=wrong)) == "forward: the input `x` holds nan at [5, 2]"
    model.params["hidden.b"][3] = np.nan
    assert fault(lambda: model.evaluate(DATA)) == "evaluate: the param `hidden.b` holds nan at [3]"


def test_the_bad_step_is_undone() -> None:
    model = net("log(h)")
    before = model.digest()
    fault(lambda: model.step(**DATA))
    assert model.digest() == before and model.steps == 0


@pytest.mark.parametrize("batch", [3, 8, 64])
def test_fit_stops_before_the_bad_batch(batch: int) -> None:
    """Row 40 alone makes a NaN."""
    data = {"x": np.ones((200, 4), np.float32), "t": np.zeros((200, 3), np.float32)}
    data["x"][40] = -1.0
    text = NET.replace("s = tanh(h)", "r = sqrt(x)\n    s = tanh(h) + sum(r)")
    good, bad = graphc.compile_source(text), graphc.compile_source(text, name="net.gc", check="finite")
    said = fault(lambda: bad.fit(data, batch=batch, shuffle=False, progress=False))
    assert f"`sqrt` of -1 gives nan at [{40 % batch}, 0] of f32[B, 4]\n  net.gc:6:9  r = sqrt(x)" in said
    for start in range(0, 40 - 40 % batch, batch):
        good.step({name: array[start : start + batch] for name, array in data.items()})
    assert good.digest() == bad.digest() and bad.steps == 40 // batch
    cursor = bad.store.cursor
    assert cursor is not None and cursor.row == 40 - 40 % batch


def test_what_is_finite_stays_as_it_is() -> None:
    plain, watched = graphc.compile_source(NET), net()
    for model in (plain, watched):
        model.fit(DATA, batch=8, epochs=20, validation=0.1, progress=False)
    assert plain.digest() == watched.digest()


def test_infinities_that_are_meant_are_no_fault() -> None:
    text = "dim B, D = 4\nmodel net(x: f32[B, D]) -> (y: f32[B, D]):\n"
    model = graphc.compile_source(text + "    m = where(x > 0.0, x, -inf)\n    y = softmax(m)\n", check="finite")
    assert model(x=np.abs(X))["y"].shape == X.shape
    assert fault(lambda: model(x=-np.abs(X))).startswith("forward: `softmax` gives nan at [0, 0]")


def test_a_fault_within_a_scan() -> None:
    text = """\
dim B, T, H = 3
model net(x: f32[B, T, H]) -> (y: f32[B, T, H]):
    scan t in T:
        carry h: f32[B, H] = zeros()
        h = h + log(x[:, t])
        emit hs: f32[B, T, H] = h
    y = hs * 2.0
"""
    model = graphc.compile_source(text, name="net.gc", check="finite")
    x = np.ones((2, 5, 3), np.float32)
    x[1, 3, 2] = -1.0
    said = fault(lambda: model(x=x))
    assert said.startswith("forward: `log` of -1 gives nan at [1, 2] of f32[B, 3], in step 3 of a scan\n")
    assert said.endswith("  net.gc:5:17  h = h + log(x[:, t])")


def test_a_fault_within_the_gradient_of_a_scan() -> None:
    text = """\
dim B, T, H = 3
model net(x: f32[B, T, H]) -> (y: f32[B, T, H]):
    param w: f32[H] = zeros()
    scan t in T:
        carry h: f32[B, H] = zeros()
        h = h + log(abs(x[:, t] * w) + 1e-40)
        emit hs: f32[B, T, H] = h
    y = hs * 2.0
train net:
    loss = mean(y)
    optimizer = sgd(lr = 0.1)
"""
    said = fault(lambda: graphc.compile_source(text, name="net.gc", check="finite").step(x=np.ones((2, 5, 3), "f4")))
    assert "in step 4 of a scan\n  in the gradient of `scan`\n  net.gc:4:15  scan t in T:" in said


def test_the_options(tmp_path: Path) -> None:
    model = net("log(h)")
    assert model.check == "finite"
    model.check = None
    assert np.isnan(model(x=X)["y"]).any()
    with pytest.raises(OptionError, match="check must be"):
        model.check = "nan"
    model.save(tmp_path / "net.gca")
    loaded = graphc.load(tmp_path / "net.gca")
    with pytest.raises(NotAvailableError, match="holds code only"):
        loaded.check = "finite"
