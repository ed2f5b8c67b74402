"""Pooling against loops over windows: overlapping, padded, with tails; ties and NaN; what it refuses."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.driver import stage_text
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import OPS, leaf, make
from graphc.ir.types import F32, I32, U8, TensorType, TypeMismatch

B = symbol("B")
PLAIN = {"window": (2, 2), "stride": (2, 2), "low": (0, 0), "high": (0, 0)}


def cases(count: int) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    random = np.random.default_rng(3)
    found: list[tuple[tuple[int, ...], dict[str, Any]]] = []
    while len(found) < count:
        rank = int(random.choice([1, 2, 2, 3]))
        window = tuple(int(v) for v in random.integers(1, 4, rank))
        attrs = {
            "window": window,
            "stride": tuple(int(v) for v in random.integers(1, 4, rank)),
            "low": tuple(int(random.integers(0, k)) for k in window),
            "high": tuple(int(random.integers(0, k)) for k in window),
        }
        x = (2, *(int(v) for v in random.integers(1, 8, rank)), int(random.choice([1, 3, 16, 17])))
        try:
            OPS["max_pool"].infer(TensorType(F32, x), **attrs)
        except TypeMismatch:
            continue
        found.append((x, attrs))
    return found


def windows(x: Any, counts: tuple[int, ...], attrs: dict[str, Any]) -> Any:
    """(place of the window, the indices of its elements in row-major order) for every window of an image."""
    for place in product(*map(range, counts)):
        starts = [o * s - low for o, s, low in zip(place, attrs["stride"], attrs["low"], strict=True)]
        axes = [range(a, a + k) for a, k in zip(starts, attrs["window"], strict=True)]
        inside = [i for i in product(*axes) if all(0 <= v < n for v, n in zip(i, x.shape[1:-1], strict=True))]
        yield place, inside


def by_loops(x: Any, dy: Any, attrs: dict[str, Any]) -> dict[str, Any]:
    """Maxima and sums with their gradients."""
    found = {"max": np.empty_like(dy), "sum": np.empty_like(dy), "dmax": np.zeros_like(x), "dsum": np.zeros_like(x)}
    for n, c in product(range(x.shape[0]), range(x.shape[-1])):
        for place, inside in windows(x, dy.shape[1:-1], attrs):
            elements = [x[(n, *i, c)] for i in inside]
            best = int(np.argmax(elements))
            found["max"][(n, *place, c)], found["sum"][(n, *place, c)] = elements[best], np.sum(elements)
            found["dmax"][(n, *inside[best], c)] += dy[(n, *place, c)]
            for i in inside:
                found["dsum"][(n, *i, c)] += dy[(n, *place, c)]
    return found


@pytest.mark.parametrize("number", range(5))
def test_maxima_sums_and_their_gradients_are_those_of_loops(number: int) -> None:
    random, leaves, outputs, values, wanted = np.random.default_rng(number), [], {}, {}, {}
    for case, (shape, attrs) in enumerate(cases(30)[number * 6 : number * 6 + 6]):
        x = leaf("input", f"x{case}", TensorType(F32, (B if case % 2 else 2, *shape[1:])))
        greatest, total = make("max_pool", x, **attrs), make("window_sum", x, **attrs)
        dy = leaf("input", f"dy{case}", total.type)
        leaves += [x, dy]
        nodes = {"max": greatest, "sum": total}
        nodes |= {f"d{k}": y.definition.vjp(y, dy)[0] for k, y in nodes.items()}
        outputs |= {f"{k}{case}": y for k, y in nodes.items()}
        arrays = [random.integers(-4, 5, s).astype(np.float32) for s in (shape, (2, *total.shape[1:]))]  # many ties
        values |= {f"x{case}": arrays[0], f"dy{case}": arrays[1]}
        wanted |= {f"{k}{case}": v for k, v in by_loops(*arrays, attrs).items()}
    found, _ = compile_graph(Graph("pools", tuple(leaves), outputs))(values, {"B": 2})
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_nan_is_the_greatest_and_takes_the_gradient() -> None:
    x = leaf("input", "x", TensorType(F32, (1, 4, 1)))
    attrs = {"window": (2,), "stride": (2,), "low": (0,), "high": (0,)}
    y = make("max_pool", x, **attrs)
    graph = Graph(
        "nan", (x,), {"y": y, "dx": y.definition.vjp(y, y * 0.0 + 1.0)[0], "at": make("argmax_pool", x, **attrs)}
    )
    values = np.array([2, np.nan, -np.inf, -np.inf], np.float32).reshape(1, 4, 1)
    found, _ = compile_graph(graph)({"x": values}, {})
    np.testing.assert_array_equal(found["y"].ravel(), [np.nan, -np.inf])
    np.testing.assert_array_equal(found["at"].ravel(), [1, 0])
    np.testing.assert_array_equal(np.isnan(found["dx"]).ravel(), [False, True, True, False])


@pytest.mark.parametrize("taps", [255, 256])
def test_windows_of_as_many_taps_as_a_byte_can_number(taps: int) -> None:
    """Of one more the places are wider: a byte's greatest number stands for none."""
    x = leaf("input", "x", TensorType(F32, (1, 2 * taps + 1, 1)))
    attrs = {"window": (taps,), "stride": (taps,), "low": (0,), "high": (0,)}
    y = make("max_pool", x, **attrs)
    place = make("argmax_pool", x, **attrs)
    assert place.dtype == (U8 if taps == 255 else I32)
    graph = Graph("wide", (x,), {"y": y, "at": place, "dx": y.definition.vjp(y, y + 1.0)[0]})
    values = np.zeros(x.shape, np.float32)
    values[0, taps - 1], values[0, taps], values[0, 2 * taps] = 2, 3, 4
    found, _ = compile_graph(graph)({"x": values}, {})
    np.testing.assert_array_equal(found["y"].ravel(), [2, 3])
    np.testing.assert_array_equal(found["at"].ravel(), [taps - 1, 0])
    assert {int(i): float(found["dx"][0, i, 0]) for i in np.flatnonzero(found["dx"])} == {taps - 1: 3, taps: 4}


@pytest.mark.parametrize("window", [2, 3, 5])
def test_the_value_is_the_element_that_is_named(window: int) -> None:
    """With the sign of a zero, whether the place is asked for or not."""
    values = np.random.default_rng(7).choice([0.0, -0.0, -1.0], (2, 40, 3)).astype(np.float32)
    x = leaf("input", "x", TensorType(F32, values.shape))
    attrs = {"window": (window,), "stride": (2,), "low": (0,), "high": (0,)}
    y, place = make("max_pool", x, **attrs), make("argmax_pool", x, **attrs)
    named = make("pool_pick", x, place, **attrs)
    both, _ = compile_graph(Graph("both", (x,), {"y": y, "at": place, "named": named}))({"x": values}, {})
    alone, _ = compile_graph(Graph("alone", (x,), {"y": y}))({"x": values}, {})
    assert both["y"].tobytes() == both["named"].tobytes() == alone["y"].tobytes()


@pytest.mark.parametrize(
    ("op", "types", "changed", "words"),
    [
        ("max_pool", (TensorType(F32, (B, 4, 4, 3)),), {"window": (0, 2)}, "a window's size must be at least 1"),
        ("max_pool", (TensorType(F32, (B, 4, 4, 3)),), {"stride": (2, 0)}, "stride must be at least 1"),
        ("max_pool", (TensorType(F32, (B, 4, 4, 3)),), {"low": (2, 0)}, "would lie in the padding"),
        ("max_pool", (TensorType(F32, (B, 4, 1, 3)),), {}, "a window spans 2 elements, but axis 2 of"),
        ("window_sum", (TensorType(I32, (B, 4, 4, 3)),), {}, "float"),
        ("window_sum", (TensorType(F32, (B, 4)),), {}, "1 to 3 spatial axes"),
        ("window_spread", (TensorType(F32, (B, 2, 2, 3)),), {"size": (6, 4)}, "sizes [6, 4] give f32[B, 3, 2, 3]"),
        ("pool_pick", (TensorType(F32, (B, 4, 4, 3)), TensorType(I32, (B, 2, 2, 3))), {}, "the taps of"),
    ],
)  # fmt: skip
def test_what_is_no_pooling(op: str, types: tuple[TensorType, ...], changed: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        OPS[op].infer(*types, **{**PLAIN, **changed})
    assert words in caught.value.message


@pytest.mark.parametrize(("side", "copied"), [("8", False), ("9", True), ("H", True)])
def test_windows_side_by_side_are_spread_in_one_sweep(  # type: ignore[no-untyped-def]
    tmp_path, side: str, copied: bool
) -> None:
    """Every window's cotangent is read once, where it lies; with a border if elements may be in no window."""
    file = tmp_path / "pool.gc"
    file.write_text(
        f"dim H\nmodel net(x: f32[2, {side}, 8, 16]) -> (s: f32):\n"
        "    param w: f32[16] = ones()\n"
        "    s = sum(max_pool(x * w, size=2) * 3.0)\n"
        "train net:\n    loss = s\n    optimizer = sgd(lr = 0.1)\n"
    )
    blocks = stage_text(file, "kernels", entry="step").split("\n\n")
    (spread,) = [block for block in blocks if "pool_spread" in block]
    assert ("scratch" in spread) == copied
    if not copied:
        assert [line.strip() for line in spread.splitlines() if line.strip().startswith("for o")] == [
            "for o0r0 in 4:",
            "for o1r0 in 4:",
            "for o1r0 in 4:",
        ]
