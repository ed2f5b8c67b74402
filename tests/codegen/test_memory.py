"""Sizes that are known at the call: the regions they lie in, and what rounding costs."""

from __future__ import annotations

import pytest

from graphc.codegen.entry import plan_entry
from graphc.codegen.memory import ALIGNMENT, aligned, enough_for, live_at_once, size_of, units_of
from graphc.codegen.target import host
from graphc.frontend.build import elaborate
from graphc.ir.dims import Dim, evaluate, symbol
from graphc.passes import levels
from graphc.source import Source

B, T = symbol("B"), symbol("T")
SIZES: list[Dim] = [1, 64, 4000, 512 * B, 40 * B, 4 * B, B, 400 * B, 260 * B, 12 * B * T, 128 * B * T + 128 * B]
SIZES += [7 * (B // 3 + 2), 512 * (B // 2)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_units_hold_a_size_and_keep_its_neighbours_aligned(size: Dim) -> None:
    unit, count = units_of(size)
    for b in (1, 2, 3, 7, 16, 33, 1000):
        sizes = {"B": b, "T": 5}
        given, wanted = evaluate(unit, sizes) * count, evaluate(size, sizes)
        assert evaluate(unit, sizes) % ALIGNMENT == 0
        assert wanted <= given <= max(wanted * 1.125 + ALIGNMENT * 8, ALIGNMENT)


@pytest.mark.parametrize("size", [64, 4096, 512 * B, 64 * B * T, 128 * B * T + 128 * B], ids=str)
def test_multiples_of_the_alignment_are_not_rounded(size: Dim) -> None:
    unit, count = units_of(size)
    assert unit * count == size == aligned(size)


def test_sizes_of_one_factor_share_a_region() -> None:
    assert units_of(512 * B) == (64 * B, 8) and units_of(4096 * B) == (64 * B, 64)
    assert units_of(40 * B)[0] == units_of(8 * B)[0] == aligned(8 * B)


def test_enough_for_one_at_a_time() -> None:
    assert enough_for([]) == enough_for([0]) == 0
    assert enough_for([100, 4000, 64]) == 4032
    assert enough_for([512 * B, 64, 256 * B]) == 512 * B + 64


MODEL = """
use std.nn: dense
dim B
model net(x: f32[B, 50]) -> (y: f32[B, 3]):
    param one = dense[O=60], two = dense[O=70], three = dense[O=3]
    y = x |> one |> tanh |> two |> tanh |> three
train net:
    input t: f32[B, 3]
    loss = mse(y, t)
    optimizer = adam(lr = 0.1)
"""


def test_what_is_known_at_the_call_lies_apart_and_is_packed_well() -> None:
    program, _ = elaborate(Source("m.gc", MODEL), load=lambda path: Source(path, ""))
    assert program is not None
    plan = plan_entry("step", levels.pipeline("O2").run(program.entries["step"]), host()).memory
    assert [region.unit for region in plan.regions if isinstance(region.unit, int)] == [ALIGNMENT]
    assert len(plan.regions) > 1
    for rows in (1, 3, 32, 1000):
        sizes = {"B": rows}
        for tenant, extent in plan.extents.items():
            begin, size = evaluate(plan.offset(extent), sizes), evaluate(size_of(tenant), sizes)
            assert begin % ALIGNMENT == 0 and begin + size <= evaluate(plan.size, sizes)
    assert evaluate(plan.size, {"B": 1000}) < 1.15 * live_at_once(plan, {"B": 1000})[0]
